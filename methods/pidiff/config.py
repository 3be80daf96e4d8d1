"""Options of `pidiff` and of its training; the names of style rows."""

from __future__ import annotations

import re

from methods.config import Positive, Seed, Share, ThirdShare, Weight, Whole, options
from methods.errors import UsageError

NAMED_LEVELS = {"coarse": "0-3", "mid": "4-7", "fine": "8-17", "all": "0-17"}
"""Groups of the 18 rows."""

_HINT = "Give rows such as 8-17 or 0,3,8-11, or one of " + ", ".join(NAMED_LEVELS) + "."


def parse_levels(text: str) -> tuple[int, ...]:
    """Row numbers of `8-17`, `3`, `0,3,8-11`, `fine` or `coarse,fine`, ascending. Raises UsageError."""
    rows: set[int] = set()
    for part in text.split(","):
        part = NAMED_LEVELS.get(part.strip(), part.strip())
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if match is None:
            raise UsageError(f"The style levels {text!r} are no rows.", hint=_HINT)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise UsageError(f"The style levels {part!r} run backwards.", hint=_HINT)
        rows |= set(range(first, last + 1))
    return tuple(sorted(rows))


@options
class Config:
    """Options of `pidiff`.

    delayed_start:  share of the steps before the identity enters (w-plus-adapter: 0.2)
    style_from:     picture whose rows replace the person's, or `mean`; None for no editing
    style_levels:   which rows: 8-17, 0,3,8-11, coarse, mid, fine
    style_strength: 1 swaps them, 0 keeps the person's, between the two interpolates
    style_encoder:  folder of a W+ encoder or e4e's checkpoint; None for the one the adapter came with
    """

    delayed_start: Share = 0.2
    style_from: str | None = None
    style_levels: str = "8-17"
    style_strength: Share = 1.0
    style_encoder: str | None = None

    def __post_init__(self) -> None:
        parse_levels(self.style_levels)
        if self.style_levels != "8-17" and self.style_from is None:
            raise ValueError("style_levels has nothing to take rows from: give style_from")


@options
class TaskConfig:
    """Options of the training.

    aligned_steps, wild_steps: optimizer steps of the two stages; 0 leaves a stage out
    drop:          how often the identity alone, the text alone, and both are dropped: each this share
    same_share:    how often the codes come from the target's own picture (w-plus-adapter: always)
    background:    weight b of the reconstruction outside the head in the second stage, 1 inside
    localisation:  l_loc; 0 is the ablation without
    preservation:  l_pre; w-plus-adapter's is 1, over the whole picture
    gate_rate:     factor on the learning rate of the gates, which start closed: at the common rate they would
                   take a thousand steps to open
    style_encoder: W+ encoder: a folder or e4e's checkpoint; None for the pocket one
    face_reader:   file of a pocket face reader (`methods.learning.likeness`) for the second stage; None: no
                   l_face
    likeness:      l_face, with a face reader
    initial:       weights to start from: an adapter folder of pidiff, or a w-plus-adapter checkpoint with its
                   encoder; None starts at the backbone
    seed:          of the projection's initial weights
    """

    aligned_steps: Whole = 2000
    wild_steps: Whole = 4000
    drop: ThirdShare = 0.05
    same_share: Share = 0.5
    background: Weight = 0.1
    localisation: Weight = 0.1
    preservation: Weight = 1.0
    gate_rate: Positive = 10.0
    style_encoder: str | None = None
    face_reader: str | None = None
    likeness: Weight = 0.2
    initial: str | None = None
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.aligned_steps + self.wild_steps < 1:
            raise ValueError("aligned_steps and wild_steps are both 0")
