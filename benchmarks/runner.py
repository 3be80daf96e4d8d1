"""A benchmark run from request to tables: prepare, plan, take up what is there, make the rest, complete.

from benchmarks.request import Request
from benchmarks.runner import bench

outcome = bench(Request("smoke"), "results/mine")
print(outcome.results)
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.description import cards, check_same, environment, plain
from benchmarks.fingerprint import describe_backbone, describe_method, differences, pixels_of_method
from benchmarks.live import Observer
from benchmarks.people import gather, identify_all
from benchmarks.plan import MethodPlan, Person, Plan, Sample, choose, make_plan
from benchmarks.request import MethodSpec, Request, choose_methods, parse_method
from benchmarks.schema import SCHEMA
from benchmarks.store import Known, RunFolder, Shard
from benchmarks.suites import Suite, load_suite
from methods.errors import MissingDependencyError, UsageError, WeightsError
from methods.files import save_json

if TYPE_CHECKING:
    from benchmarks.execute import Executor, Trouble
    from benchmarks.metrics.evaluate import Evaluator
    from methods.backbone.backbone import Backbone
    from methods.contract import Method
    from methods.hooks import Identity


@dataclass(frozen=True)
class Outcome:
    """What a call of `bench` left.

    complete: whether every sample of the plan has its row; False for a shard that others must join
    missing:  samples that other shards have still to make
    counts:   status -> rows, over everything recorded so far
    troubles: rows that are not `ok`, as dicts, in the order of the plan
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
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(eq=False)
class Prepared:
    """A request with everything loaded that it needs."""

    suite: Suite
    people: dict[str, list[Person]]
    identities: dict[str, Identity | Trouble]
    backbone: Backbone
    methods: dict[str, Method]
    evaluator: Evaluator
    settings: dict[str, Any]
    plan: Plan
    description: dict[str, Any]


