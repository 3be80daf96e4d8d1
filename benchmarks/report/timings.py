"""How long pictures took, from timings.jsonl. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any


def seconds_per_picture(folder: Path) -> dict[str, dict[str, Any]]:
    """Method -> median seconds of denoising and decoding per picture, and of how many pictures.

    Only times that are valid (no fall of the memory ladder before them) and of a warm process count.
    """
    times: dict[str, list[float]] = {}
    for entry in _entries(folder / "timings.jsonl"):
        if entry.get("phase") == "sample" and entry.get("valid") and entry.get("warm", True):
            seconds = float(entry.get("denoise", 0.0)) + float(entry.get("decode", 0.0))
            times.setdefault(str(entry.get("method")), []).append(seconds)
    return {method: {"median": round(median(found), 4), "n": len(found)} for method, found in times.items()}


def _entries(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole; timings are no result, so a damaged line is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found
