"""Paired effects of treatment against control, with a bootstrap over people. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.claims.rules import Estimate
from benchmarks.claims.types import Effect
from benchmarks.samples import Key, arrange, read_samples
from benchmarks.statistics import MIN_UNITS, Bootstrap, deal, unit_sums

Column = dict[Key, float]
"""A metric of one variant by cell (set, person, prompt, seed); NaN where it has no value."""


@dataclass(eq=False)
class Table:
    """What an experiment measured.

    values:     variant -> metric -> cell -> value
    categories: prompt id -> category
    missing:    metric -> why it has no values at all
    unit:       what the second entry of a cell is: identity, or round of a timing
    """

    values: dict[str, dict[str, Column]] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unit: str = "identity"


def table_of_runs(runs: Sequence[Path], labels: Mapping[str, tuple[Path, str]]) -> Table:
    """The rows of finished runs.

    labels: variant -> (run folder, name of the method there)
    """
    table = Table()
    for run in runs:
        samples = read_samples(run)
        cells = arrange(samples)
        values = cells.values(samples)
        for prompt, category in zip(samples.text["prompt_id"], samples.text["category"], strict=True):
            table.categories[str(prompt)] = str(category)
        for name, card in samples.cards.items():
            if not card.get("available", True):
                table.missing[name] = str(card.get("reason"))
        wanted = {variant: label for variant, (folder, label) in labels.items() if folder == run}
        for variant, label in wanted.items():
            if label not in cells.methods:
                continue
            own = values[cells.methods.index(label)]
            table.values[variant] = {
                metric: dict(zip(cells.keys, own[:, column].tolist(), strict=True))
                for column, metric in enumerate(samples.metrics)
            }
    return table


def estimate(table: Table, effect: Effect, metric: str) -> Estimate | str:
    """The effect with its interval, or why there is none."""
    sides = []
    for variant in (effect.control, effect.treatment):
        if variant not in table.values:
            return f"there are no samples of {variant}"
        sides.append(table.values[variant].get(metric, {}))
    control, treatment = sides
    keys = [key for key in treatment if key in control and _counts(effect, table.categories.get(key[2], ""))]
    before = np.array([control[key] for key in keys])
    after = np.array([treatment[key] for key in keys])
    both = np.isfinite(before) & np.isfinite(after)
    lost = int((np.isfinite(before) ^ np.isfinite(after)).sum())
    if not both.any():
        return table.missing.get(metric) or f"no pair has a value of {metric}"
    if effect.ratio and ((before[both] <= 0) | (after[both] <= 0)).any():
        return f"{metric} is not positive everywhere: there is no ratio"
    with np.errstate(invalid="ignore", divide="ignore"):
        change = np.log(after) - np.log(before) if effect.ratio else after - before
    people: dict[str, int] = {}
    codes = np.array([people.setdefault(key[1], len(people)) for key in keys], np.int64)
    codes, count = deal(codes)
    found = Bootstrap(count).estimate(*unit_sums(codes, change[:, None], count))

    def number(value: float) -> float | None:
        if not np.isfinite(value):
            return None
        return float(np.exp(value)) if effect.ratio else float(value)

    value = number(found.value[0])
    assert value is not None
    return Estimate(
        value=value,
        low=number(found.low[0]),
        high=number(found.high[0]),
        p=float(found.p[0]) if np.isfinite(found.p[0]) else None,
        pairs=int(both.sum()),
        lost=lost,
        units=int(found.units[0]),
        unit=table.unit,
        before=float(before[both].mean()),
        after=float(after[both].mean()),
    )


def means(table: Table, metrics: Sequence[str]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """variant -> metric -> mean, low, high, n: what curves are drawn from."""
    result: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for variant, columns in table.values.items():
        for metric in metrics:
            column = columns.get(metric, {})
            if not any(np.isfinite(list(column.values()))):
                continue
            people: dict[str, int] = {}
            codes = np.array([people.setdefault(key[1], len(people)) for key in column], np.int64)
            codes, count = deal(codes)
            values = np.array(list(column.values()))[:, None]
            found = Bootstrap(count).estimate(*unit_sums(codes, values, count))
            result.setdefault(variant, {})[metric] = {
                "mean": round(float(found.value[0]), 6),
                "low": None if found.units[0] < MIN_UNITS else round(float(found.low[0]), 6),
                "high": None if found.units[0] < MIN_UNITS else round(float(found.high[0]), 6),
                "n": int(found.n[0]),
            }
    return result


def _counts(effect: Effect, category: str) -> bool:
    return not effect.categories or category in effect.categories
