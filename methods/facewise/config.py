"""Options of `facewise`."""

from __future__ import annotations

from typing import Literal

from methods.config import Batch, Count, Pairs, Positive, Precision, Seed, Weight, options


@options
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
    precision: of the frozen network, see `methods.fitting.precision`
    seed:      of the generator's weights, noise and noise levels
    """

    weight: Weight = 3e-3
    reduction: Literal["map", "keys", "mean", "sum"] = "sum"
    layers: Literal["all", "coarse"] = "all"
    tokens: Literal["all", "word"] = "all"
    pairs: Pairs = 5
    shared: bool = False
    steps: Count = 600
    batch: Batch = 8
    rate: Positive = 1e-4
    precision: Precision = "auto"
    seed: Seed = 0
