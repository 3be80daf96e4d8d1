"""Options of facewise. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Options of SeFi-IDE.

    weight:    lambda of the attention loss; the paper's sweep is 1e-4, 1e-3, 3e-3 (best), 1e-2, 5e-2; 0 is
               the ablation without it
    reduction: of the squared difference of maps (reconstruction): `sum` sums over everything but the batch;
               `map` is the squared Frobenius norm of each map, averaged over heads, sites and batch; `keys`
               sums over tokens only, `mean` over nothing
    layers:    cross-attentions that count: `all`, or `coarse`, those below the latent resolution
    tokens:    whose maps count: `all` (the paper) or `word`, the learned one only
    pairs:     stages; the paper compares 1, 3, 5, 7, 9, 10 and takes 5
    shared:    one token for keys and values of a stage (ablation)
    steps, batch, rate: of AdamW on the generator (reconstruction; ProSpect: 600 steps at 1e-4)
    seed:      of the generator's weights, noise and noise levels
    """

    weight: float = 3e-3
    reduction: Literal["map", "keys", "mean", "sum"] = "sum"
    layers: Literal["all", "coarse"] = "all"
    tokens: Literal["all", "word"] = "all"
    pairs: int = 5
    shared: bool = False
    steps: int = 600
    batch: int = 8
    rate: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("reduction", ("map", "keys", "mean", "sum")),
            ("layers", ("all", "coarse")),
            ("tokens", ("all", "word")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}.", hint=f"Give one of {', '.join(known)}."
                )
        if self.steps < 1 or self.batch < 1 or self.pairs < 1:
            raise UsageError("steps, batch and pairs are numbers from 1 up.", hint="Correct the value.")
        if self.rate <= 0 or self.weight < 0:
            raise UsageError("rate is positive and weight not negative.", hint="Correct the value.")
