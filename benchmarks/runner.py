"""A benchmark run from request to tables: prepare, plan, take up what is there, make the rest, complete.

from benchmarks.request import Request
from benchmarks.runner import bench

outcome = bench(Request("smoke"), "results/mine")
print(outcome.results)
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.description import check_same
from benchmarks.fingerprint import differences
from benchmarks.fits import Fits
from benchmarks.leases import POLL
from benchmarks.line import Line
from benchmarks.live import Observer
from benchmarks.plan import Block, Plan
from benchmarks.prepare import Loaded, load, plan_run, resolve
from benchmarks.request import Request
from benchmarks.sets import write_sets
from benchmarks.store import Known, RunFolder, Shard
from benchmarks.taking import missing, work_off
from methods.files import save_json
from methods.provenance import CUT

if TYPE_CHECKING:
    from benchmarks.execute import Executor


@dataclass(frozen=True)
class Outcome:
    """What a call of `bench` left.

    complete: whether every sample of the plan has its row; False for a shard that others must join
    missing:  samples that other shards have still to make
    counts:   status -> rows, over everything recorded so far
    troubles: rows that are not `ok`, as dicts, in the order of the plan
    pairs:    listed and planned ones of identity, prompt and seed, and distinct pictures asked for
    made:     distinct pictures that are there
    cut:      rows whose prompt was longer than the text encoder reads
    results:  what `aggregate` returned, None while the run is incomplete
    seconds:  wall time in all, and of it denoising, decoding, metrics and encoding identities
    """

    folder: Path
    complete: bool
    missing: int
    counts: dict[str, int]
    troubles: list[dict[str, Any]]
    results: dict[str, Any] | None
    pairs: dict[str, int]
    made: int = 0
    cut: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


def bench(
    request: Request,
    output: str | os.PathLike[str],
    *,
    shard: Shard | None = None,
    keep_going: bool = False,
    read_all: bool = False,
    observer: Observer | None = None,
    begun: Callable[[], object] | None = None,
) -> Outcome:
    """Run a suite, or what is missing of it, into the folder `output`.

    Any number of processes may be at work in the same folder, on machines that share it: each takes blocks
    that nobody else has, and does what others leave behind when they die. Who finishes last completes it.

    shard:      work on this share only and do not wait for others, where machines share no folder
    keep_going: record samples that raise and go on, instead of stopping after recording the first
    read_all:   hash every picture of a large run before it is taken up again, not only its size
    begun:      called when the folder says what the run is, before the first picture

    Raises UsageError when `output` holds a run of something else (the hint lists the differences);
    StoppedError after a sample that raised.
    """
    from benchmarks.execute import Executor
    from methods.fitting.method import FitMethod

    started = time.perf_counter()
    observer = observer or Observer()
    folder = RunFolder(output, shard)
    loaded = load(request, observer, keep_going=keep_going)
    with folder.opened():
        resolved = resolve(loaded, folder, observer)
        planned = plan_run(loaded, resolved)
        with folder.alone():
            _begin(folder, planned.description, observer)
        plan = planned.plan
        executor = Executor(
            folder,
            plan,
            loaded.backbone,
            loaded.methods,
            resolved.identities,
            loaded.evaluator,
            resolved.settings,
            observer,
            keep_going=keep_going,
            adapters=request.adapters,
        )
        share = plan.share(shard)
        known, todo = missing(folder, plan.samples, share, hashes=True if read_all else None)
        fits = Fits(loaded.methods, resolved.identities, loaded.backbone, todo)
        with observer:
            observer.begin(
                _totals(share, known, todo),
                [info.name for info in loaded.evaluator.infos if info.level == "sample"],
                fits.names(),
            )
            for label, method in loaded.methods.items():
                if isinstance(method, FitMethod):
                    method.progress = partial(observer.fitting, label)
            if begun is not None:
                begun()
            with Line(folder, executor) as line:
                work_off(line, todo, observer, fits, wait=shard is None)
        known, results = _complete(folder, loaded, plan, executor)
    rows = [known[name] for name in plan.order if name in known]
    return Outcome(
        folder=folder.path,
        complete=results is not None,
        missing=len(plan.samples) - len(known),
        counts=dict(sorted(Counter(row.status for row in rows).items())),
        troubles=[json.loads(row.line) for row in rows if row.status != "ok"],
        results=results,
        pairs=planned.description["settings"]["pairs"],
        made=len({plan.samples[name].picture for name, row in known.items() if row.size is not None}),
        cut=sum(b"truncated" in row.line and CUT in json.loads(row.line)["detail"] for row in rows),
        seconds={"wall": time.perf_counter() - started, **executor.seconds},
    )


def _begin(folder: RunFolder, description: dict[str, Any], observer: Observer) -> None:
    """Write run.json, or compare with the one that is there."""
    if (old := folder.read_description()) is None:
        save_json(folder.path / "run.json", description)
        return
    check_same(folder, old, description)
    if moved := differences(old.get("environment", {}), description["environment"]):
        observer.note(f"the run began elsewhere, and bits may differ: {'; '.join(moved)}")


def _totals(
    share: Sequence[Block], known: Mapping[str, Known], todo: Sequence[Block]
) -> dict[str, tuple[int, int]]:
    """Method -> samples in all, and of them done."""
    again = {sample.id for block in todo for sample in block.samples}
    totals: dict[str, tuple[int, int]] = {}
    for block in share:
        total, done = totals.get(block.method, (0, 0))
        done += sum(one.id in known and one.id not in again for one in block.samples)
        totals[block.method] = (total + len(block.samples), done)
    return totals


def _complete(
    folder: RunFolder, loaded: Loaded, plan: Plan, executor: Executor
) -> tuple[dict[str, Known], dict[str, Any] | None]:
    """Put the run together when every row is there: order, metrics of whole methods, tables."""
    from benchmarks.aggregate import aggregate

    while True:
        with folder.alone():
            known = folder.scan(plan.samples, hashes=False)
            if len(known) < len(plan.samples):
                return known, None
            # somebody may be doing again what failed before: that belongs to the run as well
            if not folder.leases.held_by_others("block-"):
                folder.complete(plan.order, known)
                _score_sets(folder, loaded, plan, executor, known)
                results = dict(aggregate(folder.path))
                folder.leases.clear()
                return known, results
        time.sleep(POLL)


def _score_sets(
    folder: RunFolder, loaded: Loaded, plan: Plan, executor: Executor, known: Mapping[str, Known]
) -> None:
    def views(label: str) -> Iterator[Any]:
        for sample in plan.samples.values():
            row = known[sample.id]
            if sample.method.label == label and row.size is not None and row.status != "degenerate":
                yield executor.view(sample)

    started = time.perf_counter()
    if write_sets(folder, loaded.evaluator, {label: partial(views, label) for label in loaded.methods}):
        executor.seconds["metrics"] += time.perf_counter() - started
