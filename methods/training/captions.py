"""Captions that are longer than the text encoder reads: a training learns nothing from the rest of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from methods.backbone.text import TextEncoder
from methods.training.sources import Source

_DRAW = 3  # a kind of random numbers of its own, beside those of `pairs`


@dataclass(frozen=True)
class Cut:
    """A picture whose caption is cut, and the words that are left out."""

    name: str
    left_out: str


def cut_captions(source: Source, numbers: Iterable[int], text: TextEncoder, seed: int) -> tuple[Cut, ...]:
    """The pictures whose captions do not fit, by their numbers.

    A source that says something else at every visit is asked for one sentence a picture, drawn by `seed`.
    """
    found = []
    for number in numbers:
        caption = source.prompt(number, np.random.default_rng([seed, _DRAW, number]))
        if left_out := text.overflow(caption):
            found.append(Cut(source.name(number), left_out))
    return tuple(found)
