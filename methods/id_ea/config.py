"""Options of `id-ea`."""

from __future__ import annotations

from typing import Literal

from methods.config import Batch, Count, Positive, Precision, Seed, Weight, options

_REG_WEIGHTS = {"ridge": 1e-5, "pinv": 8e-4, "l2": 1e-5}


@options
class Config:
    """Options of ID-EA.

    mode:        `paper`: everything is trained and applied; `release`: what the public code does
    reg:         `ridge`, `pinv` or `l2` (see `regulariser`); None is ridge in mode paper, pinv in release
    reg_weight:  w; None is 8e-4 for pinv (released), 1e-5 for l2 (Cross Initialization) and for ridge, whose
                 pull is 224 times the distance (retuned, reconstruction)
    celebrities: file with one name a line; None is the pocket world's own
    steps, batch: 320 and 8 (released)
    rate:        AdamW's for the tokens, .0015 scaled by the batch (released)
    module_rate: of ID-Enhancer and ID-Adapter; None is `rate` in mode release (released), .001 in mode paper,
                 where the Enhancer learns too and `rate` diverges (reconstruction)
    kv_rate:     of keys and values in mode paper (reconstruction)
    mirror:      half of the pictures are mirrored (released)
    precision:   of the frozen network, see `methods.fitting.precision`
    seed:        of weights, noise and noise levels
    """

    mode: Literal["paper", "release"] = "paper"
    reg: Literal["ridge", "pinv", "l2"] | None = None
    reg_weight: Weight | None = None
    celebrities: str | None = None
    steps: Count = 320
    batch: Batch = 8
    rate: Positive = 0.012
    module_rate: Positive | None = None
    kv_rate: Positive = 1e-4
    mirror: bool = True
    precision: Precision = "auto"
    seed: Seed = 0

    def rate_of_modules(self) -> float:
        """Rate of ID-Enhancer and ID-Adapter in force."""
        if self.module_rate is not None:
            return self.module_rate
        return self.rate if self.mode == "release" else 1e-3

    def regularisation(self) -> tuple[str, float]:
        """Kind and weight in force."""
        kind = self.reg or ("ridge" if self.mode == "paper" else "pinv")
        return kind, _REG_WEIGHTS[kind] if self.reg_weight is None else self.reg_weight
