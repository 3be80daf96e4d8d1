"""Options of textual inversion. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Options of Textual Inversion.

    steps, batch: 5,000 steps is what Cross Initialization's abstract says of it; noise levels per step
    rate:         AdamW's; 5e-4 times the batch is the usual setting
    rows:         token embeddings of the word (init `word` only; `celebrity` has two)
    init:         `word`: "person", which the learned word replaces; `celebrity`: cross-initialised, the two
                  rows then precede "person"
    celebrities:  file with one name a line, for init `celebrity`; None is the pocket world's own
    anchor:       weight of ||v - v_0||^2, summed over channels, mean over rows (Cross Initialization: 1e-5)
    seed:         of noise and noise levels
    """

    steps: int = 5000
    batch: int = 4
    rate: float = 2e-3
    rows: int = 1
    init: Literal["word", "celebrity"] = "word"
    celebrities: str | None = None
    anchor: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rows < 1:
            raise UsageError("steps, batch and rows are numbers from 1 up.", hint="Correct the value.")
        if self.rate <= 0 or self.anchor < 0:
            raise UsageError("rate is positive and anchor not negative.", hint="Correct the value.")
        if self.init == "celebrity" and self.rows not in (1, 2):
            raise UsageError("A cross-initialised word has two rows.", hint="Leave `rows` out.")
