"""What the page's script works with: figures, rows and thumbnails as JSON. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.pictures import Pictures
from benchmarks.results import Results
from benchmarks.samples import Cells, Samples
from benchmarks.tables import arrow, decimals, grouped, leaderboard, sentence

FAILURES_SHOWN = 300


def page_data(
    samples: Samples, folders: Sequence[Path], cells: Cells, results: Results, *, most_pictures: int
) -> dict[str, Any]:
    """Everything interactive, as JSON-able values.

    folders: of every row, where its files lie. most_pictures: how many samples are shown with a picture; when
    there are more, whole rows of the grid are left out evenly, and the page says so.
    """
    cards, _ = leaderboard(results)
    group_of = {card["name"]: group for group, of in grouped(cards).items() for card in of}
    rows = _evenly(len(cells.keys), most_pictures // max(len(cells.methods), 1))
    failed = _failures(samples)
    chosen = sorted({int(row) for row in cells.rows[:, rows].ravel() if row >= 0} | set(failed))
    place = {row: index for index, row in enumerate(chosen)}
    pictures, notes = Pictures(), dict[str, int]()
    of_id = {samples.text["id"][row]: index for row, index in place.items()}
    shown = [_sample(samples, folders, row, of_id, pictures, notes) for row in chosen]
    return {
        "methods": [{"name": name, "free": name in cells.free} for name in cells.methods],
        "metrics": [
            {
                "name": card["name"],
                "title": sentence(card["title"]),
                "direction": card.get("direction", "none"),
                "arrow": arrow(card),
                "places": decimals(card),
                "group": group_of[card["name"]],
                "column": samples.metrics.index(card["name"]) if card["name"] in samples.metrics else -1,
            }
            for card in cards
        ],
        "scores": _nested(results["scores"], ("metric", "method"), ("mean", "low", "high", "n", "missing")),
        "deltas": _nested(
            results["deltas"], ("metric", "baseline", "method"), ("mean", "low", "high", "p_holm", "n")
        ),
        "breakdowns": _nested(
            results["breakdowns"], ("by", "metric", "value", "method"), ("mean", "low", "high", "n")
        ),
        "rows": [_row(samples, folders, cells, cell, place, pictures) for cell in rows],
        "rows_of": len(cells.keys),
        "samples": shown,
        "failures": [place[row] for row in failed],
        "notes": list(notes),
        "pictures": pictures.uris,
    }


def embed(data: Any) -> str:
    """JSON for a script element: no character of it can end the element or mean anything to HTML."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of range(count), first and last included."""
    if count <= most:
        return list(range(count))
    return sorted({int(place) for place in np.linspace(0, count - 1, max(most, 1)).round()})


def _failures(samples: Samples) -> list[int]:
    """Rows that are not ok, as many as the page shows, evenly over each status."""
    by_status: dict[str, list[int]] = {}
    for row, status in enumerate(samples.text["status"]):
        if status != "ok":
            by_status.setdefault(str(status), []).append(row)
    share = FAILURES_SHOWN // max(len(by_status), 1)
    return sorted(rows[place] for rows in by_status.values() for place in _evenly(len(rows), share))


def _sample(
    samples: Samples,
    folders: Sequence[Path],
    row: int,
    of_id: dict[str | None, int],
    pictures: Pictures,
    notes: dict[str, int],
) -> dict[str, Any]:
    text = samples.text
    reasons = json.loads(samples.details["notes"][row] or "{}")
    values = samples.values[row]
    return {
        "id": text["id"][row],
        "method": text["method"][row],
        "identity": text["identity"][row],
        "prompt": text["prompt"][row],
        "prompt_id": text["prompt_id"][row],
        "category": text["category"][row],
        "seed": samples.seed[row],
        "status": text["status"][row],
        "detail": text["detail"][row] or "",
        "file": text["picture"][row],
        "picture": pictures.add(folders[row], text["picture"][row]),
        "people": _people(samples, folders, row, pictures),
        "baseline": -1 if text["baseline"][row] is None else of_id.get(text["baseline"][row], -1),
        "values": [None if np.isnan(value) else round(float(value), 4) for value in values],
        "notes": {name: notes.setdefault(str(reason), len(notes)) for name, reason in reasons.items()},
    }


def _row(
    samples: Samples,
    folders: Sequence[Path],
    cells: Cells,
    cell: int,
    place: dict[int, int],
    pictures: Pictures,
) -> dict[str, Any]:
    group, identity, prompt_id, seed = cells.keys[cell]
    present = [int(row) for row in cells.rows[:, cell] if row >= 0]
    bound = next((row for row in present if samples.text["identity"][row] is not None), present[0])
    return {
        "set": group,
        "identity": identity,
        "prompt_id": prompt_id,
        "seed": seed,
        "prompt": samples.text["prompt"][bound],
        "category": samples.text["category"][bound],
        "people": _people(samples, folders, bound, pictures),
        "cells": [place[int(row)] if row >= 0 else -1 for row in cells.rows[:, cell]],
    }


def _people(samples: Samples, folders: Sequence[Path], row: int, pictures: Pictures) -> list[tuple[str, int]]:
    """Names and references of those whom a row shows, if there are pictures of them."""
    shown = [(name, pictures.add(folders[row], path)) for name, path in samples.people(row).items()]
    return [(name, picture) for name, picture in shown if picture >= 0]


def _nested(records: Sequence[Any], keys: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
    """Records as nested dicts over `keys`, ending in a list of `fields`."""
    tree: dict[str, Any] = {}
    for record in records:
        branch = tree
        for key in keys[:-1]:
            branch = branch.setdefault(record[key], {})
        branch[record[keys[-1]]] = [record[name] for name in fields]
    return tree
