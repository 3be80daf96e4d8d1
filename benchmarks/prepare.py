"""What stands before the first sampling step: load, resolve, plan, each a value that the next one takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.description import cards, environment, fault_lines, plain
from benchmarks.fingerprint import describe_backbone, describe_method, pixels_of_method
from benchmarks.live import Observer
from benchmarks.people import check_masks, face_encoder_of, gather, identify_all, keep_masks
from benchmarks.plan import MethodPlan, Person, Plan, choose, make_plan
from benchmarks.request import MethodSpec, Request, choose_methods, parse_method
from benchmarks.schema import SCHEMA
from benchmarks.store import RunFolder
from benchmarks.suites import SUITES, Suite, load_suite
from methods.errors import MissingDependencyError, UsageError, WeightsError
from methods.plugins import Registry
from methods.prompts import NO_WEIGHTS, weights_in
from methods.words import in_unicode

if TYPE_CHECKING:
    from benchmarks.made import Trouble
    from benchmarks.metrics.evaluate import Evaluator
    from methods.backbone.backbone import Backbone
    from methods.contract import Method
    from methods.faces import FaceEncoder
    from methods.hooks import Identity


@dataclass(frozen=True, eq=False)
class Loaded:
    """The models of a request.

    methods:  by label; left_out: those that only `all` named and that cannot run here, and why
    """

    request: Request
    suite: Suite
    specs: Sequence[MethodSpec]
    backbone: Backbone
    methods: dict[str, Method]
    left_out: dict[str, str]
    evaluator: Evaluator
    encoder: FaceEncoder | None


@dataclass(frozen=True, eq=False)
class Resolved:
    """What of flag, suite and backbone holds, and who is in the pictures.

    suite:      with the seeds of the request, and its masks in the folder
    settings:   what all samples share besides backbone and method
    people:     of every set; identities: what became of each reference, by its content
    """

    suite: Suite
    limit: int | None
    batch_size: int
    settings: dict[str, Any]
    people: dict[str, list[Person]]
    identities: dict[str, Identity | Trouble]


@dataclass(frozen=True, eq=False)
class Planned:
    """The samples, and run.json."""

    plan: Plan
    description: dict[str, Any]


def load(request: Request, observer: Observer, *, keep_going: bool = False) -> Loaded:
    """Suite, backbone, methods and metrics with their models, cheapest first.

    keep_going: a metric that is asked for by name and whose model does not load is a note, not an error.

    Raises UsageError, WeightsError or MissingDependencyError for whatever cannot be had.
    """
    suite = load_suite(request.suite, data=request.data, sets=request.sets)
    specs = choose_methods(request.methods, suite.methods)
    for name in request.adapters:
        if name not in [spec.name for spec in specs]:
            raise UsageError(f"Weights are given for {name!r}, which does not run.", hint="See --methods.")
    from benchmarks.metrics.evaluate import Evaluator
    from benchmarks.metrics.models.zoo import check_models
    from methods.backbone.backbone import replaced_sampler
    from methods.backbone.load import load_backbone
    from methods.backbone.noise import SCHEDULERS
    from methods.errors import unknown_name

    options = dict(request.backbone)
    encoder_name = options.pop("face_encoder", None)
    if request.scheduler is not None and request.scheduler not in SCHEDULERS:
        raise unknown_name("scheduler", request.scheduler, SCHEDULERS)
    for weight in dict.fromkeys(map(weights_in, (one.text for group in suite.sets for one in group.prompts))):
        if weight is not None:
            observer.note(f"{weight} is taken as it stands: {NO_WEIGHTS}")
    check_masks(suite)
    backbone = load_backbone(**options)
    _settings(request, suite, backbone)  # refuses what cannot be sampled, before anything is written
    if request.scheduler is None and (said := replaced_sampler(backbone)) is not None:
        observer.note(said)
    check_models(backbone.family, request.models)
    methods, left_out = _load_methods(specs, request, suite, backbone)
    encoder = face_encoder_of(backbone, encoder_name, methods.values())
    for name, reason in left_out.items():
        observer.note(f"{name} is left out: {reason}")
    models = dict(request.models)
    if encoder_name is not None:
        models.setdefault("face-conditioning", encoder_name)
    evaluator = Evaluator(
        request.metrics or suite.metrics,
        backbone_family=backbone.family,
        models=models,
        device=str(backbone.device),
        # one at a time on a CPU, as pictures are sampled: then company does not change the rounding
        batch_size=1 if backbone.device.type == "cpu" else 32,
        note=observer.note,
    )
    for line in fault_lines(evaluator.faults):
        observer.note(line)
    evaluator.load_asked(request.metrics or (), keep_going=keep_going)
    for name, reason in evaluator.unavailable.items():
        observer.note(f"{name} is unavailable: {reason}")
    return Loaded(request, suite, specs, backbone, methods, left_out, evaluator, encoder)


def resolve(loaded: Loaded, folder: RunFolder, observer: Observer) -> Resolved:
    """Settings in force, and the planned people: their references in the folder, analysed."""
    from methods.hooks import Identity
    from methods.identify import strangers

    request, backbone = loaded.request, loaded.backbone
    suite = loaded.suite if request.seeds is None else replace(loaded.suite, seeds=request.seeds)
    limit = request.limit if request.limit is not None else suite.limit
    with folder.alone():
        suite = keep_masks(suite, folder)
        people = gather(suite, folder, limit)
    identities = identify_all(people, folder, loaded.encoder, request.face_select)
    if unusable := sum(not isinstance(who, Identity) for who in identities.values()):
        observer.note(f"{unusable} of {len(identities)} references give no face; their samples say why")
    for who in identities.values():
        if isinstance(who, Identity) and (odd := strangers(who)):
            shown = ", ".join(Path(path).name for path in odd)
            observer.note(
                f"{who.name}: of {len(who.pictures)} photographs these look like somebody else: {shown}"
            )
    size = request.batch_size or _shared_batch_size(folder, 1 if backbone.device.type == "cpu" else 8)
    settings = _settings(request, suite, backbone)
    return Resolved(suite, limit, size, settings, people, identities)


def _shared_batch_size(folder: RunFolder, own: int) -> int:
    """That of the run, whichever device it was begun on: a batch's company may change the rounding."""
    begun = folder.read_description()
    recorded = 0 if begun is None else begun.get("settings", {}).get("batch_size", 0)
    return recorded or int(folder.leases.agree("batch-size", str(own)))


