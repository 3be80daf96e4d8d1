"""Options of `textual-inversion`."""

from __future__ import annotations

from typing import Literal

from methods.config import Batch, Count, Positive, Precision, Rows, Seed, Weight, options
from methods.errors import UsageError


@options
class Config:
    """Options of Textual Inversion.

    steps, batch: 5,000 steps is what Cross Initialization's abstract says of it; noise levels per step
    rate:         AdamW's; 5e-4 times the batch is the usual setting
    rows:         token embeddings of the word (init `word` only; `celebrity` has two)
    init:         `word`: "person", which the learned word replaces; `celebrity`: cross-initialised, the two
                  rows then precede "person"
    celebrities:  file with one name a line, for init `celebrity`; None is the pocket world's own
    anchor:       weight of ||v - v_0||^2, summed over channels, mean over rows (Cross Initialization: 1e-5)
    precision:    of the frozen network, see `methods.fitting.precision`
    seed:         of noise and noise levels
    """

    steps: Count = 5000
    batch: Batch = 4
    rate: Positive = 2e-3
    rows: Rows = 1
    init: Literal["word", "celebrity"] = "word"
    celebrities: str | None = None
    anchor: Weight = 0.0
    precision: Precision = "auto"
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.init == "celebrity" and self.rows not in (1, 2):
            raise UsageError("A cross-initialised word has two rows.", hint="Leave `rows` out.")
