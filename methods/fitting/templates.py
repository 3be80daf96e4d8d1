"""Sentences under which a photograph is fitted; `{person}` is where the learned word stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from methods.errors import UsageError
from methods.fitting.words import Placed, place
from methods.prompts import expand
from methods.shipped import is_pocket

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

POCKET = (
    "a photo of a {person}",
    "a photograph of a {person}",
    "a portrait photo of a {person}",
    "a picture of a {person}",
)
"""Pocket backbones know the words of their captions only, and "face" is none of them."""

REAL = (
    "a photo of the face of {person}",
    "a close-up photo of {person}",
    "a portrait of {person}",
    "a picture of the face of {person}",
)


def templates_for(family: str) -> tuple[str, ...]:
    """Neutral sentences in words that a family of backbones knows."""
    return POCKET if is_pocket(family) else REAL


class Sentences:
    """The neutral sentences of a backbone with room for a learned word, placed once; those that fit."""

    def __init__(self, backbone: Backbone, rows: int, *, keep_noun: bool = False) -> None:
        sentences = [expand(one) for one in templates_for(backbone.family)]
        placed = {one: place(backbone.text, one, rows, keep_noun=keep_noun) for one in sentences}
        self.texts = [text for text, one in placed.items() if one is not None]
        self.placed = [one for one in placed.values() if one is not None]
        if not self.placed:
            raise UsageError(
                f"A word of {rows} rows does not fit into the text encoder's sentences.",
                hint="Give fewer rows.",
            )

    def choose(self, count: int, rng: torch.Generator) -> list[int]:
        """Numbers of `count` sentences, drawn evenly."""
        return torch.randint(len(self.placed), (count,), generator=rng).tolist()

    def draw(self, count: int, rng: torch.Generator) -> list[Placed]:
        """`count` sentences."""
        return [self.placed[number] for number in self.choose(count, rng)]
