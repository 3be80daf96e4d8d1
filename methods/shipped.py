"""The backbones that come with the package: where they lie, and which adapters were trained for each."""

from __future__ import annotations

from typing import NamedTuple


class Shipped(NamedTuple):
    """A backbone of the pocket world.

    folder:   of the pipeline in diffusers layout, below `pocket_dir()`
    adapters: methods whose weights lie in folders of their names beside it
    stage:    of `scripts/train_pocket.py` that trains it
    use:      what it is, in a few words
    """

    folder: str
    adapters: tuple[str, ...]
    stage: str
    use: str


SHIPPED = {
    "pocket": Shipped("sd", ("uniform", "infinite-id", "pidiff"), "diffusion", "text to image"),
    "pocket-flux": Shipped("flux", ("pulid",), "flux", "text to image, FLUX-shaped"),
}
"""By the name that `--backbone` takes, which is also the word for the family."""


def is_pocket(family: str) -> bool:
    """Whether backbones of a family know the pocket world, its captions and its rendered people, alone."""
    return family in SHIPPED
