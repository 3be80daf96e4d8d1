"""Uncertainty of means over samples that share people and prompts: a paired cluster bootstrap.

A benchmark says something about *people*, so people are what is drawn again: whole identities with all their
samples, and the same draw for every method and metric, because methods share identities and prompts. Samples
of one person are not independent; resampling them singly would give intervals that are far too narrow.

Everything is a ratio of sums over units (an identity's values and how many there are), so missing values and
unbalanced suites need no special case, and all columns of all methods are resampled by one matrix product.
Needs numpy and scipy, never torch. One seed, so the same samples give the same interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 10_000
SEED = 20_251_121
MIN_UNITS = 5
"""Fewest units with an interval. n units have n^n resamples; below five, the quantile that a 95 % interval
needs lies beyond the most extreme of them."""
MAX_UNITS = 1_000
"""More units are dealt into this many groups: a group of independent units is one independent unit."""

POWER = 0.8
"""Of `detectable`: how often a true effect of that size would be found."""

METHOD = (
    "Percentile bootstrap over whole units, the same draws for every method and metric; quantile levels "
    "expanded for the number of units n as Phi(-t * sqrt(n / (n - 1))) with Student's t of n - 1 degrees of "
    "freedom (Hesterberg 2015, section 5.3). p-values are two-sided and invert that interval, with a normal "
    "tail where no draw reaches zero. Holm's correction is over the methods compared with one baseline on "
    "one metric."
)


@dataclass(frozen=True)
class Estimates:
    """One entry per column; NaN where there is nothing to say.

    value: mean over all values. low, high: interval. p: two-sided, against a mean of 0. n: how many values.
    units: how many units have a value.
    """

    value: Floats
    low: Floats
    high: Floats
    p: Floats
    n: NDArray[np.int64]
    units: NDArray[np.int64]


class Bootstrap:
    """Resampling weights of a set of units, drawn once.

    units: how many there are, at most MAX_UNITS (see `deal`).
    """

    def __init__(self, units: int, *, draws: int = DRAWS, seed: int = SEED) -> None:
        if not 0 < units <= MAX_UNITS:
            raise ValueError(f"units must lie in [1, {MAX_UNITS}], not {units}")
        rng = np.random.default_rng(seed)
        self.units = units
        self.weights = rng.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)
        """[draws, units]: how often each unit is in each resample."""

    def estimate(self, sums: Floats, counts: Floats, *, level: float = LEVEL, block: int = 64) -> Estimates:
        """Means with intervals from per-unit sums and counts, both [units, columns], as `unit_sums` gives.

        block: columns at a time; bounds memory to about 2 * 8 * draws * block bytes.
        """
        columns = sums.shape[1]
        low, high, p = (np.full(columns, np.nan) for _ in range(3))
        n, units = counts.sum(axis=0), (counts > 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = sums.sum(axis=0) / n
        for start in range(0, columns, block):
            part = start + np.flatnonzero(units[start : start + block] >= MIN_UNITS)
            if len(part):
                means = self._resample(sums[:, part], counts[:, part])
                low[part], high[part], p[part] = _interval(means, units[part], level)
        return Estimates(value, low, high, p, n.astype(np.int64), units)

    def ratio(
        self, top: Floats, bottom: Floats | None = None, *, level: float = LEVEL
    ) -> tuple[float, float, float]:
        """sum(top) / sum(bottom) of the units, and its interval: NaN for fewer than MIN_UNITS.

        top, bottom: one value per unit [units], of any sign; None: the mean of `top`
        """
        bottom = np.ones_like(top) if bottom is None else bottom
        value = float(top.sum() / bottom.sum())
        if self.units < MIN_UNITS:
            return value, float("nan"), float("nan")
        means = self._resample(top[:, None], bottom[:, None])
        low, high, _ = _interval(means, np.array([self.units]), level)
        return value, float(low[0]), float(high[0])

    def _resample(self, sums: Floats, counts: Floats) -> Floats:
        """[columns, draws], sorted along the draws; a draw without any value of a column is NaN and last."""
        means: Floats = sums.T @ self.weights.T
        kinds, kind = np.unique(counts, axis=1, return_inverse=True)  # most columns miss the same values
        drawn = kinds.T @ self.weights.T
        with np.errstate(invalid="ignore", divide="ignore"):
            for mean, of in zip(means, kind.reshape(-1), strict=True):
                mean /= drawn[of]
        means.sort(axis=1)
        return means


def _interval(means: Floats, units: NDArray[np.int64], level: float) -> tuple[Floats, Floats, Floats]:
    """low, high and p of sorted bootstrap means [columns, draws], each column with its number of units."""
    finite = np.array([np.searchsorted(column, np.nan) for column in means])
    less = np.array([np.searchsorted(column, 0.0) for column in means])
    most = np.array([np.searchsorted(column, 0.0, "right") for column in means])
    stretch = np.sqrt(units / (units - 1))
    tail = ndtr(-stretch * stdtrit(units - 1, (1 + level) / 2))
    low, high = _quantile(means, finite, tail), _quantile(means, finite, 1 - tail)
    below = (less + most) / (2 * finite)  # ties count half
    rarer = np.minimum(below, 1 - below)
    z = ndtri(np.clip(rarer, 1 / (finite + 1), 0.5))
    with np.errstate(divide="ignore", invalid="ignore"):
        for at in np.flatnonzero(rarer == 0):  # no draw reaches 0: the tail is taken as normal
            drawn = means[at, : finite[at]]
            z[at] = np.fmin(z[at], -np.abs(drawn.mean()) / drawn.std())
    return low, high, np.minimum(2 * stdtr(units - 1, z / stretch), 1.0)


def _quantile(means: Floats, finite: NDArray[np.int64], level: Floats) -> Floats:
    """The quantile of each column at its own level, linear between order statistics."""
    place = level * (finite - 1)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, finite - 1)
    columns = np.arange(len(means))
    share = place - left
    result: Floats = means[columns, left] * (1 - share) + means[columns, right] * share
    return result


def detectable(low: float, high: float, units: int, *, power: float = POWER, level: float = LEVEL) -> float:
    """The smallest true mean that so many units show to differ from 0 with probability `power`.

        (t_(n-1, (1 + level) / 2) + t_(n-1, power)) se,    se = (high - low) / 2 / t_(n-1, (1 + level) / 2)

    low, high: an interval of `Bootstrap.estimate` over n = `units` >= 2 units; its half width is t standard
    errors. Known before the mean is: it depends on the spread between units and their number alone.
    """
    sure = float(stdtrit(units - 1, (1 + level) / 2))
    return (high - low) / 2 * (1 + float(stdtrit(units - 1, power)) / sure)


def unit_sums(units: NDArray[np.int64], values: Floats, count: int) -> tuple[Floats, Floats]:
    """Sum and number of the finite values of every unit.

    units: [rows], in [0, count). values: [rows, columns]. Returns two arrays [count, columns].
    """
    columns = np.ascontiguousarray(values.T)
    present = np.isfinite(columns)
    filled = np.where(present, columns, 0.0)
    sums, counts = (np.empty((count, len(columns))) for _ in range(2))
    for at in range(len(columns)):
        sums[:, at] = np.bincount(units, filled[at], minlength=count)
        counts[:, at] = np.bincount(units, present[at], minlength=count)
    return sums, counts


def deal(units: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Unit codes 0..n-1, and how many: more than MAX_UNITS are dealt in turn into MAX_UNITS groups."""
    count = int(units.max()) + 1 if len(units) else 0
    return (units % MAX_UNITS, MAX_UNITS) if count > MAX_UNITS else (units, count)


def holm(p: Floats) -> Floats:
    """Holm's step-down adjustment of a family of p-values; NaN stays NaN and is no member."""
    adjusted = np.full(len(p), np.nan)
    members = np.flatnonzero(np.isfinite(p))
    order = members[np.argsort(p[members], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
