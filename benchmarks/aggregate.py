"""From the samples of a run to its results: means, intervals, paired differences, breakdowns, tables.

`aggregate(folder)` reads run.json, samples.jsonl and sets.json and writes

    results.json             everything computed, see `results.Results`
    samples.parquet          one row per sample, one column per metric       pandas.read_parquet(...)
    tables/results.csv       one row per method and metric                   pandas.read_csv(...)
    tables/results.md, .tex  the leaderboard
    metadata.jsonl           what `datasets.load_dataset("imagefolder", data_dir=RUN)` reads

The same samples give the same bytes. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, islice
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import RESULTS_SCHEMA, Breakdown, Delta, Number, Results, Score
from benchmarks.run_file import Card
from benchmarks.samples import (
    DETAILS,
    PART,
    TEXT,
    UNIQUE,
    Cells,
    Samples,
    arrange,
    read_samples,
    resampling_units,
)
from benchmarks.schema import STATUSES
from benchmarks.statistics import (
    DRAWS,
    LEVEL,
    METHOD,
    MIN_UNITS,
    SEED,
    Bootstrap,
    Estimates,
    deal,
    holm,
    unit_sums,
)
from benchmarks.tables import write_tables
from methods.files import save_json, write_atomic

DECIMALS = 6
"""Figures are rounded: the last bits of a sum depend on the processor, results must not."""


def aggregate(folder: str | Path) -> Results:
    """Compute and write everything of the module's list into the run folder; returns results.json.

    Raises UsageError when the folder is no run, SpidError for damaged files or a folder that cannot be
    written.
    """
    samples = read_samples(folder)
    results = summarise(samples)
    save_json(samples.folder / "results.json", results)
    write_parquet(samples, samples.folder / "samples.parquet")
    write_metadata(samples, samples.folder / "metadata.jsonl")
    write_tables(results, samples.folder / "tables")
    return results


def summarise(samples: Samples) -> Results:
    """What results.json says of these samples. Writes nothing."""
    cells = arrange(samples)
    values = cells.values(samples)
    kind, codes = resampling_units(cells.keys, MIN_UNITS, samples.first_people())
    codes, count = deal(codes)
    study = _Study(samples, cells, values, codes, Bootstrap(count) if count else None)
    shown = dict(zip(samples.text["identity"], range(len(samples)), strict=True))
    people = {name for row in shown.values() for name in samples.people(row)}
    run = samples.run
    return {
        "schema": RESULTS_SCHEMA,
        "run": {
            "name": samples.name,
            "suite": run.get("suite", {"name": samples.name}),
            "backbone": run.get("backbone", {"name": "unknown"}),
            "methods": run.get("methods", []),
            "without_identity": [name for name in cells.methods if name in cells.free],
            "settings": run.get("settings", {}),
            "samples": len(samples),
            "identities": len(people),
            "prompts": len(set(samples.text["prompt_id"])),
            "seeds": len(set(samples.seed)),
        },
        "statistics": {
            "unit": kind,
            "units": count,
            "level": LEVEL,
            "draws": DRAWS,
            "seed": SEED,
            "method": METHOD,
        },
        "metrics": [_card(samples, name) for name in _all_metrics(samples)],
        "statuses": _statuses(samples),
        "scores": study.scores(),
        "deltas": study.deltas(),
        "breakdowns": [*study.breakdown("category"), *study.breakdown("set")],
    }


@dataclass(frozen=True, eq=False)
class _Study:
    """The cells of a run and the one bootstrap through which everything is estimated."""

    samples: Samples
    cells: Cells
    values: NDArray[np.float64]  # [methods, cells, metrics]
    units: NDArray[np.int64]  # [cells]
    bootstrap: Bootstrap | None

    def estimate(self, columns: Iterable[NDArray[np.float64]], units: NDArray[np.int64]) -> Estimates:
        """Estimates of columns, which come as arrays [cells, columns], by the unit of every cell."""
        if self.bootstrap is None:
            raise ValueError("a run without samples has no estimates")
        parts = [
            unit_sums(units, part, self.bootstrap.units) for part in columns
        ]  # all at once would be large
        sums, counts = (np.concatenate(of, axis=1) for of in zip(*parts, strict=True))
        return self.bootstrap.estimate(sums, counts)

    def all_methods(self, chosen: NDArray[np.bool_] | slice = slice(None)) -> Estimates:
        """Estimates of method x metric, methods outermost, over the chosen cells."""
        return self.estimate((of_method[chosen] for of_method in self.values), self.units[chosen])

    def scores(self) -> list[Score]:
        samples, free = self.samples, self.cells.free
        if self.bootstrap is None:
            return []
        found = self.all_methods()
        place = {name: index for index, name in enumerate(self.cells.methods)}
        method_of = np.array([place[str(name)] for name in samples.text["method"]])
        rows: list[Score] = []
        for m, method in enumerate(self.cells.methods):
            own = samples.values[method_of == m]
            present = np.isfinite(own).sum(axis=0)
            of_set = samples.sets.get(method, {})
            for k, metric in enumerate(samples.metrics):
                if metric in of_set:
                    continue
                at = m * len(samples.metrics) + k
                fixed = method in free
                rows.append(
                    {
                        "method": method,
                        "metric": metric,
                        "mean": _number(found.value[at]),
                        "low": None if fixed else _number(found.low[at]),
                        "high": None if fixed else _number(found.high[at]),
                        "n": int(present[k]),
                        "missing": int(len(own) - present[k]),
                        "cells": int(found.n[at]),
                        "units": int(found.units[at]),
                    }
                )
            rows += _set_scores(samples, method)
        return rows

    def deltas(self) -> list[Delta]:
        """Every ordered pair of methods; the two orders mirror each other."""
        names, metrics = self.cells.methods, self.samples.metrics
        if self.bootstrap is None or len(names) < 2:
            return []
        pairs = list(combinations(range(len(names)), 2))
        found = self.estimate((self.values[b] - self.values[a] for a, b in pairs), self.units)
        shape = (len(pairs), len(metrics))
        p = found.p.reshape(shape)
        corrected = [np.full(shape, np.nan), np.full(shape, np.nan)]  # with the first, the second as baseline
        for baseline in range(len(names)):
            family = [(i, pair.index(baseline)) for i, pair in enumerate(pairs) if baseline in pair]
            for k in range(len(metrics)):
                for (i, side), value in zip(
                    family, holm(np.array([p[i, k] for i, _ in family])), strict=True
                ):
                    corrected[side][i, k] = value
        rows: list[Delta] = []
        for i, pair in enumerate(pairs):
            for side, sign in ((0, 1), (1, -1)):
                for k, metric in enumerate(metrics):
                    at = i * len(metrics) + k
                    ends = (found.low[at], found.high[at])
                    if found.n[at]:
                        rows.append(
                            {
                                "method": names[pair[1 - side]],
                                "baseline": names[pair[side]],
                                "metric": metric,
                                "mean": _number(sign * found.value[at]),
                                "low": _number(sign * ends[side]),
                                "high": _number(sign * ends[1 - side]),
                                "p": _number(found.p[at]),
                                "p_holm": _number(corrected[side][i, k]),
                                "n": int(found.n[at]),
                            }
                        )
        return rows

    def breakdown(self, by: Literal["category", "set"]) -> list[Breakdown]:
        """Scores by the values of a text column, if there are several."""
        if self.bootstrap is None:
            return []
        column = self.samples.text[by]
        labels = np.array([column[row] or "" for row in self.cells.rows.max(axis=0)], dtype=object)
        kinds = list(dict.fromkeys(labels))
        if len(kinds) < 2:
            return []
        rows: list[Breakdown] = []
        for kind in kinds:
            found = self.all_methods(labels == kind)
            for at, (method, metric) in enumerate(
                (method, metric) for method in self.cells.methods for metric in self.samples.metrics
            ):
                if found.n[at]:
                    fixed = method in self.cells.free
                    rows.append(
                        {
                            "by": by,
                            "value": kind,
                            "method": method,
                            "metric": metric,
                            "mean": _number(found.value[at]),
                            "low": None if fixed else _number(found.low[at]),
                            "high": None if fixed else _number(found.high[at]),
                            "n": int(found.n[at]),
                        }
                    )
        return rows


def _set_scores(samples: Samples, method: str) -> Iterator[Score]:
    for metric, score in samples.sets.get(method, {}).items():
        value = score.get("value")
        yield {
            "method": method,
            "metric": metric,
            "mean": _number(value if value is not None else float("nan")),
            "low": None,
            "high": None,
            "n": 1,
            "missing": 0,
            "cells": 0,
            "units": 0,
        }


def _all_metrics(samples: Samples) -> list[str]:
    found = dict.fromkeys(samples.cards) | dict.fromkeys(samples.metrics)
    for scores in samples.sets.values():
        found |= dict.fromkeys(scores)
    return list(found)


def _card(samples: Samples, name: str) -> Card:
    """A metric's card with a JSON-able range; a metric nobody described has no direction."""
    unknown: Card = {"name": name, "title": name, "direction": "none"}
    card = cast(Card, dict(samples.cards.get(name, unknown)))
    low, high = card.get("range") or (None, None)
    card["range"] = [_bound(low), _bound(high)]
    return card


