"""Scores for pictures that something else made: the metrics, intervals, tables and report of a run of ours.

from benchmarks.score import score
from benchmarks.score_read import read_folder

results = score(read_folder(Path("theirs"), Path("anna.png"), None), "outputs/theirs", family="sd1")

A run of this kind lies in the same folder as one of `spid bench` (`store.RunFolder`) and is as hard to lose:
killed anywhere, the same call takes up what is measured and ends at the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.description import cards, check_same, plain
from benchmarks.fingerprint import differences
from benchmarks.schema import SCHEMA, Row
from benchmarks.score_read import Scored, missing_files
from benchmarks.sets import write_sets
from benchmarks.store import RunFolder
from benchmarks.verdict import judge
from methods.errors import PictureError, SpidError, UsageError
from methods.files import save_json, write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

    from benchmarks.metrics.base import SampleView
    from benchmarks.metrics.base import Score as MetricScore
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.results import Results

BLOCK = 32
"""Pictures that are measured and recorded at once."""


@dataclass(frozen=True, eq=False)
class _Planned:
    """A picture to score; contents: file -> SHA-256 of all that it is measured by."""

    given: Scored
    contents: Mapping[Path, str]

    @cached_property
    def id(self) -> str:
        one = self.given
        parts = [self.contents[one.picture], one.set, one.method, one.identity, one.prompt_id, one.seed]
        return _sha256(json.dumps(parts).encode())

    @property
    def file(self) -> str:
        """What its picture is called in the run folder: by content."""
        return self.contents[self.given.picture] + self.given.picture.suffix.lower()

    @property
    def facts(self) -> list[Any]:
        """All that its row depends on, but for the metrics."""
        one = self.given
        files = [
            None if path is None else self.contents[path]
            for path in (one.reference, one.baseline, one.target)
        ]
        told = [one.prompt, one.category, one.person, dict(one.truth), dict(one.reference_truth)]
        people = {
            name: [self.contents[path] for path in files] if files[1:] else self.contents[files[0]]
            for name, files in one.people.items()
        }
        further = [self.contents[path] for path in one.further]
        marks = [name for name in ("rendered", "degenerate") if getattr(one, name)]
        return [self.id, *files, *told, *(part for part in (people, further, marks) if part)]

    def describes(self, row: Row) -> bool:
        """Whether a row that was read says of this picture what was given (see `facts` for the rest)."""
        one = self.given
        return (row.method, row.prompt, row.seed) == (one.method, one.prompt, one.seed)


def score(
    scored: Sequence[Scored],
    output: str | Path,
    *,
    family: str,
    metrics: str | Sequence[str] = "default",
    models: Mapping[str, str] | None = None,
    device: str = "auto",
    keep_going: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
    note: Callable[[str], object] = lambda text: None,
) -> Results:
    """Measure pictures into a run folder, which `spid report` and `spid compare` read; the results.

    family: `pocket` for rendered people, any other for photographs: whose models judge. device: `auto` is
    CUDA where there is one. keep_going: a metric that was asked for by name and whose model does not load is
    `unavailable` instead of an end. Every picture has its row: one that cannot be read is an `error`.

    Raises UsageError for files that are not there, an `output` that holds something else, an unknown metric,
    model or device, WeightsError for a metric that cannot be measured; nothing is written then.
    """
    from benchmarks.aggregate import aggregate
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.metrics.models.zoo import check_models
    from methods.backbone.load import device_of

    folder = RunFolder(output)
    _check_free(folder.path)
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
    evaluator.load_asked(metrics, keep_going=keep_going)
    planned = _plan(scored)
    wanted = {one.id: one for one in planned}
    description = plain(_description(planned, evaluator, family, models or {}, on.type))
    with folder.opened():
        if folder.leases.take("score") != "taken":
            raise UsageError(
                f"Another process is scoring into {folder.path}.",
                hint="Let it finish, or give another --output.",
            )
        if (old := folder.read_description()) is None:
            save_json(folder.path / "run.json", description)
        else:
            check_same(folder, old, description)
            if moved := differences(old.get("environment", {}), description["environment"]):
                note(f"the run began elsewhere, and bits may differ: {'; '.join(moved)}")
        known = folder.scan(wanted)
        for start in range(0, len(planned), BLOCK):
            block = planned[start : start + BLOCK]
            if any(one.id not in known for one in block):
                folder.append(_rows(block, folder, evaluator))
            progress(start + len(block), len(planned))
        with folder.alone():
            known = folder.scan(wanted, hashes=False)
            folder.complete(list(wanted), known)
            whole = [one for one in planned if known[one.id].size is not None and not one.given.degenerate]
            by_method = {
                method: partial(_views, [one for one in whole if one.given.method == method])
                for method in dict.fromkeys(one.given.method for one in planned)
            }
            write_sets(folder, evaluator, by_method)
            results = aggregate(folder.path)
            folder.leases.clear()
        return results


def _check_free(path: Path) -> None:
    """Raise UsageError when a folder that is no run of ours holds something."""
    if not path.is_dir() or (path / "run.json").is_file():
        return
    ours = ("samples.jsonl", "timings.jsonl", "leases")  # of a run that ended before it had begun
    if any(one.name not in ours and not one.name.endswith(".tmp") for one in path.iterdir()):
        raise UsageError(f"{path} holds files already.", hint="Give another --output.")


def _plan(scored: Sequence[Scored]) -> list[_Planned]:
    contents: dict[Path, str] = {}
    for one in scored:
        for path in one.files:
            if path not in contents:
                contents[path] = _sha256(_read(path))
    return [_Planned(one, contents) for one in scored]


def _rows(block: Sequence[_Planned], folder: RunFolder, evaluator: Evaluator) -> list[Row]:
    names = [info.name for info in evaluator.infos if info.level == "sample"]
    views: dict[str, SampleView] = {}
    troubles: dict[str, str] = {}
    for one in block:
        try:
            view = _view(one)
            _keep(one, folder)
            if not one.given.degenerate:
                views[one.id] = view
        except PictureError as error:
            troubles[one.id] = str(error)
    scores = dict(zip(views, evaluator.score(list(views.values())), strict=True))
    return [_row(one, names, scores.get(one.id), troubles.get(one.id)) for one in block]


def _keep(one: _Planned, folder: RunFolder) -> None:
    """Copy a picture and the photographs of its person into the run folder."""
    given = one.given
    kept = [(f"pictures/{one.file[:2]}/{one.file}", given.picture)]
    kept += [(_reference(one, file), file) for file in given.references]
    for name, source in kept:
        target = folder.path / name
        if target.is_file() and _sha256(target.read_bytes()) == one.contents[source]:
            continue
        data = _read(source)
        if _sha256(data) != one.contents[source]:
            raise SpidError(f"{source}: was changed meanwhile.", hint="Score the folder again.")
        write_bytes(target, data)


def _reference(one: _Planned, path: Path) -> str:
    return f"references/{one.contents[path]}{path.suffix.lower()}"


def _views(planned: Sequence[_Planned]) -> Iterator[SampleView]:
    return map(_view, planned)


def _view(planned: _Planned) -> SampleView:
    from benchmarks.metrics.base import SampleView
    from benchmarks.targets import target_of
    from methods.images import load_picture

    one, contents = planned.given, planned.contents

    def opened(path: Path | None) -> Image | None:
        return None if path is None else load_picture(path)

    def photographs(files: Sequence[Path]) -> tuple[tuple[str, Image], ...]:
        return tuple((contents[file], load_picture(file)) for file in files)

    picture = load_picture(one.picture)
    given: dict[str, Any] = target_of(one.person, one.truth, picture.width)
    if one.target is not None:
        given = {"target": load_picture(one.target), "target_id": contents[one.target]}
    return SampleView(
        id=contents[one.picture],
        method=one.method,
        identity=one.identity,
        prompt=one.prompt,
        category=one.category,
        picture=picture,
        reference=opened(one.reference),
        baseline=opened(one.baseline),
        reference_id=None if one.reference is None else contents[one.reference],
        baseline_id=None if one.baseline is None else contents[one.baseline],
        truth=one.truth,
        reference_truth=one.reference_truth,
        people=tuple(map(photographs, one.people.values())),
        further=photographs(one.further),
        rendered=one.rendered,
        **given,
    )


def _row(
    planned: _Planned, names: Sequence[str], scores: Mapping[str, MetricScore] | None, trouble: str | None
) -> Row:
    one = planned.given
    status, detail = ("ok", "") if trouble is None else ("error", trouble)
    if trouble is None and one.degenerate:
        status, detail = "degenerate", "whoever made it calls it constant"
    verdict = judge(names, scores, status, detail)
    picture: dict[str, Any] = {}
    if trouble is None:
        picture = {
            "picture": f"pictures/{planned.file[:2]}/{planned.file}",
            "size": one.picture.stat().st_size,
            "sha256": planned.contents[one.picture],
        }
    kept = trouble is None and one.reference is not None
    return Row(
        id=planned.id,
        method=one.method,
        identity=one.identity or None,
        prompt_id=one.prompt_id,
        prompt=one.prompt,
        category=one.category,
        set=one.set,
        seed=one.seed,
        reference=_reference(planned, one.reference) if kept and one.reference is not None else None,
        truth=dict(one.truth),
        reference_truth=dict(one.reference_truth),
        people={
            name: _reference(planned, files[0]) if trouble is None else None
            for name, files in one.people.items()
        },
        **picture,
        **verdict._asdict(),
    )


def _description(
    planned: Sequence[_Planned],
    evaluator: Evaluator,
    family: str,
    models: Mapping[str, str],
    device: str,
) -> dict[str, Any]:
    from methods.provenance import library_versions

    listed = dict.fromkeys(one.given.method for one in planned)
    facts = json.dumps([one.facts for one in planned], sort_keys=True)
    return {
        "schema": SCHEMA,
        "suite": {
            "name": "score",
            "version": "1",
            "description": f"{len(planned)} pictures that something else made, measured as they are.",
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
        "people": _people(planned),
        "settings": {
            "samples": len(planned),
            "scored": True,
            "models": dict(models),
            "plan": _sha256(facts.encode()),
        },
        "environment": {"device": device, "versions": library_versions()},
    }


def _people(planned: Sequence[_Planned]) -> list[dict[str, Any]]:
    """Everybody with a reference, as rows name them."""
    found = {}
    for one in planned:
        given = one.given
        shown = given.people or ({given.identity: tuple(given.references)} if given.references else {})
        number = {} if given.person is None or given.people else {"person": given.person}
        for name, files in shown.items():
            kept = [_reference(one, file) for file in files]
            entry = {"set": given.set, "name": name, "references": kept, **number}
            found[json.dumps(entry)] = entry
    return list(found.values())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpidError(
            f"{path}: cannot be read any more ({error.strerror or error}).", hint="Score the folder again."
        ) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
