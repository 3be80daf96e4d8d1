"""Several runs as one: their methods side by side, equal samples once. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.samples import DETAILS, TEXT, Samples, card_differences
from methods.errors import UsageError


def merge(runs: Sequence[Samples]) -> tuple[Samples, list[Path]]:
    """All rows of all runs, and the folder each row's files lie in.

    A method that several runs made keeps its name where their samples are the same (equal fingerprints) and
    becomes `name (run)` where they are not. Raises UsageError when two runs measure a metric differently.
    """
    if len(runs) == 1:
        return runs[0], [runs[0].folder] * len(runs[0])
    cards = _cards(runs)
    labels = _labels(runs)
    metrics = list(dict.fromkeys(name for run in runs for name in run.metrics))
    text: dict[str, list[str | None]] = {name: [] for name in TEXT}
    details: dict[str, list[str]] = {name: [] for name in DETAILS}
    seeds: list[int] = []
    folders: list[Path] = []
    values: list[np.ndarray] = []
    sets: dict[str, dict[str, Any]] = {}
    seen: set[str | None] = set()
    for run, named in zip(runs, labels, strict=True):
        fresh = [row for row, name in enumerate(run.text["id"]) if name not in seen]
        seen.update(run.text["id"])
        for name in TEXT:
            text[name] += [run.text[name][row] for row in fresh]
        text["method"][len(seeds) :] = [named[str(run.text["method"][row])] for row in fresh]
        for name in DETAILS:
            details[name] += [run.details[name][row] for row in fresh]
        seeds += [run.seed[row] for row in fresh]
        folders += [run.folder] * len(fresh)
        table = np.full((len(fresh), len(metrics)), np.nan)
        table[:, [metrics.index(name) for name in run.metrics]] = run.values[fresh]
        values.append(table)
        for method, scores in run.sets.items():
            sets.setdefault(named.get(method, method), dict(scores))
    first = runs[0]
    described: dict[str, Any] = {
        **first.run,
        "metrics": cards,
        "methods": _methods(runs, labels),
        "left_out": {name: why for run in runs for name, why in run.run.get("left_out", {}).items()},
        "suite": {**first.run.get("suite", {}), "name": " + ".join(_suites(runs))},
        "settings": {run.name: run.run.get("settings", {}) for run in runs},
        "environment": {run.name: run.run.get("environment", {}) for run in runs},
    }
    merged = Samples(first.folder, described, text, seeds, details, metrics, np.concatenate(values), sets)
    return merged, folders


def _suites(runs: Sequence[Samples]) -> list[str]:
    return list(dict.fromkeys(str(run.run.get("suite", {}).get("name", run.name)) for run in runs))


def _cards(runs: Sequence[Samples]) -> list[dict[str, Any]]:
    """Every metric's card once; an available one before one that says why it is not."""
    cards: dict[str, tuple[str, dict[str, Any]]] = {}
    for run in runs:
        for name, card in run.cards.items():
            known = cards.get(name)
            if known is None or not known[1].get("available", True):
                cards[name] = (run.name, card)
            elif card.get("available", True):
                if other := card_differences(known[1], card):
                    raise UsageError(
                        f"{known[0]} and {run.name} measure {name} with different {', '.join(other)}.",
                        hint="Report them separately, or measure both alike.",
                    )
    return [card for _, card in cards.values()]


def _labels(runs: Sequence[Samples]) -> list[dict[str, str]]:
    """For each run, method -> the name under which the merged run shows it."""
    ids: dict[str, list[frozenset[str | None]]] = {}
    of_run = []
    for run in runs:
        found: dict[str, set[str | None]] = {}
        for method, name in zip(run.text["method"], run.text["id"], strict=True):
            found.setdefault(str(method), set()).add(name)
        of_run.append({method: frozenset(names) for method, names in found.items()})
        for method, names in of_run[-1].items():
            ids.setdefault(method, []).append(names)
    titles = [run.name for run in runs]
    titles = [
        f"{title} {index + 1}" if titles.count(title) > 1 else title for index, title in enumerate(titles)
    ]
    return [
        {method: method if _agree(ids[method]) else f"{method} ({title})" for method in methods}
        for methods, title in zip(of_run, titles, strict=True)
    ]


def _agree(samples: Sequence[frozenset[str | None]]) -> bool:
    """Whether every run's samples of a method are among those of the run that has most."""
    most = max(samples, key=len)
    return all(names <= most for names in samples)


def _methods(runs: Sequence[Samples], labels: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run, named in zip(runs, labels, strict=True):
        for entry in run.run.get("methods", []):
            label = named.get(entry["name"], entry["name"])
            found.setdefault(label, {"method": entry["name"], **entry, "name": label})
    return list(found.values())