def _statuses(samples: Samples) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {method: dict.fromkeys(STATUSES, 0) for method in samples.methods}
    for method, status in zip(samples.text["method"], samples.text["status"], strict=True):
        of_method = counts[str(method)]
        of_method[str(status)] = of_method.get(str(status), 0) + 1
    return {method: {status: n for status, n in found.items() if n} for method, found in counts.items()}


def _number(value: float) -> Number:
    """For JSON: rounded, None for what is not finite."""
    return round(float(value), DECIMALS) + 0.0 if np.isfinite(value) else None


def _bound(value: float | None) -> Number:
    return None if value is None else _number(value)


def write_parquet(samples: Samples, path: Path) -> None:
    """One row per sample: the text columns, seed, one column per metric, the details as JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: pa.array(samples.text[name], pa.string()) for name in TEXT}
    columns["seed"] = pa.array(samples.seed, pa.int64())
    for index, name in enumerate(samples.metrics):
        column = np.ascontiguousarray(samples.values[:, index])
        columns[name] = pa.array(column, pa.float64(), mask=np.isnan(column))
    columns |= {name: pa.array(content, pa.string()) for name, content in samples.details.items()}
    table = pa.table(columns)
    again = [name for name in (*TEXT, *DETAILS) if name not in UNIQUE]  # numbers hardly ever repeat
    write_atomic(path, lambda stream: pq.write_table(table, stream, compression="zstd", use_dictionary=again))


def write_metadata(samples: Samples, path: Path) -> None:
    """One line per picture: its file, how it was made, how it was judged; then the references."""
    lines = _metadata(samples)

    def write(stream: IO[bytes]) -> None:
        while part := "".join(islice(lines, PART)):
            stream.write(part.encode())

    write_atomic(path, write)


def _metadata(samples: Samples) -> Iterator[str]:
    """Lines of JSON. Samples have the same keys: these are encoded once, and so is each repeated text."""
    text, encode = samples.text, json.JSONEncoder(allow_nan=False).encode
    again = cache(encode)
    told = ("method", "identity", "prompt", "prompt_id", "category", "set", "seed", "status", "reference")
    columns = [samples.seed if name == "seed" else text[name] for name in told]
    people = [several or "null" for several in samples.details["people"]]
    named = ("file_name", "kind", *told, "people", *samples.metrics)
    keys = [encode(name).replace("%", "%%") for name in named]
    line = f"{{{', '.join(f'{key}: %s' for key in keys)}}}\n"
    for picture, scores, several, *said in zip(
        text["picture"], samples.values, people, *columns, strict=True
    ):
        if picture is not None:
            numbers = ["null" if value != value else repr(value) for value in scores.tolist()]  # NaN != NaN
            yield line % (encode(picture), '"sample"', *map(again, said), several, *numbers)
    references = dict(zip(text["reference"], text["identity"], strict=True))
    for several in dict.fromkeys(samples.details["people"]):
        references |= {picture: name for name, picture in json.loads(several or "{}").items()}
    for picture, name in references.items():
        if picture is not None:
            yield f"{encode({'file_name': picture, 'kind': 'reference', 'identity': name})}\n"
