"""Options of ID-EA. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.errors import UsageError

_REG_WEIGHTS = {"ridge": 1e-5, "pinv": 8e-4, "l2": 1e-5}


@dataclass(frozen=True)
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
    seed:        of weights, noise and noise levels
    """

    mode: Literal["paper", "release"] = "paper"
    reg: Literal["ridge", "pinv", "l2"] | None = None
    reg_weight: float | None = None
    celebrities: str | None = None
    steps: int = 320
    batch: int = 8
    rate: float = 0.012
    module_rate: float | None = None
    kv_rate: float = 1e-4
    mirror: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("paper", "release"):
            raise UsageError(f"mode is {self.mode!r}.", hint="Give paper or release.")
        if self.reg not in (None, *_REG_WEIGHTS):
            raise UsageError(f"reg is {self.reg!r}.", hint="Give ridge, pinv or l2.")
        if self.steps < 1 or self.batch < 1:
            raise UsageError("steps and batch are numbers from 1 up.", hint="Correct the value.")
        if min(self.rate, self.kv_rate, self.rate_of_modules()) <= 0 or (self.reg_weight or 0.0) < 0:
            raise UsageError("rates are positive and reg_weight not negative.", hint="Correct the value.")

    def rate_of_modules(self) -> float:
        """Rate of ID-Enhancer and ID-Adapter in force."""
        if self.module_rate is not None:
            return self.module_rate
        return self.rate if self.mode == "release" else 1e-3

    def regularisation(self) -> tuple[str, float]:
        """Kind and weight in force."""
        kind = self.reg or ("ridge" if self.mode == "paper" else "pinv")
        return kind, _REG_WEIGHTS[kind] if self.reg_weight is None else self.reg_weight
