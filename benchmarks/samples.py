"""A run folder as columns: every row of samples.jsonl, and the cells where methods meet. Imports no torch."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.run_file import RunFile, read_run, read_sets
from benchmarks.schema import Row
from methods.errors import SpidError, UsageError

TEXT = (
    "id", "method", "identity", "prompt_id", "prompt", "category", "set", "status", "detail", "picture",
    "reference", "baseline",
)  # fmt: skip
DETAILS = ("truth", "reference_truth", "people", "notes")
UNIQUE = ("id", "picture")
"""Columns in which hardly any two rows are equal."""
PART = 64
"""Rows that are read before they go into the columns, and lines that are written at once: few enough for a
processor's cache."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The rows of one run, a column at a time.

    run:     run.json
    text:    the columns TEXT; None where a row has none
    seed:    one per row
    details: the columns DETAILS, each entry compact JSON, equal ones shared; "" for an empty mapping
    metrics: names of the columns of `values`: the metrics of single samples, in the order of run.json
    values:  [rows, metrics] float64, NaN where a row has no value
    sets:    method -> metric -> {"value": number or None, "status": str, "reason": str}, of whole methods
    """

    folder: Path
    run: Mapping[str, Any]
    text: Mapping[str, list[str | None]]
    seed: list[int]
    details: Mapping[str, list[str]]
    metrics: list[str]
    values: NDArray[np.float64]
    sets: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def __len__(self) -> int:
        return len(self.seed)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def cards(self) -> dict[str, dict[str, Any]]:
        """Metric name -> its card of run.json."""
        return {card["name"]: card for card in self.run.get("metrics", [])}

    def people(self, row: int) -> dict[str, str | None]:
        """Whom a row shows: name -> path of the reference; several share a picture."""
        if several := self.details["people"][row]:
            return json.loads(several)
        name = self.text["identity"][row]
        return {} if name is None else {name: self.text["reference"][row]}

    def first_people(self) -> dict[str, str]:
        """Identity of the rows that show several people -> the first of them."""
        rows = {str(self.text["identity"][row]): row for row, of in enumerate(self.details["people"]) if of}
        return {identity: next(iter(self.people(row))) for identity, row in rows.items()}

    @property
    def methods(self) -> list[str]:
        """The methods that have rows, in the order of run.json."""
        present = dict.fromkeys(str(name) for name in self.text["method"])
        listed = [entry["name"] for entry in self.run.get("methods", []) if entry["name"] in present]
        return [*listed, *(name for name in present if name not in listed)]


def card_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two cards of a metric say that their numbers do not mean the same.

    A card from before cards held `weights` says nothing of them, which is no difference.
    """
    defining = ("model", "preprocessing", "definition", "direction", "compat", "package")
    found = [part for part in defining if one.get(part) != other.get(part)]
    told = "weights" in one and "weights" in other
    return [*found, "weights"] if told and one["weights"] != other["weights"] else found


def read_samples(folder: str | Path) -> Samples:
    """Read a run folder, finished or not; a last line that is still being written is left out.

    Raises UsageError when the folder is no run or of a newer schema, SpidError for a damaged file.
    """
    folder = Path(folder)
    run = read_run(folder)
    return _columns(folder, run, _lines(folder / "samples.jsonl"), read_sets(folder))


def _columns(folder: Path, run: RunFile, lines: Iterator[bytes], sets: Mapping[str, Any]) -> Samples:
    text: dict[str, list[str | None]] = {name: [] for name in TEXT}
    details: dict[str, list[str]] = {name: [] for name in DETAILS}
    seeds: list[int] = []
    metrics = [card["name"] for card in run.get("metrics", []) if card.get("level") != "set"]
    known = dict.fromkeys(metrics).keys()
    values = array("d")
    shared: dict[Any, str] = {}  # one object per distinct text keeps 100,000 rows small
    numbered = enumerate(lines, 1)
    while part := [_row(folder, known, number, line) for number, line in islice(numbered, PART)]:
        seeds += [row.seed for row in part]
        for name, column in text.items():
            of_rows = map(attrgetter(name), part)
            column += of_rows if name in UNIQUE else [shared.setdefault(value, value) for value in of_rows]
        for name, entries in details.items():
            entries += [_compact(mapping, shared) for mapping in map(attrgetter(name), part)]
        # None becomes NaN
        block = np.array([list(map(row.metrics.get, metrics)) for row in part], dtype=np.float64)
        values.frombytes(block.tobytes())
    table = np.frombuffer(values, dtype=np.float64).reshape(len(seeds), len(metrics))
    found = Samples(folder, run, text, seeds, details, metrics, table, sets)
    rows = {identifier: row for row, identifier in enumerate(text["id"])}
    return found if len(rows) == len(seeds) else _take(found, sorted(rows.values()))


