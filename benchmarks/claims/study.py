"""Experiments of the ledger: which variants can run here, and their pictures by the harness's own runner."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.claims.effects import Table, table_of_runs
from benchmarks.claims.types import Claim, Experiment, Variant
from benchmarks.description import plain
from benchmarks.fingerprint import describe_backbone, describe_method, digest
from benchmarks.live import Observer
from benchmarks.request import Request, parse_method
from benchmarks.schema import FAILURES, Row
from benchmarks.store import RunFolder
from benchmarks.suites import Suite, load_suite
from methods.errors import MissingDependencyError, MissingWeightsError, UsageError, WeightsError
from methods.paths import user_path

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.contract import Method


@dataclass(frozen=True)
class Settings:
    """What all experiments of a ledger share.

    backbone: arguments of `load_backbone`, and `face_encoder`
    suite:    instead of the experiments' own, with all its sets
    weights:  name of a method, or of weights that a claim asks for -> folder or file
    models:   role -> model of the metrics
    """

    backbone: Mapping[str, Any] = field(default_factory=lambda: {"name_or_path": "pocket"})
    suite: str | None = None
    limit: int | None = None
    steps: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values that `Settings(**values)` takes."""
        return asdict(self)


@dataclass(eq=False)
class Measured:
    """What an experiment gave.

    runs:        folders, relative to the ledger's
    unreachable: variant -> why it could not be measured
    counts:      status -> samples
    """

    table: Table
    runs: list[str] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class Study:
    """Runs experiments into `folder`/runs. Loads the backbone when the first experiment needs it."""

    def __init__(
        self,
        settings: Settings,
        folder: str | os.PathLike[str],
        *,
        observers: Callable[[], Observer] = Observer,
    ) -> None:
        """observers: makes what people see of a run while it is at work."""
        self.settings = settings
        self.folder = Path(folder)
        self.observers = observers
        self._backbone: Backbone | None = None
        self._methods: dict[Variant, Method | str] = {}

    # ------------------------------------------------------------- what can run
    @property
    def backbone(self) -> Backbone:
        """The backbone of all experiments."""
        if self._backbone is None:
            from methods.backbone.load import load_backbone

            options = {key: value for key, value in self.settings.backbone.items() if key != "face_encoder"}
            self._backbone = load_backbone(**options)
        return self._backbone

    @property
    def family(self) -> str:
        return self.backbone.family

    def method(self, variant: Variant) -> Method | str:
        """A variant ready for the backbone, or why it cannot be had here."""
        if variant not in self._methods:
            self._methods[variant] = self._load(variant)
        return self._methods[variant]

    def _load(self, variant: Variant) -> Method | str:
        from methods.registry import get_method
        from methods.settings import configure

        if variant.weights is not None and variant.weights not in self.settings.weights:
            return (
                f"it needs weights of its own; make them by `{variant.recipe}` and give them: "
                f"--weights {variant.weights}=FOLDER"
            )
        spec = parse_method(variant.method)
        try:
            cls = get_method(spec.name)
            if cls.info.missing(self.backbone.offers):
                return f"{spec.name} does not run on {self.family} backbones"
            config = configure(cls, spec.options, family=self.family)
            return cls.load(self.adapter(variant), self.backbone, config)
        except (MissingWeightsError, MissingDependencyError, WeightsError) as error:
            return str(error)

    def adapter(self, variant: Variant) -> str | None:
        """The weights a variant is given, None for those that come with the project."""
        return self.settings.weights.get(variant.weights or parse_method(variant.method).name)

    def reachable(
        self, experiment: Experiment, claims: Sequence[Claim], *, every: bool
    ) -> tuple[list[Variant], dict[str, str]]:
        """The variants to run, and for the others why not.

        every: all variants of the experiment, not only those that the claims compare
        """
        named = {side for claim in claims for side in (claim.effect.treatment, claim.effect.control)}
        able, unreachable = [], {}
        for variant in experiment.variants:
            if not (every or experiment.axis or variant.name in named):
                continue
            method = self.method(variant)
            if isinstance(method, str):
                unreachable[variant.name] = method
            else:
                able.append(variant)
        return able, unreachable

    def suite(self, experiment: Experiment) -> tuple[str, tuple[str, ...]]:
        """Suite and sets of an experiment."""
        if self.settings.suite is not None:
            return self.settings.suite, ()
        return experiment.suite, experiment.sets

    def load_suite(self, experiment: Experiment) -> Suite:
        """The suite of an experiment with the sets that it takes."""
        name, sets = self.suite(experiment)
        suite = load_suite(name, sets=sets)
        return suite if experiment.seeds is None else replace(suite, seeds=experiment.seeds)

    # ------------------------------------------------------------- pictures
    def run(self, experiment: Experiment, claims: Sequence[Claim], *, every: bool) -> Measured:
        """Sample and score what is missing of an experiment; one run for each set of weights.

        Raises SpidError for what no claim alone is to blame for, such as a full disk.
        """
        able, unreachable = self.reachable(experiment, claims, every=every)
        groups: dict[str | None, list[Variant]] = {}
        for variant in able:
            groups.setdefault(variant.weights, []).append(variant)
        labels: dict[str, tuple[Path, str]] = {}
        counts: dict[str, int] = {}
        folders = []
        for weights, variants in groups.items():
            folder = self._bench(experiment, claims, weights, variants, counts)
            folders.append(folder)
            labels |= {one.name: (folder, parse_method(one.method).label) for one in variants}
            labels.setdefault("none", (folder, "none"))
        table = table_of_runs(folders, labels)
        runs = [folder.relative_to(self.folder).as_posix() for folder in folders]
        return Measured(table, runs, unreachable, dict(sorted(counts.items())))

    def metrics(self, experiment: Experiment, claims: Iterable[Claim]) -> tuple[str, ...]:
        """The metrics that an experiment measures for its claims, and those it shows besides."""
        names = (claim.effect.metric_for(self.family) for claim in claims)
        return tuple(dict.fromkeys([*(name for name in names if name), *experiment.metrics]))

    def _bench(
        self,
        experiment: Experiment,
        claims: Sequence[Claim],
        weights: str | None,
        variants: Sequence[Variant],
        counts: dict[str, int],
    ) -> Path:
        from benchmarks.metrics.catalogue import weights_of
        from benchmarks.runner import bench

        suite, sets = self.suite(experiment)
        adapters = {parse_method(one.method).name: self.adapter(one) for one in variants}
        request = Request(
            suite=suite,
            methods=tuple(one.method for one in variants),
            backbone=self.settings.backbone,
            sets=sets,
            limit=self.settings.limit,
            seeds=experiment.seeds,
            steps=self.settings.steps,
            adapters={name: given for name, given in adapters.items() if given is not None},
            metrics=self.metrics(experiment, claims),
            models=self.settings.models,
        )
        described = [self.describe(one) for one in variants]
        models = weights_of(request.metrics or (), self.family, self.settings.models)
        content = plain(asdict(self.load_suite(experiment)))
        folder = self.place(experiment, [*described, _relevant(request), models, content], weights)
        self._lend(folder, described)
        outcome = bench(request, folder, keep_going=True, observer=self.observers())
        for status, count in outcome.counts.items():
            counts[status] = counts.get(status, 0) + count
        return folder

    def describe(self, variant: Variant) -> dict[str, Any]:
        """A variant as run.json names it."""
        spec = parse_method(variant.method)
        method = self.method(variant)
        assert not isinstance(method, str)
        return plain(describe_method(spec.label, method, spec.job))

    def place(self, experiment: Experiment, what: Sequence[Any], weights: str | None = None) -> Path:
        """Where an experiment's samples lie: a folder of their own for all that decides them.

        Other weights, code, limits or prompts give another folder: nothing is mixed or thrown away.
        """
        backbone = {key: value for key, value in describe_backbone(self.backbone).items() if key != "name"}
        kind = f"-{weights}" if weights else ""
        return self.folder / "runs" / f"{experiment.name}{kind}-{digest([backbone, *what])[:8]}"

    def _lend(self, folder: Path, described: Sequence[Mapping[str, Any]]) -> None:
        """Link pictures of the same methods from other runs of the ledger; the runner checks each one's
        fingerprint before it takes it, so that none is sampled twice and none is taken that differs."""
        backbone = plain(describe_backbone(self.backbone))
        wanted = {_key(backbone, method) for method in described}
        for other in sorted((self.folder / "runs").glob("*/run.json")):
            run: Mapping[str, Any] = RunFolder(other.parent).read_description() or {}
            names = {
                method["name"]
                for method in run.get("methods", [])
                if method["name"] == "none" or _key(run.get("backbone", {}), method) in wanted
            }
            if other.parent == folder or not names or run.get("backbone") != backbone:
                continue
            for line in (other.parent / "samples.jsonl").read_bytes().splitlines():
                with contextlib.suppress(OSError, ValueError):
                    row = Row.from_line(line)
                    if row.method in names and row.status not in FAILURES:
                        target = folder / RunFolder(folder).picture(row.id)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        os.link(other.parent / RunFolder(other.parent).picture(row.id), target)


