"""What results.json holds: its JSON schema, `benchmarks/schemas/results.schema.json`, is made from this."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field
from typing_extensions import TypedDict

from benchmarks.run_file import BackboneEntry, Card, MethodEntry, Settings, SuiteEntry
from methods.config import Seed, Text, Whole, record

RESULTS_SCHEMA: Final = 1

Number = float | None
P = Annotated[float, Field(ge=0, le=1)] | None


@record
class Score(TypedDict):
    """Mean of one metric over the samples of one method.

    n: samples with a value. missing: samples without one. cells: person x prompt x seed, over which the mean
    goes; a method without identities has one picture for the cells of many people. units: resampled units
    with a value. low, high: interval, None for fewer than five units and for methods without identities.
    """

    method: Text
    metric: Text
    mean: Number
    low: Number
    high: Number
    n: Whole
    missing: Whole
    cells: Whole
    units: Whole


@record
class Delta(TypedDict):
    """Mean of (method - baseline) over the n cells in which both have a value.

    p: two-sided, uncorrected. p_holm: corrected over all methods compared with this baseline on this metric.
    """

    method: Text
    baseline: Text
    metric: Text
    mean: Number
    low: Number
    high: Number
    p: P
    p_holm: P
    n: Whole


@record
class Breakdown(TypedDict):
    """A Score over the cells of one prompt category (`by` = category) or one set (`by` = set)."""

    by: Literal["category", "set"]
    value: Text
    method: Text
    metric: Text
    mean: Number
    low: Number
    high: Number
    n: Whole


@record
class Run(TypedDict):
    """What was run, as in run.json, and what was counted. without_identity: methods that show nobody."""

    name: Text
    suite: SuiteEntry
    backbone: BackboneEntry
    methods: list[MethodEntry]
    without_identity: list[Text]
    settings: Settings
    samples: Whole
    identities: Whole
    prompts: Whole
    seeds: Whole


@record
class Statistics(TypedDict):
    """How the intervals were made and what was resampled: people, or samples where people are too few."""

    unit: Literal["identity", "sample"]
    units: Whole
    level: Annotated[float, Field(gt=0, lt=1)]
    draws: Whole
    seed: Seed
    method: Text


@record
class Results(TypedDict):
    """results.json, schema 1. Every list is tidy: `pandas.DataFrame(json.load(file)["scores"])`.

    metrics: their cards, in the order of run.json. statuses: method -> status -> samples. deltas: every
    ordered pair of methods. Metrics of whole methods are in scores with n = 1 and no interval.
    """

    schema: Literal[1]
    run: Run
    statistics: Statistics
    metrics: list[Card]
    statuses: dict[Text, dict[Text, Whole]]
    scores: list[Score]
    deltas: list[Delta]
    breakdowns: list[Breakdown]
