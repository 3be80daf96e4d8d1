"""What every registered method costs over the plain backbone: sampling time as a ratio, measured in one run.

    python scripts/benchmark_methods.py [--repeats 5] [--steps 25] [--output results/methods_cost.json]

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

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from methods.backbone.backbone import Backbone  # noqa: E402
from methods.backbone.load import load_backbone  # noqa: E402
from methods.contract import Method  # noqa: E402
from methods.hooks import Identity, Job  # noqa: E402
from methods.registry import get_method, method_names  # noqa: E402
from methods.sampling import sample  # noqa: E402

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
    "spatialid over uniform": 1.05,
}
"""What each should cost at most."""


@dataclass(frozen=True)
class Case:
    """One thing to measure: a method on some of the people, `batch` at a time, against another case."""

    name: str
    method: Method
    people: int
    batch: int
    against: str


def main() -> None:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--methods", nargs="*", default=method_names(), help="all unless given")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "methods_cost.json")
    arguments = parser.parse_args()

    from methods.files import save_json
    from methods.provenance import library_versions

    backbone = load_backbone("pocket")
    cases = list_cases(backbone, arguments.methods)
    with TemporaryDirectory() as folder:
        people = rendered_people(Path(folder))
        rows = measure(backbone, cases, people, steps=arguments.steps, repeats=arguments.repeats)
    print(table(rows))
    result = {
        "definition": "seconds per picture, sampling and decoding; median over rounds of runs taking turns; "
        "ratio to none with the same batch, median and quartiles of the ratios within rounds",
        "backbone": backbone.name,
        "steps": arguments.steps,
        "repeats": arguments.repeats,
        "clock": clock_of(backbone).__name__,
        "threads": torch.get_num_threads(),
        "device": str(backbone.device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "versions": library_versions(),
        "rows": rows,
    }
    save_json(arguments.output, result)


def rendered_people(folder: Path) -> list[Identity]:
    """Eight rendered people as references give them; their pictures lie in `folder`."""
    from benchmarks.studies.people import held_out
    from methods.faces import load_encoder

    encoder = load_encoder("pocket")
    return [held_out(number, folder, encoder) for number in range(PEOPLE)]


def list_cases(backbone: Backbone, names: Sequence[str]) -> list[Case]:
    """Every method alone; then what sharing saves."""
    plain = get_method("none").untrained(backbone)
    cases = [Case("none", plain, 1, 1, "none")]
    for name in names:
        kind = get_method(name)
        if name != "none" and not kind.info.missing(backbone.offers):
            fits = kind.info.kind == "fit"
            method = kind.untrained(backbone) if fits else kind.load(None, backbone)
            cases.append(Case(name, method, 1, 1, "none"))
    if "infinite-id" in names:
        from methods.infinite_id.config import Config
        from methods.infinite_id.method import InfiniteID

        kept = InfiniteID.load(None, backbone, Config(text_stream="memory"))
        beside = InfiniteID.load(None, backbone, Config(text_stream="batch"))
        cases += [
            Case("infinite-id, text in the batch", beside, 1, 1, "none"),
            Case(f"infinite-id, {PEOPLE} people", kept, PEOPLE, 1, "none"),
            Case(f"none, batch of {PEOPLE}", plain, PEOPLE, PEOPLE, f"none, batch of {PEOPLE}"),
            Case(f"infinite-id, batch of {PEOPLE}", beside, PEOPLE, PEOPLE, f"none, batch of {PEOPLE}"),
        ]
    return cases


def measure(
    backbone: Backbone, cases: Sequence[Case], people: Sequence[Identity], *, steps: int, repeats: int
) -> list[dict[str, Any]]:
    """One row per case: seconds per picture, its ratio to the case it is compared with, and the limit."""
    clock = clock_of(backbone)
    width, height = backbone.default_size
    job = Job(PROMPT, width, height, backbone.defaults.guidance, steps=steps)
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for case in cases:
        for identity in people[: case.people]:
            case.method.tokens(identity, backbone)
    for repeat in range(repeats + 1):  # the first round warms up
        for case in cases if repeat % 2 else cases[::-1]:
            count = min(steps, 3) if repeat == 0 else steps
            jobs = [replace(job, identity=one, seed=repeat, steps=count) for one in people[: case.people]]
            start = clock()
            sample(backbone, jobs, case.method, batch_size=case.batch)
            if repeat:
                seconds[case.name].append((clock() - start) / case.people)
    rows = [row(case, case.name, seconds[case.name], seconds[case.against]) for case in cases]
    known = {case.name: case for case in cases}
    if {"spatialid", "uniform"} <= known.keys():
        both = seconds["spatialid"], seconds["uniform"]
        rows.append(row(known["spatialid"], "spatialid over uniform", *both))
    return rows


def row(case: Case, name: str, seconds: Sequence[float], against: Sequence[float]) -> dict[str, Any]:
    """One line of the result: seconds per picture, and the ratios within every round."""
    ratios = sorted(one / other for one, other in zip(seconds, against, strict=True))
    ratio, limit = statistics.median(ratios), LIMITS.get(name)
    return {
        "case": name,
        "people": case.people,
        "batch": case.batch,
        "seconds": round(statistics.median(seconds), 4),
        "ratio": round(ratio, 3),
        "quartiles": [round(ratios[round(part * (len(ratios) - 1))], 3) for part in (0.25, 0.75)],
        "limit": limit,
        "within": None if limit is None else ratio <= limit,
    }


def clock_of(backbone: Backbone) -> Callable[[], float]:
    """Processor time on a CPU, wall time elsewhere (sampling ends with the pictures on the CPU)."""
    return time.process_time if backbone.device.type == "cpu" else time.perf_counter


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [f"{'':32} {'s/picture':>9} {'ratio':>7} {'quartiles':>15} {'limit':>7}"]
    for row in rows:
        limit = "" if row["limit"] is None else f"{row['limit']:7.3f}"
        mark = "" if row["within"] in (None, True) else "  above"
        low, high = row["quartiles"]
        spread = f"{low:.3f} .. {high:.3f}"
        lines.append(
            f"{row['case']:32} {row['seconds']:9.3f} {row['ratio']:7.3f} {spread:>15} {limit:>7}{mark}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
