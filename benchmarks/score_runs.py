"""A run folder of ours as pictures to score: its rows say what is known of each, run.json who is in them. No
torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.run_file import PersonEntry, RunFile
from benchmarks.samples import read_samples
from benchmarks.score_read import Scored
from methods.errors import UsageError
from methods.shipped import is_pocket


@dataclass(frozen=True)
class ScoredRun:
    """The pictures of a run, and by which models it measured them.

    family: of its backbone. models: role -> model, as it was asked for. without: samples that have no
    picture. first_only: the run is older than the list of people in run.json, so that nobody knows of more
    than the first photograph of a person, nor of rendered people's numbers.
    """

    scored: list[Scored]
    family: str
    models: dict[str, str]
    without: int
    first_only: bool


def read_own_run(folder: Path) -> ScoredRun:
    """What `spid bench` or `spid score` wrote.

    Raises UsageError for what is no run, is damaged or has no picture.
    """
    samples = read_samples(folder)
    run: Any = samples.run
    family = run.get("backbone", {}).get("family", "")
    rendered = is_pocket(family) and not run.get("settings", {}).get("scored")
    known = _people(run)
    text = {name: column for name, column in samples.text.items() if name != "detail"}
    rows = [
        dict(zip(text, values, strict=True))
        | {"seed": seed, "truth": truth, "reference_truth": shown, "people": people}
        for *values, seed, truth, shown, people in zip(
            *text.values(),
            samples.seed,
            *(samples.details[name] for name in ("truth", "reference_truth", "people")),
            strict=True,
        )
    ]
    by_id = {row["id"]: row for row in rows}
    found = [
        _scored(row, folder, by_id.get(row["baseline"]), known, rendered)
        for row in rows
        if row["picture"] is not None
    ]
    if not found:
        raise UsageError(
            f"{folder}: no sample of this run has a picture.", hint="Finish it: spid bench --resume."
        )
    return ScoredRun(found, family, _models(run), len(rows) - len(found), "people" not in run)


def _scored(
    row: Mapping[str, Any],
    folder: Path,
    baseline: Mapping[str, Any] | None,
    known: Mapping[tuple[str, str, str], PersonEntry],
    rendered: bool,
) -> Scored:
    usable = baseline is not None and baseline["picture"] is not None and baseline["status"] != "degenerate"
    person = known.get((row["set"], row["identity"], row["reference"]))

    def photographs(name: str, reference: str | None) -> tuple[Path, ...]:
        """All that the run has of somebody, the one that the row names first."""
        if reference is None:
            return ()
        of = known.get((row["set"], name, reference))
        return tuple(folder / file for file in ([reference] if of is None else of["references"]))

    of_person = photographs(row["identity"], row["reference"])
    together = {name: photographs(name, file) for name, file in json.loads(row["people"] or "{}").items()}
    return Scored(
        picture=folder / row["picture"],
        method=row["method"],
        identity=row["identity"] or "",
        prompt=row["prompt"],
        prompt_id=row["prompt_id"],
        category=row["category"],
        set=row["set"],
        seed=row["seed"],
        reference=next(iter(of_person), None),
        further=of_person[1:],
        people=together if all(together.values()) else {},
        baseline=folder / baseline["picture"] if usable and baseline is not None else None,
        person=None if person is None else person.get("person"),
        truth=json.loads(row["truth"] or "{}"),
        reference_truth=json.loads(row["reference_truth"] or "{}"),
        rendered=rendered,
        degenerate=row["status"] == "degenerate",
    )


def _people(run: RunFile) -> dict[tuple[str, str, str], PersonEntry]:
    """Everybody by what a row says of them: set, name and first photograph."""
    return {(one["set"], one["name"], one["references"][0]): one for one in run.get("people", [])}


def _models(run: RunFile) -> dict[str, str]:
    """As the run was told to measure; paths are those of the folder that it was begun in."""
    request = run.get("request")
    if request is None:
        return dict(run.get("settings", {}).get("models", {}))
    encoder = request.get("backbone", {}).get("face_encoder")
    return ({} if encoder is None else {"face-conditioning": encoder}) | dict(request.get("models", {}))
