"""Looks at run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

UNEQUAL = "timings.jsonl"
"""The one file that may differ between two equal runs."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run by relative path, but for those that may differ."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != UNEQUAL and path.suffix != ".lock"
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "pictures").rglob("*.png"))