def _row(folder: Path, metrics: Set[str], number: int, line: bytes) -> Row:
    """A line of samples.jsonl, whose metrics run.json describes."""
    try:
        row = Row.from_line(line)
        if not row.metrics.keys() <= metrics:
            raise ValueError(f"run.json does not describe {', '.join(row.metrics.keys() - metrics)}")
    except ValueError as error:
        raise SpidError(
            f"{folder / 'samples.jsonl'}: line {number} is not a row ({error}).",
            hint="Run spid bench again with --resume: it repairs the file and redoes what is lost.",
        ) from error
    return row


def _compact(given: Mapping[str, str], shared: dict[Any, str]) -> str:
    """A mapping as JSON, which is made once for all rows that have the same; "" for an empty one."""
    if not given:
        return ""
    entries = tuple(given.items())
    content = shared.get(entries)
    if content is None:
        content = shared[entries] = json.dumps(given, ensure_ascii=False)
    return content


def _take(samples: Samples, rows: list[int]) -> Samples:
    """These rows only. A sample that was written twice counts once, as it was written last."""
    return Samples(
        samples.folder,
        samples.run,
        {name: [column[row] for row in rows] for name, column in samples.text.items()},
        [samples.seed[row] for row in rows],
        {name: [column[row] for row in rows] for name, column in samples.details.items()},
        samples.metrics,
        samples.values[rows],
        samples.sets,
    )


def _lines(path: Path) -> Iterator[bytes]:
    """The lines that are whole."""
    try:
        with path.open("rb", buffering=2**20) as file:
            yield from (line for line in file if line.endswith(b"\n") and not line.isspace())
    except FileNotFoundError:
        raise UsageError(
            f"No samples at {path}.", hint="The run has not begun; start it with spid bench."
        ) from None
    except OSError as error:
        raise SpidError(
            f"{path}: cannot be read ({error.strerror or error}).", hint="Check the disk and the permissions."
        ) from error


Key = tuple[str, str, str, int]
"""Set, identity, prompt id and seed: what the methods' pictures of one cell share."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Which sample every method has for the same person, prompt and seed.

    keys:    one per cell, in the order of first occurrence
    methods: names
    rows:    [methods, cells] row of `Samples`, -1 where there is none. A method without identities has one
             picture for all people: its row stands in every cell that names it as its baseline.
    free:    names of the methods without identities
    """

    keys: list[Key]
    methods: list[str]
    rows: NDArray[np.int64]
    free: frozenset[str]

    def values(self, samples: Samples) -> NDArray[np.float64]:
        """[methods, cells, metrics], NaN where there is no value."""
        found = samples.values[self.rows]
        found[self.rows < 0] = np.nan
        return found


def arrange(samples: Samples) -> Cells:
    """Put every row into its cell."""
    methods = samples.methods
    place = {name: index for index, name in enumerate(methods)}
    columns = (samples.text[name] for name in ("method", "set", "identity", "prompt_id"))
    labels = list(zip(*columns, samples.seed, strict=True))
    bound = {str(method) for method, _, identity, *_ in labels if identity is not None}
    alone = not bound
    keys: dict[Key, int] = {}
    entries: list[tuple[int, int, int]] = []
    of_id = {name: row for row, name in enumerate(samples.text["id"])}
    baselines: dict[int, int] = {}
    for row, (method, group, identity, prompt, seed) in enumerate(labels):
        if identity is None and not alone:
            continue
        cell = keys.setdefault((str(group), str(identity or ""), str(prompt), seed), len(keys))
        entries.append((place[str(method)], cell, row))
        baseline = of_id.get(samples.text["baseline"][row])
        if baseline is not None:
            baselines.setdefault(cell, baseline)
    rows = np.full((len(methods), len(keys)), -1, dtype=np.int64)
    for cell, row in baselines.items():
        rows[place[str(samples.text["method"][row])], cell] = row
    for method_index, cell, row in entries:
        rows[method_index, cell] = row
    free = frozenset(name for name in methods if name not in bound)
    return Cells(list(keys), methods, rows, free)


def resampling_units(
    keys: Sequence[Key], fewest: int, first: Mapping[str, str] | None = None
) -> tuple[Literal["identity", "sample"], NDArray[np.int64]]:
    """What is resampled, 'identity' or 'sample', and the unit code of every cell.

    People, unless there are fewer than `fewest` of them: then single samples, which says how well the means
    are known for these people and nothing about others. Pictures of several people belong to the first of
    them (`first`, see `Samples.first_people`), with those of that person alone.
    """
    people: dict[str, int] = {}
    whose = ((first or {}).get(identity, identity) for _, identity, _, _ in keys)
    codes = np.array([people.setdefault(identity, len(people)) for identity in whose], np.int64)
    if len(people) >= fewest:
        return "identity", codes
    return "sample", np.arange(len(keys), dtype=np.int64)
