"""What the harness's rows do not hold: where a word looks, and how long sampling and fitting take."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.claims.effects import Table
from benchmarks.claims.study import Measured, Study
from benchmarks.claims.types import Claim, Experiment, Variant
from benchmarks.description import plain
from benchmarks.metrics.leakage import head_mask
from benchmarks.people import gather, identify_all
from benchmarks.plan import Person, spread
from benchmarks.store import RunFolder
from benchmarks.studies.attention import grids_of, share_inside
from benchmarks.suites import Suite, SuitePrompt
from methods.contract import Method
from methods.files import save_json
from methods.fitting.words import NOUN, place
from methods.hooks import Identity, Job
from methods.prompts import expand
from methods.sampling import Result, latent_size, sample
from methods.shipped import is_pocket

if TYPE_CHECKING:
    from methods.faces import FaceEncoder

METRICS = {"attention": "attention_in_head", "seconds": "seconds", "fit_seconds": "fit_seconds"}
FEW_STEPS = 6
"""Steps of a timed fit; their mean without the first, which also prepares, stands for all."""

_Row = tuple[str, tuple[str, str, str, int], float | None]  # variant, cell, value


@dataclass(frozen=True, eq=False)
class _Pair:
    set: str
    person: Person
    identity: Identity
    prompt: SuitePrompt
    seed: int


def measure(study: Study, experiment: Experiment, claims: Sequence[Claim], *, every: bool) -> Measured:
    """Run an experiment of a kind other than `suite`; finished figures are kept and taken up again."""
    able, unreachable = study.reachable(experiment, claims, every=every)
    suite = study.load_suite(experiment)
    settings = {"suite": suite.name, "version": suite.version, "sets": [one.name for one in suite.sets]}
    what = [plain(dataclasses.asdict(suite)), study.settings.limit, study.settings.steps, experiment.repeats]
    folder = study.place(experiment, [*(study.describe(one) for one in able), *what])
    file = folder / "measured.json"
    rows: list[_Row] = []
    if file.is_file():
        rows = [
            (variant, tuple(cell), value) for variant, cell, value in json.loads(file.read_bytes())["rows"]
        ]
    known = {(variant, cell) for variant, cell, _ in rows}
    pairs = _pairs(study, suite, folder, experiment)
    kinds = {"attention": _attention, "seconds": _seconds, "fit_seconds": _fit_seconds}
    if able:
        for row in kinds[experiment.kind](study, experiment, able, pairs, known):
            rows.append(row)
            save_json(file, {"schema": 1, "experiment": experiment.name, "settings": settings, "rows": rows})
    table = Table(unit="identity" if experiment.kind == "attention" else "round")
    name = METRICS[experiment.kind]
    for variant, cell, value in rows:
        table.values.setdefault(variant, {}).setdefault(name, {})[cell] = np.nan if value is None else value
    for one in suite.sets:
        table.categories |= {prompt.id: prompt.category for prompt in one.prompts}
    return Measured(table, [folder.relative_to(study.folder).as_posix()] if rows else [], unreachable)


def _pairs(study: Study, suite: Suite, folder: Path, experiment: Experiment) -> list[_Pair]:
    """People that have a face, with every prompt and seed; timings need one pair per round only."""
    from methods.backbone.source import own_face_encoder
    from methods.faces import load_encoder

    run = RunFolder(folder)
    people = gather(suite, run)
    name = study.settings.backbone.get("face_encoder") or own_face_encoder(study.backbone)
    identities = identify_all(people, run, load_encoder(name), "largest")
    known = {content: who for content, who in identities.items() if isinstance(who, Identity)}
    found: list[_Pair] = []
    for one in suite.sets:
        wanted = [(prompt, seed) for prompt in one.prompts for seed in suite.seeds]
        able = [person for person in people[one.name] if person.content in known]
        pairs = spread(able, wanted, study.settings.limit)
        pairs.sort(key=lambda pair: wanted.index(pair[1:]))  # the rounds of a timing meet many people first
        found += [_Pair(one.name, who, known[who.content], prompt, seed) for who, prompt, seed in pairs]
    if experiment.kind == "attention":
        return found
    return [found[turn % len(found)] for turn in range(experiment.repeats)] if found else []


def _job(study: Study, pair: _Pair, method: Method, suite: Suite) -> Job:
    backbone = study.backbone
    width, height = suite.size or backbone.default_size
    own = type(method).word is not Method.word  # a word of its own, which is "person" for what is fitted
    word = method.word(pair.identity) if own else pair.person.entry.noun
    return Job(
        expand(pair.prompt.text, word),
        width,
        height,
        backbone.defaults.guidance if suite.guidance is None else suite.guidance,
        negative_prompt=suite.negative_prompt,
        identity=pair.identity if method.info.identity else None,
        seed=pair.seed,
        steps=study.settings.steps or suite.steps or backbone.defaults.steps,
    )


# ------------------------------------------------------------- attention
def _attention(
    study: Study, experiment: Experiment, variants: Sequence[Variant], pairs: Sequence[_Pair], known: set[Any]
) -> Iterator[_Row]:
    """Share of the learned word's attention inside the head of the picture that is being made."""
    from methods.faces import load_encoder

    suite = study.load_suite(experiment)
    wanted = study.settings.models.get("face", "pocket-scoring" if is_pocket(study.family) else None)
    encoder = load_encoder(wanted or "insightface:antelopev2")
    for pair in pairs:
        for variant in variants:
            cell = (pair.set, pair.person.name, pair.prompt.id, pair.seed)
            if (variant.name, cell) in known:
                continue
            method = study.method(variant)
            assert not isinstance(method, str)
            job = dataclasses.replace(_job(study, pair, method, suite), prompt=expand(pair.prompt.text, NOUN))
            placed = place(study.backbone.text, job.prompt, 1)
            if placed is None:
                continue  # the prompt is about nobody
            (result,) = sample(study.backbone, [job], method, capture=[placed.at.tolist()])
            yield variant.name, cell, _in_head(study, result, encoder)


