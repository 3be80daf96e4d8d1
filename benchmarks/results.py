"""What results.json holds. Imports nothing of the harness."""

from __future__ import annotations

from typing import Any, TypedDict

RESULTS_SCHEMA = 1

Number = float | None


class Score(TypedDict):
    """Mean of one metric over the samples of one method.

    n: samples with a value. missing: samples without one. cells: person x prompt x seed, over which the mean
    goes; a method without identities has one picture for the cells of many people. units: resampled units
    with a value. low, high: interval, None for fewer than five units and for methods without identities.
    """

    method: str
    metric: str
    mean: Number
    low: Number
    high: Number
    n: int
    missing: int
    cells: int
    units: int


class Delta(TypedDict):
    """Mean of (method - baseline) over the n cells in which both have a value.

    p: two-sided, uncorrected. p_holm: corrected over all methods compared with this baseline on this metric.
    """

    method: str
    baseline: str
    metric: str
    mean: Number
    low: Number
    high: Number
    p: Number
    p_holm: Number
    n: int


class Breakdown(TypedDict):
    """A Score over the cells of one prompt category (`by` = category) or one set (`by` = set)."""

    by: str
    value: str
    method: str
    metric: str
    mean: Number
    low: Number
    high: Number
    n: int


class Results(TypedDict):
    """results.json, schema 1. Every list is tidy: `pandas.DataFrame(json.load(file)["scores"])`.

    run: name, suite, backbone, methods, settings as in run.json, which methods are `without_identity`, and
    what was counted. statistics: how the
    intervals were made and what was resampled ('identity', or 'sample' when there are fewer than five
    people). metrics: their cards, in the order of run.json. statuses: method -> status -> samples.
    scores, deltas (every ordered pair of methods), breakdowns: see above; set-level metrics are in scores
    with n = 1 and no interval.
    """

    schema: int
    run: dict[str, Any]
    statistics: dict[str, Any]
    metrics: list[dict[str, Any]]
    statuses: dict[str, dict[str, int]]
    scores: list[Score]
    deltas: list[Delta]
    breakdowns: list[Breakdown]