def plan_run(loaded: Loaded, resolved: Resolved) -> Planned:
    """Every sample with its fingerprint, and the description of the run."""
    from methods.faces.registry import ENCODERS

    request, backbone, methods = loaded.request, loaded.backbone, loaded.methods
    suite, limit, settings, encoder = resolved.suite, resolved.limit, resolved.settings, loaded.encoder
    faced = {**settings, "face_encoder": None if encoder is None else encoder.fingerprint}
    about_backbone = describe_backbone(backbone)
    about_methods = [
        describe_method(spec.label, methods[spec.label], spec.job)
        for spec in loaded.specs
        if spec.label in methods
    ]
    planned = [
        MethodPlan(
            label=about["name"],
            identity=methods[about["name"]].info.identity,
            pixels=pixels_of_method(about_backbone, about),
            job=about["job"],
            words=_words(methods[about["name"]], resolved.identities),
        )
        for about in about_methods
    ]
    plan = make_plan(suite, resolved.people, planned, faced, limit=limit, batch_size=resolved.batch_size)
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
            **_package(SUITES, request.suite),
        },
        "backbone": about_backbone,
        "methods": about_methods,
        "left_out": loaded.left_out,
        "metrics": cards(loaded.evaluator),
        "faults": loaded.evaluator.faults,
        "people": _people(resolved.people),
        "settings": {
            **settings,
            "seeds": list(suite.seeds),
            "limit": limit,
            "batch_size": resolved.batch_size,
            "samples": len(plan.samples),
            "pairs": pairs,
            "plan": hashlib.sha256("\n".join(plan.order).encode()).hexdigest(),
            "face_encoder": None
            if encoder is None
            else {
                "name": encoder.name,
                "fingerprint": encoder.fingerprint,
                **_package(ENCODERS, encoder.name.partition(":")[0]),
            },
        },
        "request": request.as_dict(),
        "environment": environment(backbone),
    }
    return Planned(plan, plain(description))


def _people(people: Mapping[str, Sequence[Person]]) -> list[dict[str, Any]]:
    """Everybody of every set whose references lie in the folder."""
    return [
        {
            "set": name,
            "name": in_unicode(one.name),
            "references": [one.reference, *one.more],
            **({} if one.entry.person is None else {"person": one.entry.person}),
        }
        for name, members in people.items()
        for one in members
        if one.reference is not None
    ]


def _package(registry: Registry[Any], name: str) -> dict[str, str]:
    """Name and version of the package of a plug-in, as an entry that what is built in does not have."""
    return {} if (package := registry.origin(name)) is None else {"package": str(package)}


def _load_methods(
    specs: Sequence[MethodSpec], request: Request, suite: Suite, backbone: Backbone
) -> tuple[dict[str, Method], dict[str, str]]:
    """Methods by label; and why those that cannot run here and that only `all` names are left out."""
    from methods.registry import check_backbone, get_method
    from methods.settings import configure

    asked = {parse_method(one).label for one in request.methods or suite.methods if one != "all"}
    loaded: dict[str, Method] = {}
    left_out: dict[str, str] = {}
    for spec in specs:
        cls = get_method(spec.name)
        config = configure(cls, spec.options, family=backbone.family)
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
    """What all samples share besides backbone and method, each from the flag, the suite or the backbone.

    Raises UsageError for what the backbone cannot sample so.
    """
    from methods.hooks import Job
    from methods.sampling import check_job, check_steps

    def first(*values: Any) -> Any:
        return next(value for value in values if value is not None)

    width, height = first(request.size, suite.size, backbone.default_size)
    settings: dict[str, Any] = {
        "width": width,
        "height": height,
        "steps": first(request.steps, suite.steps, backbone.defaults.steps),
        "guidance": first(request.guidance, suite.guidance, backbone.defaults.guidance),
        "negative_prompt": suite.negative_prompt,
        **({} if request.true_cfg == 1.0 else {"true_cfg": request.true_cfg}),
    }
    check_job(Job("", **settings), backbone)
    scheduler = first(request.scheduler, backbone.defaults.scheduler)
    check_steps(settings["steps"], scheduler, backbone)
    return settings | {
        "scheduler": scheduler,
        "face_select": request.face_select,
    }
