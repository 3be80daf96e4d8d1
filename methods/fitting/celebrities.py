"""The names that cross-initialised words start from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from methods.errors import UsageError
from methods.paths import user_path
from methods.shipped import is_pocket
from methods.textfile import read_lines

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def celebrity_names(path: str | None, backbone: Backbone) -> list[str]:
    """Names that a backbone knows: one a line of a file, or the pocket world's own celebrities.

    Raises UsageError when the file is missing or has no name of two words, or when another backbone than
    a pocket one comes without a file.
    """
    if path is None:
        if is_pocket(backbone.family):
            from methods.pocket.world.names import NAMED

            return list(NAMED)
        raise UsageError(
            f"There is no list of celebrities for {backbone.family} backbones.",
            hint="Give one name a line in a file: --set celebrities=names.txt",
        )
    lines = read_lines(user_path(path), hint="Give a file of celebrities, one name a line.")
    names = [line.strip() for line in lines if line.strip()]
    if not any(len(name.split()) > 1 for name in names):
        raise UsageError(f"{path} holds no name of two words.", hint="Give first and last name, one a line.")
    return names
