"""Scores for pictures that something else made: the metrics, intervals, tables and report of a run of ours.

from benchmarks.score import score
from benchmarks.score_read import read_folder

results = score(read_folder(Path("theirs"), Path("anna.png"), None), "outputs/theirs", family="sd1")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.schema import SCHEMA, Row
from benchmarks.score_read import Scored, missing_files
from benchmarks.verdict import judge
from methods.errors import PictureError, SpidError, UsageError
from methods.files import new_folder, save_json, write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

    from benchmarks.metrics.base import SampleView
    from benchmarks.metrics.base import Score as MetricScore
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.results import Results

BLOCK = 32


def score(
    scored: Sequence[Scored],
    output: str | Path,
    *,
    family: str,
    metrics: str | Sequence[str] = "default",
    models: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Callable[[int, int], object] = lambda done, total: None,
    note: Callable[[str], object] = lambda text: None,
) -> Results:
    """Measure pictures and write a run folder, which `spid report` and `spid compare` read; the results.

    family: `pocket` for rendered people, any other for photographs: whose models judge. device: `auto` is
    CUDA where there is one. Every picture has its row: one that cannot be read is an `error`. Nothing is
    written before everything is measured, and `output` is there when all of it is.

    Raises UsageError for files that are not there, an `output` that holds something, an unknown metric, model
    or device.
    """
    from benchmarks.aggregate import aggregate
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.metrics.models.zoo import check_models
    from methods.backbone.load import device_of

    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        held = "a run" if (output / "run.json").exists() else "files"
        raise UsageError(f"{output} holds {held} already.", hint="Give another --output.")
    if absent := missing_files(scored):
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        raise UsageError(f"{absent[0]}: no such file{more}.", hint="Correct the path.")
    check_models(family, models or {})
    on = device_of(device)
    evaluator = Evaluator(
        metrics,
        backbone_family=family,
        models=models,
        device=str(on),
        batch_size=1 if on.type == "cpu" else BLOCK,  # as in a run, so that the figures are the same
        note=note,
    )
    rows: list[Row] = []
    for start in range(0, len(scored), BLOCK):
        rows += _rows(scored[start : start + BLOCK], evaluator)
        progress(len(rows), len(scored))
    sets = _sets(scored, rows, evaluator)
    with new_folder(output) as folder:
        _write(folder, scored, rows, sets, _description(scored, evaluator, family, models or {}))
        return aggregate(folder)


def _rows(part: Sequence[Scored], evaluator: Evaluator) -> list[Row]:
    names = [info.name for info in evaluator.infos if info.level == "sample"]
    views: dict[int, SampleView] = {}
    troubles: dict[int, str] = {}
    for place, one in enumerate(part):
        try:
            views[place] = _view(one)
        except PictureError as error:
            troubles[place] = str(error)
    scores = dict(zip(views, evaluator.score(list(views.values())), strict=True))
    return [_row(one, names, scores.get(place), troubles.get(place)) for place, one in enumerate(part)]


def _view(one: Scored) -> SampleView:
    from benchmarks.metrics.base import SampleView
    from benchmarks.targets import target_of
    from methods.images import load_picture

    def opened(path: Path | None) -> Image | None:
        return None if path is None else load_picture(path)

    picture = load_picture(one.picture)
    given: dict[str, Any] = target_of(one.person, one.truth, picture.width)
    if one.target is not None:
        given = {"target": load_picture(one.target), "target_id": _content(one.target)}
    return SampleView(
        id=_content(one.picture),
        method=one.method,
        identity=one.identity,
        prompt=one.prompt,
        category=one.category,
        picture=picture,
        reference=opened(one.reference),
        baseline=opened(one.baseline),
        reference_id=None if one.reference is None else _content(one.reference),
        baseline_id=None if one.baseline is None else _content(one.baseline),
        truth=one.truth,
        reference_truth=one.reference_truth,
        **given,
    )


def _row(
    one: Scored, names: Sequence[str], scores: Mapping[str, MetricScore] | None, trouble: str | None
) -> Row:
    verdict = judge(names, scores, *(("ok", "") if trouble is None else ("error", trouble)))
    data = one.picture.read_bytes()
    return Row(
        id=_identifier(one),
        method=one.method,
        identity=one.identity or None,
        prompt_id=one.prompt_id,
        prompt=one.prompt,
        category=one.category,
        set=one.set,
        seed=one.seed,
        picture=None if trouble else _kept("pictures", one.picture),
        reference=None if one.reference is None else _kept("references", one.reference),
        truth=dict(one.truth),
        reference_truth=dict(one.reference_truth),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        **verdict._asdict(),
    )


def _sets(scored: Sequence[Scored], rows: Sequence[Row], evaluator: Evaluator) -> dict[str, Any]:
    """Metrics of whole methods, over the pictures that could be read."""
    if not any(info.level == "set" for info in evaluator.infos):
        return {}
    found = {}
    for method in dict.fromkeys(one.method for one in scored):

        def views(method: str = method) -> Iterator[SampleView]:
            for one, row in zip(scored, rows, strict=True):
                if one.method == method and row.picture is not None:
                    yield _view(one)

        found[method] = {name: asdict(value) for name, value in evaluator.score_set(views()).items()}
    return found


def _description(
    scored: Sequence[Scored], evaluator: Evaluator, family: str, models: Mapping[str, str]
) -> dict[str, Any]:
    from benchmarks.description import cards
    from methods.provenance import library_versions

    listed = dict.fromkeys(one.method for one in scored)
    return {
        "schema": SCHEMA,
        "suite": {
            "name": "score",
            "version": "1",
            "description": f"{len(scored)} pictures that something else made, measured as they are.",
        },
        "backbone": {
            "name": "unknown: the pictures were given",
            "family": family,
            "licence": "of the pictures",
        },
        # no card of ours describes them, whatever their folder is called
        "methods": [
            {
                "name": name,
                "method": f"{name} (given)",
                "config": {},
                "files": {},
                "job": {},
                "weights": None,
                "code": None,
            }
            for name in listed
        ],
        "metrics": cards(evaluator),
        "faults": evaluator.faults,
        "settings": {"samples": len(scored), "scored": True, "models": dict(models)},
        "environment": {"versions": library_versions()},
    }


def _write(
    output: Path,
    scored: Sequence[Scored],
    rows: Sequence[Row],
    sets: Mapping[str, Any],
    description: Mapping[str, Any],
) -> None:
    for one, row in zip(scored, rows, strict=True):
        for kept, source in ((row.picture, one.picture), (row.reference, one.reference)):
            if kept is not None and source is not None and not (output / kept).is_file():
                write_bytes(output / kept, _read(source))
    lines = b"".join(row.to_line() for row in rows)
    write_bytes(output / "samples.jsonl", lines)
    if sets:
        save_json(output / "sets.json", {"samples": hashlib.sha256(lines).hexdigest(), "methods": dict(sets)})
    save_json(output / "run.json", description)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpidError(
            f"{path}: cannot be read any more ({error.strerror or error}).", hint="Score the folder again."
        ) from error


def _identifier(one: Scored) -> str:
    parts = [_content(one.picture), one.set, one.method, one.identity, one.prompt_id, one.seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kept(folder: str, path: Path) -> str:
    """Where a file lies in the run folder, by content."""
    content = _content(path)
    suffix = path.suffix.lower()
    return (
        f"{folder}/{content[:2]}/{content}{suffix}" if folder == "pictures" else f"{folder}/{content}{suffix}"
    )
