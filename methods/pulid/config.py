"""Options of `pulid`."""

from __future__ import annotations

from methods.config import Whole, options

AUTO, OFF = "auto", "off"


@options
class Config:
    """Options of PuLID.

    start_step: steps at the beginning without identity, counted as by the published sampler: 4 for
                photographs, 0 or 1 for drawings (its advice). The same as `id_start = start_step / steps`
    clip:       image tower: `pocket`, an open_clip folder, or ARCHITECTURE:FILE such as
                EVA02-L-14-336:open_clip_model.safetensors; None for the one that the adapter was trained
                with, for a public PuLID file EVA02-CLIP-L-336 where the hub's cache on disk has it
    parser:     BiSeNet weights that tell the face from its background: a file, `auto` for
                parsing_bisenet.pth where `spid fetch face-parser` or facexlib puts it, or `off`. Without it
                the background stays in the crop, and the record of a picture says so
    antialias:  of the resize from the 512-pixel crop to the tower's side. Off as published: PuLID pins a
                torchvision whose tensors are resized without; newer ones would switch it on in silence
    """

    start_step: Whole = 0
    clip: str | None = None
    parser: str = AUTO
    antialias: bool = False


def id_start(start_step: int, steps: int) -> float:
    """The fraction `--id-start` of a start step: both let the identity in at the same step, exactly."""
    return min(start_step / steps, 1.0)


def start_step(id_start: float, steps: int) -> int:
    """The first step, counted from 0, at which `--id-start` lets the identity in; `steps` for never."""
    return next((step for step in range(steps) if id_start <= step / steps), steps)
