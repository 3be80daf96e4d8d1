"""Where in a picture a person may act: a box or a drawn mask, brought to the grid of every site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from methods.errors import UsageError
from methods.images import load_picture, picture_hash

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height."""

EVERYWHERE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Region:
    """A part of a picture.

    box:  the part, or the box around what the mask leaves open
    mask: a picture of it, white where the person may act; None for all of the box
    file: of the mask, for the record
    """

    box: Box = EVERYWHERE
    mask: Image.Image | None = field(default=None, compare=False, repr=False)
    file: str | None = None

    @classmethod
    def drawn(cls, file: str | Path) -> Region:
        """The region of a mask file: what is lighter than middle grey, as diffusers binarises it.

        Raises PictureError, and UsageError for a mask that is all black.
        """
        mask = load_picture(file).convert("L")
        open_part = mask.point([255 if level >= 128 else 0 for level in range(256)]).getbbox()
        if open_part is None:
            raise UsageError(f"{file}: the mask is black all over.", hint="White is where the person may be.")
        x0, y0, x1, y1 = open_part
        width, height = mask.size
        return cls((x0 / width, y0 / height, x1 / width, y1 / height), mask, str(file))

    def at(self, width: int, height: int) -> Tensor:
        """The region at a picture's size in pixels: float32 [height, width] of 0 and 1."""
        if self.mask is None:
            x0, y0, x1, y1 = (
                round(share * side) for share, side in zip(self.box, (width, height) * 2, strict=True)
            )
            part = torch.zeros(height, width)
            part[y0:y1, x0:x1] = 1.0
            return part
        return _processor().preprocess(self.mask, height=height, width=width)[0, 0]

    def on(self, grid: tuple[int, int], width: int, height: int) -> Tensor:
        """The region on a grid (h, w) of image tokens of a picture: float32 [h * w], row-major.

        Bicubic without a filter, as diffusers' `IPAdapterMaskProcessor.downsample`: at borders it may leave
        [0, 1] a little.
        """
        return F.interpolate(self.at(width, height)[None, None], grid, mode="bicubic").flatten()

    def record(self) -> dict[str, Any]:
        """What decides it, JSON-able."""
        if self.file is None:
            return {"box": list(self.box)}
        return {"path": self.file, "sha256": picture_hash(self.file)}


@lru_cache(maxsize=1)
def _processor() -> Any:
    from diffusers.image_processor import IPAdapterMaskProcessor

    return IPAdapterMaskProcessor()


def gate(
    regions: Sequence[Region | None], grid: tuple[int, int], size: tuple[int, int], like: Tensor
) -> Tensor | None:
    """What rows let through on a grid: [R, N, 1] as `like` is; None where nobody is confined.

    regions: one per row, None for everywhere; size: width and height of the pictures in pixels
    """
    if not any(regions):
        return None
    rows = [(region or Region()).on(grid, *size) for region in regions]
    return torch.stack(rows)[..., None].to(like.device, like.dtype)
