"""Thumbnails that travel inside the page. Imports no torch."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from methods.errors import SpidError
from methods.images import load_picture

SIDE = 192
"""Longer side of a thumbnail in pixels; smaller pictures keep their size."""


@dataclass
class Pictures:
    """Data URIs of the pictures asked for so far; each file is read once."""

    uris: list[str] = field(default_factory=list)
    _known: dict[tuple[Path, str], int] = field(default_factory=dict)

    def add(self, folder: Path, name: str | None) -> int:
        """Index into `uris` of a picture of a run, -1 when it is missing, unreadable or outside its folder.

        name: path relative to `folder`, as the run's rows say; rows are data, so it may try to leave it
        """
        if name is None:
            return -1
        key = folder, name
        if key not in self._known:
            self._known[key] = self._embed(folder, name)
        return self._known[key]

    def _embed(self, folder: Path, name: str) -> int:
        try:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()):
                return -1
            picture = load_picture(path)
        except (SpidError, OSError, ValueError):
            return -1
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=82, method=2)
        self.uris.append("data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode())
        return len(self.uris) - 1
