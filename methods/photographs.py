"""Photographs of people as they are named: one file, several, or a folder. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from methods.errors import UsageError
from methods.paths import user_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MOST = 100
"""Photographs of one person."""

Named = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, a folder, or several of them."""


def photographs(named: Named) -> tuple[str, ...]:
    """The files of one person, each once: a folder stands for the pictures in it, by name.

    Raises UsageError for a folder without pictures, and for more than MOST.
    """
    several = [named] if isinstance(named, str | os.PathLike) else list(named)
    files = dict.fromkeys(str(file) for one in several for file in _files(user_path(one)))
    if not files:
        raise UsageError("There is no photograph.", hint="Give a file or a folder.")
    if len(files) > MOST:
        raise UsageError(
            f"{several[0]}: {len(files)} photographs of one person are too many.",
            hint=f"Give at most {MOST}; a few that differ in light and pose say most.",
        )
    return tuple(files)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file())
    if not found:
        raise UsageError(
            f"{path} holds no photographs.", hint=f"Give a folder of {', '.join(SUFFIXES)} files."
        )
    return found


def people(named: Named | Mapping[str, Named]) -> dict[str, tuple[str, ...]]:
    """Name of a person -> files; who has no name is called after the first file or the folder."""
    if isinstance(named, Mapping):
        return {str(name): photographs(own) for name, own in named.items()}
    first = named if isinstance(named, str | os.PathLike) else named[0]
    return {Path(first).stem: photographs(named)}