def _in_head(study: Study, result: Result, encoder: FaceEncoder) -> float | None:
    from methods.faces import detect

    if result.picture is None:
        return None
    rgb = np.asarray(result.picture)
    faces, _ = detect(rgb, encoder)
    if not faces:
        return None
    mask = head_mask([faces[0].box], rgb.shape[0], rgb.shape[1])
    grids = grids_of(study.backbone, *latent_size(result.job, study.backbone))
    return share_inside(result.attention, grids, mask)


# ------------------------------------------------------------- time
def _clock(study: Study) -> Callable[[], float]:
    """Processor time on a CPU, so that other work on the machine disturbs ratios least; else wall time."""
    device = study.backbone.device
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def _turns(variants: Sequence[Variant], turn: int) -> list[Variant]:
    """Variants take turns in who goes first."""
    at = turn % len(variants)
    return [*variants[at:], *variants[:at]]


def _seconds(
    study: Study, experiment: Experiment, variants: Sequence[Variant], pairs: Sequence[_Pair], known: set[Any]
) -> Iterator[_Row]:
    """Seconds of sampling one picture, tokens at hand; one round to warm up."""
    suite, clock = study.load_suite(experiment), _clock(study)
    warm = False
    for turn, pair in enumerate(pairs):
        cell = (pair.set, f"round {turn + 1}", pair.prompt.id, pair.seed)
        if all((variant.name, cell) in known for variant in variants):
            continue
        for rounds in range(1 if warm else 2):
            times = {}
            for variant in _turns(variants, turn):
                method = study.method(variant)
                assert not isinstance(method, str)
                if method.info.identity:
                    method.tokens(pair.identity, study.backbone)
                started = clock()
                sample(study.backbone, [_job(study, pair, method, suite)], method)
                times[variant.name] = clock() - started
            if warm or rounds:
                yield from ((name, cell, round(value, 6)) for name, value in times.items())
        warm = True


def _fit_seconds(
    study: Study, experiment: Experiment, variants: Sequence[Variant], pairs: Sequence[_Pair], known: set[Any]
) -> Iterator[_Row]:
    """Seconds of a whole fit, from a few of its steps."""
    clock = _clock(study)
    for turn, pair in enumerate(pairs):
        cell = (pair.set, f"round {turn + 1}", "", 0)
        if all((variant.name, cell) in known for variant in variants):
            continue
        for variant in _turns(variants, turn):
            yield variant.name, cell, round(_fit_time(study, variant, pair.identity, clock), 6)


def _fit_time(study: Study, variant: Variant, identity: Identity, clock: Callable[[], float]) -> float:
    from methods.fitting.method import FitMethod

    full = study.method(variant)
    assert isinstance(full, FitMethod)
    method = type(full)(dataclasses.replace(full.config, steps=FEW_STEPS))
    ticks: list[float] = []
    cuda = [study.backbone.device] if study.backbone.device.type == "cuda" else []
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=cuda):
        started = clock()
        method.fit(identity, study.backbone, lambda done, total: ticks.append(clock()))
    step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
    return (ticks[0] - started - step) + step * full.config.steps
