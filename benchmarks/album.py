"""Decoded pictures that are asked for again and again: the plain backbone's, and the references."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from methods.images import load_picture

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT = 256


class Album:
    """The last KEPT pictures by key. None: there is none that can be used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures: OrderedDict[str, Image | None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._pictures

    def __getitem__(self, key: str) -> Image | None:
        self._pictures.move_to_end(key)
        return self._pictures[key]

    def __setitem__(self, key: str, picture: Image | None) -> None:
        self._pictures[key] = picture
        if len(self._pictures) > KEPT:
            self._pictures.popitem(last=False)

    def photo(self, file: str) -> Image:
        """A reference picture in the run folder."""
        if file not in self:
            self[file] = load_picture(self._folder / file)
        picture = self[file]
        assert picture is not None
        return picture