def cost(
    experiment: Experiment, variants: Sequence[Variant], suite: Suite, limit: int | None
) -> dict[str, int]:
    """What an experiment has to make: pictures, fits, and optimisation steps of all fits."""
    from methods.registry import get_method, method_info
    from methods.settings import configure

    people = {identity.name for one in suite.sets for identity in one.identities}
    per_set = [one.casts * len(one.prompts) * len(suite.seeds) for one in suite.sets]
    pairs = sum(min(count, limit) if limit is not None else count for count in per_set)
    if experiment.kind in ("seconds", "fit_seconds"):
        pairs = experiment.repeats
    fitted = []
    for variant in variants:
        spec = parse_method(variant.method)
        if method_info(spec.name).kind == "fit" and experiment.kind != "fit_seconds":
            fitted.append(int(configure(get_method(spec.name), spec.options).steps))
    return {
        "pictures": 0 if experiment.kind == "fit_seconds" else pairs * len(variants),
        "fits": len(fitted) * len(people),
        "steps": sum(fitted) * len(people),
    }


def _relevant(request: Request) -> dict[str, Any]:
    """What of a request decides its run, but for backbone and weights: those count by content."""
    values = request.as_dict()
    return {key: value for key, value in values.items() if key not in ("backbone", "adapters", "methods")}


def _key(backbone: Mapping[str, Any], method: Mapping[str, Any]) -> str:
    return digest([backbone.get("fingerprint"), {k: v for k, v in method.items() if k != "name"}])


def check_weights(given: Mapping[str, str], experiments: Iterable[Experiment]) -> None:
    """Raise UsageError for weights that neither a method nor a claim knows."""
    from methods.errors import unknown_name
    from methods.registry import method_names

    known = {one.weights for each in experiments for one in each.variants if one.weights} | {*method_names()}
    for name, path in given.items():
        if name not in known:
            raise unknown_name("weights", name, sorted(known))
        if not user_path(path).exists():
            raise UsageError(f"--weights {name}: {path} is not there.", hint="Give a folder or a file.")
