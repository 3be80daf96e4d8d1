"""Looks at run folders, and at those of runs that were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

UNEQUAL = "timings.jsonl"
"""The one file that may differ between two equal runs."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run by relative path, but for those that may differ."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != UNEQUAL
    }


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "pictures").rglob("*.png"))


def killed_runs(request: Path, root: Path, deaths: int, script: str = "killing.py") -> list[Path]:
    """Folders of complete runs: an undisturbed one, then some that died on the way (see the script)."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / script), str(request), str(root), str(deaths)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)])}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=570,
    )
    assert done.returncode == 0, done.stderr
    return [Path(line) for line in done.stdout.splitlines() if line.endswith("run")]