def bench(
    request: Request,
    output: str | os.PathLike[str],
    *,
    shard: Shard | None = None,
    keep_going: bool = False,
    read_all: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Run a suite, or what is missing of it, into the folder `output`.

    shard:      work on this share only; whoever finishes last completes the run
    keep_going: record samples that raise and go on, instead of stopping after recording the first
    read_all:   hash every picture of a large run before it is taken up again, not only its size

    Raises UsageError when `output` holds a run of something else (the hint lists the differences), or another
    process is at work on it; StoppedError after a sample that raised.
    """
    from benchmarks.execute import Executor, StoppedError
    from methods.fitting.method import FitMethod

    started = time.perf_counter()
    observer = observer or Observer()
    folder = RunFolder(output, shard)
    suite = load_suite(request.suite, data=request.data, sets=request.sets)
    specs = choose_methods(request.methods, suite.methods)
    with folder.opened():
        ready = prepare(request, suite, specs, folder, observer)
        if (old := folder.read_description()) is None:
            save_json(folder.path / "run.json", ready.description)
        else:
            check_same(folder, old, ready.description)
            moved = differences(old.get("environment", {}), ready.description["environment"])
            if moved:
                observer.note(f"the run began elsewhere, and bits may differ: {'; '.join(moved)}")
        known = folder.scan(ready.plan.samples, hashes=True if read_all else None)
        executor = Executor(
            folder,
            ready.plan,
            ready.backbone,
            ready.methods,
            ready.identities,
            ready.evaluator,
            ready.settings,
            observer,
            keep_going=keep_going,
            adapters=request.adapters,
        )
        share = ready.plan.share(shard)
        todo = [block for block in share if not all(_done(one, known, ready) for one in block.samples)]
        again = {sample.id for block in todo for sample in block.samples}
        totals: dict[str, tuple[int, int]] = {}
        for block in share:
            total, done = totals.get(block.method, (0, 0))
            done += sum(one.id in known and one.id not in again for one in block.samples)
            totals[block.method] = (total + len(block.samples), done)
        stopped: StoppedError | None = None
        with observer:
            observer.begin(totals, [info.name for info in ready.evaluator.infos if info.level == "sample"])
            for label, method in ready.methods.items():
                if isinstance(method, FitMethod):
                    method.progress = partial(observer.fitting, label)
            for block in todo:
                try:
                    executor.run(block)
                except StoppedError as error:
                    stopped = error
                    break
        if stopped is not None:
            raise stopped
        known, results = _complete(folder, ready, executor)
    rows = [known[name] for name in ready.plan.order if name in known]
    return Outcome(
        folder=folder.path,
        complete=results is not None,
        missing=len(ready.plan.samples) - len(known),
        counts=dict(sorted(Counter(row.status for row in rows).items())),
        troubles=[json.loads(row.line) for row in rows if row.status != "ok"],
        results=results,
        pairs=ready.description["settings"]["pairs"],
        seconds={"wall": time.perf_counter() - started, **executor.seconds},
    )


def prepare(
    request: Request, suite: Suite, specs: Sequence[MethodSpec], folder: RunFolder, observer: Observer
) -> Prepared:
    """Load what a request needs, cheapest first, and plan it.

    Raises UsageError, WeightsError or MissingDependencyError before anything is sampled.
    """
    for name in request.adapters:
        if name not in [spec.name for spec in specs]:
            raise UsageError(f"Weights are given for {name!r}, which does not run.", hint="See --methods.")
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.metrics.models.zoo import check_models
    from methods.backbone.load import load_backbone
    from methods.backbone.noise import SCHEDULERS
    from methods.errors import unknown_name
    from methods.hooks import Identity

    options = dict(request.backbone)
    encoder_name = options.pop("face_encoder", None)
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise unknown_name("scheduler", request.scheduler, SCHEDULERS)
    backbone = load_backbone(**options)
    check_models(backbone.family, request.models)
    methods, left_out = _load_methods(specs, request, suite, backbone)
    for name, reason in left_out.items():
        observer.note(f"{name} is left out: {reason}")
    models = dict(request.models)
    if encoder_name is not None:
        models.setdefault("face-conditioning", encoder_name)
    on_cpu = backbone.device.type == "cpu"
    evaluator = Evaluator(
        request.metrics or suite.metrics,
        backbone_family=backbone.family,
        models=models,
        device=str(backbone.device),
        # one at a time on a CPU, as pictures are sampled: then company does not change the rounding
        batch_size=1 if on_cpu else 32,
    )
    for name, reason in evaluator.unavailable.items():
        observer.note(f"{name} is unavailable: {reason}")

    if request.seeds is not None:
        suite = replace(suite, seeds=request.seeds)
    limit = request.limit if request.limit is not None else suite.limit
    people = gather(suite, folder, limit)
    needed = any(method.info.identity for method in methods.values())
    identities, encoder = identify_all(
        people, folder, backbone, encoder_name, request.face_select, needed=needed, methods=methods.values()
    )
    if unusable := sum(not isinstance(who, Identity) for who in identities.values()):
        observer.note(f"{unusable} of {len(identities)} references give no face; their samples say why")
    settings = _settings(request, suite, backbone)
    faced = {**settings, "face_encoder": None if encoder is None else encoder.fingerprint}
    about_backbone = describe_backbone(backbone)
    about_methods = [
        describe_method(spec.label, methods[spec.label], spec.job) for spec in specs if spec.label in methods
    ]
    jobs = {spec.label: spec.job for spec in specs}
    planned = [
        MethodPlan(
            label=about["name"],
            identity=methods[about["name"]].info.identity,
            pixels=pixels_of_method(about_backbone, about),
            job=jobs[about["name"]],
            words=_words(methods[about["name"]], identities),
        )
        for about in about_methods
    ]
    size = request.batch_size or (1 if on_cpu else 8)
    plan = make_plan(suite, people, planned, faced, limit=limit, batch_size=size)
    chosen = sum(len(choose(one, suite.seeds, limit)) for one in suite.sets)
    pairs = {"listed": suite.pairs, "planned": chosen, "pictures": plan.pictures}
    description = {
        "schema": SCHEMA,
        "suite": {
            "name": suite.name,
            "version": suite.version,
            "description": suite.description,
            "sets": {
                one.name: {"identities": len(one.identities), "prompts": len(one.prompts)}
                for one in suite.sets
            },
        },
        "backbone": about_backbone,
        "methods": about_methods,
        "left_out": left_out,
        "metrics": cards(evaluator),
        "settings": {
            **settings,
            "seeds": list(suite.seeds),
            "limit": limit,
            "samples": len(plan.samples),
            "pairs": pairs,
            "plan": hashlib.sha256("\n".join(plan.order).encode()).hexdigest(),
            "face_encoder": None
            if encoder is None
            else {"name": encoder.name, "fingerprint": encoder.fingerprint},
        },
        "request": request.as_dict(),
        "environment": environment(backbone),
    }
    return Prepared(
        suite, people, identities, backbone, methods, evaluator, settings, plan, plain(description)
    )


def _load_methods(
    specs: Sequence[MethodSpec], request: Request, suite: Suite, backbone: Backbone
) -> tuple[dict[str, Method], dict[str, str]]:
    """Methods by label; and why those that cannot run here and that only `all` names are left out."""
    from methods.config import build
    from methods.registry import check_backbone, get_method

    asked = {parse_method(one).label for one in request.methods or suite.methods if one != "all"}
    loaded: dict[str, Method] = {}
    left_out: dict[str, str] = {}
    for spec in specs:
        cls = get_method(spec.name)
        config: Any = build(cls.Config, spec.options, where=f"method {spec.name}")
        try:
            check_backbone(cls.info, backbone)
            loaded[spec.label] = cls.load(request.adapters.get(spec.name), backbone, config)
        except (UsageError, WeightsError, MissingDependencyError) as error:
            if spec.label in asked:
                raise
            left_out[spec.label] = str(error)
    return loaded, left_out


def _words(method: Method, identities: Mapping[str, Any]) -> dict[str, str]:
    """What `{person}` becomes for each identity, where the method has a word of its own.

    That word may be "person" itself: a method that fits a word puts it there, and nowhere else.
    """
    from methods.contract import Method
    from methods.hooks import Identity

    if not method.info.identity or type(method).word is Method.word:
        return {}
    return {content: method.word(who) for content, who in identities.items() if isinstance(who, Identity)}


def _settings(request: Request, suite: Suite, backbone: Backbone) -> dict[str, Any]:
    """What all samples share besides backbone and method, each from the flag, the suite or the backbone."""

    def first(*values: Any) -> Any:
        return next(value for value in values if value is not None)

    width, height = first(request.size, suite.size, backbone.default_size)
    return {
        "width": width,
        "height": height,
        "steps": first(request.steps, suite.steps, backbone.defaults.steps),
        "guidance": first(request.guidance, suite.guidance, backbone.defaults.guidance),
        "negative_prompt": suite.negative_prompt,
        "scheduler": first(request.scheduler, backbone.defaults.scheduler),
        "face_select": request.face_select,
    }


def _done(sample: Sample, known: Mapping[str, Known], ready: Prepared) -> bool:
    """Whether a sample needs nothing more. What raised is tried again: its cause may be gone."""
    row = known.get(sample.id)
    if row is None or row.status != "error":
        return row is not None
    return sample.person is not None and sample.person.reference is None


def _complete(
    folder: RunFolder, ready: Prepared, executor: Executor
) -> tuple[dict[str, Known], dict[str, Any] | None]:
    """Put the run together when every row is there: order, metrics of whole methods, tables."""
    with folder.completing():
        known = folder.scan(ready.plan.samples, hashes=False)
        if len(known) < len(ready.plan.samples):
            return known, None
        folder.complete(ready.plan.order, known)
        _score_sets(folder, ready, executor, known)
        from benchmarks.aggregate import aggregate

        return known, dict(aggregate(folder.path))


def _score_sets(folder: RunFolder, ready: Prepared, executor: Executor, known: Mapping[str, Known]) -> None:
    """Write sets.json unless it belongs to these very samples."""
    if not any(info.level == "set" for info in ready.evaluator.infos):
        return
    samples = hashlib.sha256((folder.path / "samples.jsonl").read_bytes()).hexdigest()
    file = folder.path / "sets.json"
    try:
        if json.loads(file.read_bytes())["samples"] == samples:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    started = time.perf_counter()
    found: dict[str, Any] = {}
    for label in ready.methods:

        def views(label: str = label) -> Iterator[Any]:
            for sample in ready.plan.samples.values():
                row = known[sample.id]
                if sample.method.label == label and row.size is not None and row.status != "degenerate":
                    yield executor.view(sample)

        scores = ready.evaluator.score_set(views())
        found[label] = {name: asdict(score) for name, score in scores.items()}
    save_json(file, {"schema": SCHEMA, "samples": samples, "methods": found})
    executor.seconds["metrics"] += time.perf_counter() - started
