"""What every registered method costs over the plain backbone: sampling time as a ratio, measured in one run.

Methods have the weights that are shipped, which decide how many tokens an identity has; those that fit one
person are unfitted, which costs the same. Identities are encoded beforehand.
Runs take turns, forwards and backwards; a ratio is the median over rounds of the ratios within a round, and
its quartiles say how sure it is: with few rounds on a busy machine several percent come and go. Rounds have
seeds of their own, so that nothing kept from an earlier round helps. On a CPU it is processor time, not wall
time, so that other work on the machine disturbs the ratios least.

The text stream of `infinite-id` is shared by identities, so it is also measured with eight of them under one
prompt: one after the other, the stream kept in memory, and in one batch of eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.contract import Method
from methods.errors import MissingWeightsError
from methods.hooks import Identity, Job
from methods.registry import get_method
from methods.sampling import sample
from scripts.costs.turns import clock_of, ratio, take_turns
from scripts.costs.twin import twin_where_missing

PEOPLE = 8
PROMPT = "a photo of a person at the beach"

LIMITS = {
    "textual-inversion": 1.03,
    "facewise": 1.03,
    "id-ea": 1.03,
    "uniform": 1.10,
    "pidiff": 1.15,
    "infinite-id": 2.1,
    f"infinite-id, {PEOPLE} people": 1.3,
    f"infinite-id, batch of {PEOPLE}": 1.3,
    "pulid": 1.10,
    "none, true guidance": 2.0,
    "pulid, true guidance": 1.10,
    "spatialid over uniform": 1.05,
    "spatialid over pulid": 1.03,
}
"""What each should cost at most."""


@dataclass(frozen=True)
class Case:
    """One thing to measure: a method on some of the people, `batch` at a time, against another case.

    random:   whether the method has no trained weights here
    true_cfg: above 1, a second pass for the negative prompt, as FLUX takes it
    """

    name: str
    method: Method
    random: bool
    people: int
    batch: int
    against: str
    true_cfg: float = 1.0


def run(names: Sequence[str], *, backbone: str, steps: int, rounds: int) -> dict[str, Any]:
    """What results/methods_cost.json holds."""
    from methods.provenance import library_versions

    with twin_where_missing(backbone) as random, TemporaryDirectory() as folder:
        model = load_backbone(backbone)
        cases = list_cases(model, names)
        rows = measure(model, cases, rendered_people(Path(folder)), steps=steps, rounds=rounds)
    return {
        "definition": "seconds per picture, sampling and decoding; median over rounds of runs taking turns; "
        "ratio to none with the same batch, median and quartiles of the ratios within rounds",
        "backbone": model.name,
        "random weights": [*([model.name] if random else []), *(case.name for case in cases if case.random)],
        "steps": steps,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "device": str(model.device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "versions": library_versions(),
        "rows": rows,
    }


def rendered_people(folder: Path, count: int = PEOPLE) -> list[Identity]:
    """Rendered people as references give them; their pictures lie in `folder`."""
    from benchmarks.studies.people import held_out
    from methods.faces import load_encoder

    encoder = load_encoder("pocket")
    return [held_out(number, folder, encoder) for number in range(count)]


def list_cases(backbone: Backbone, names: Sequence[str]) -> list[Case]:
    """Every method alone; then what sharing saves."""
    plain = get_method("none").untrained(backbone)
    cases = [Case("none", plain, False, 1, 1, "none")]
    for name in names:
        kind = get_method(name)
        if name != "none" and not kind.info.missing(backbone.offers):
            cases.append(Case(name, *ready(name, backbone), 1, 1, "none"))
    if backbone.denoiser.guidance != "rows":
        name = "none, true guidance"
        cases.append(Case(name, plain, False, 1, 1, "none", 2.0))
        guided = [one for one in cases if one.name in ("pulid", "spatialid")]
        cases += [
            replace(one, name=f"{one.name}, true guidance", against=name, true_cfg=2.0) for one in guided
        ]
    if "infinite-id" in names and not get_method("infinite-id").info.missing(backbone.offers):
        from methods.infinite_id.config import Config
        from methods.infinite_id.method import InfiniteID

        kept = InfiniteID.load(None, backbone, Config(text_stream="memory"))
        beside = InfiniteID.load(None, backbone, Config(text_stream="batch"))
        cases += [
            Case("infinite-id, text in the batch", beside, False, 1, 1, "none"),
            Case(f"infinite-id, {PEOPLE} people", kept, False, PEOPLE, 1, "none"),
            Case(many := f"none, batch of {PEOPLE}", plain, False, PEOPLE, PEOPLE, many),
            Case(f"infinite-id, batch of {PEOPLE}", beside, False, PEOPLE, PEOPLE, many),
        ]
    return cases


def ready(name: str, backbone: Backbone) -> tuple[Method, bool]:
    """A method with the weights shipped for it, and whether it has random ones: where none are, and where
    they would be one person's."""
    kind = get_method(name)
    if kind.info.kind != "fit":
        try:
            return kind.load(None, backbone), False
        except MissingWeightsError:
            pass
    return kind.untrained(backbone), kind.info.kind != "fit"


def measure(
    backbone: Backbone, cases: Sequence[Case], people: Sequence[Identity], *, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """One row per case: seconds per picture, its ratio to the case it is compared with, and the limit."""
    width, height = backbone.default_size
    job = Job(PROMPT, width, height, backbone.defaults.guidance, steps=steps)
    for case in cases:
        for identity in people[: case.people]:
            case.method.tokens(identity, backbone)

    def sampled(case: Case, turn: int) -> None:
        count = steps if turn else min(steps, 3)
        guided = replace(job, true_cfg=case.true_cfg, seed=turn, steps=count)
        jobs = [replace(guided, identity=one) for one in people[: case.people]]
        sample(backbone, jobs, case.method, batch_size=case.batch)

    runs = {case.name: (lambda turn, case=case: sampled(case, turn)) for case in cases}
    seconds = take_turns(runs, rounds=rounds, clock=clock_of(backbone.device))
    known = {case.name: case for case in cases}
    each = {name: [value / known[name].people for value in values] for name, values in seconds.items()}
    pairs = [(case.name, case.name, case.against) for case in cases]
    if "spatialid" in known:
        host = known["spatialid"].method.host.info.name  # type: ignore[attr-defined]
        pairs += [(f"spatialid over {host}", "spatialid", host)] if host in known else []
    return [
        {
            "case": label,
            "people": known[name].people,
            "batch": known[name].batch,
            **ratio(each[name], each[against], LIMITS.get(label)),
        }
        for label, name, against in pairs
    ]
