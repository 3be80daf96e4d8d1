"""What a large run costs once its samples are there: its results, and taking it up again.

Makes a run of many synthetic samples, with figures from chance and a small file for every picture, and prints
JSON of two measurements, each in a fresh process: `aggregation` of the finished run into results, tables and
parquet, and the scan by which `spid bench --resume` finds that nothing is missing (`resume`; by the pictures'
sizes, as for runs above 1 GiB, and by their hashes). Seconds are wall clock: on a busy machine an upper bound
only, so processor time and the machine's load stand beside them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks.schema import SCHEMA, Row
from methods.files import save_json, write_atomic
from methods.provenance import library_versions

BENCHMARK = str(Path(__file__).resolve().parents[1] / "benchmark.py")
TARGETS = {"aggregation": {"seconds": 10.0, "gibibytes": 0.6}, "resume": {"seconds": 5.0}}
METHODS = ("none", "textual-inversion", "uniform", "spatialid", "facewise", "id-ea", "infinite-id", "pidiff")
METRICS = 40
PEOPLE = 200
CATEGORIES = ("Style", "Complex", "Accessory", "Action", "Attribute", "Clothing", "View", "Background")


def write_run(folder: Path, samples: int) -> int:
    """A finished run of about so many samples; returns how many."""
    rng = np.random.default_rng(0)
    per_method = -(-samples // (len(METHODS) - 1))  # the plain backbone has few
    prompts = -(-per_method // PEOPLE)
    names = [f"metric_{index}" for index in range(METRICS)]
    cards = [
        {
            "name": name, "title": name, "direction": "higher", "range": [0.0, 1.0], "level": "sample",
            "available": True, "reason": None, "compat": None,
        }
        for name in names
    ]  # fmt: skip
    save_json(
        folder / "run.json",
        {
            "schema": SCHEMA,
            "suite": {"name": "synthetic", "version": "1", "description": ""},
            "methods": [{"name": method} for method in METHODS],
            "metrics": cards,
        },
    )
    for prefix in range(256):
        (folder / "pictures" / f"{prefix:02x}").mkdir(parents=True, exist_ok=True)
    written = 0

    def write(stream: IO[bytes]) -> None:
        nonlocal written
        for method in METHODS:
            plain = method == "none"
            for person in range(1 if plain else PEOPLE):
                for prompt in range(prompts):
                    row = _row(rng, names, method, None if plain else person, prompt)
                    stream.write(row.to_line())
                    (folder / str(row.picture)).write_bytes(row.id.encode())
                    written += 1

    write_atomic(folder / "samples.jsonl", write)
    return written


def _row(rng: np.random.Generator, names: list[str], method: str, person: int | None, prompt: int) -> Row:
    fingerprint = hashlib.sha256(f"{method} {person} {prompt}".encode()).hexdigest()
    values = rng.random(len(names)).round(6).tolist()
    found = rng.random() > 0.03
    missing = () if found else names[:4]
    return Row(
        id=fingerprint,
        method=method,
        identity=None if person is None else f"person-{person:04d}",
        prompt_id=f"prompt-{prompt:03d}",
        prompt=f"a photo of a person in place number {prompt}, wearing something plain, in daylight",
        category=CATEGORIES[prompt % len(CATEGORIES)],
        set="synthetic",
        seed=0,
        status="ok" if found else "no_face_gen",
        detail="" if found else "no face on any rung of the ladder",
        picture=f"pictures/{fingerprint[:2]}/{fingerprint}.png",
        reference=None if person is None else f"references/{person:064x}.png",
        baseline=None if person is None else hashlib.sha256(f"none None {prompt}".encode()).hexdigest(),
        metrics={name: None if name in missing else value for name, value in zip(names, values, strict=True)},
        notes=dict.fromkeys(missing, "no face"),
        truth={"scene": "beach", "style": "photo"},
        size=len(fingerprint),
        sha256=hashlib.sha256(fingerprint.encode()).hexdigest(),
    )


def aggregation(folder: Path) -> dict[str, float]:
    """Results, tables and parquet of the run."""
    from benchmarks.aggregate import aggregate

    return timed(lambda: aggregate(folder))


def resume(folder: Path) -> dict[str, float]:
    """What the scan of a finished run takes."""
    from benchmarks.store import RunFolder

    run = RunFolder(folder)
    with run.journal.open("rb") as lines:
        wanted = {json.loads(line)["id"]: None for line in lines}

    def scan(*, hashes: bool) -> None:
        if len(run.scan(wanted, hashes=hashes)) != len(wanted):
            raise SystemExit("the scan misses samples that are there")

    sizes, hashes = timed(lambda: scan(hashes=False)), timed(lambda: scan(hashes=True))
    return {
        **sizes,
        "seconds_with_hashes": hashes["seconds"],
        "processor_seconds_with_hashes": hashes["processor_seconds"],
    }


MEASUREMENTS = {"aggregation": aggregation, "resume": resume}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall and processor seconds of some work, and the most memory that this process has ever used."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    seconds = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
    }
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux kibibytes
    gibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {**{name: round(value, 2) for name, value in seconds.items()}, "gibibytes": round(gibibytes, 3)}


def measured(name: str, folder: Path) -> dict[str, Any]:
    """One measurement in a process of its own, with its targets and whether it met them."""
    command = [sys.executable, BENCHMARK, "aggregation", "--alone", name, "--folder", str(folder)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {**found, "targets": TARGETS[name], **judged(found, TARGETS[name])}


def judged(found: dict[str, float], targets: dict[str, float]) -> dict[str, bool]:
    """Whether the targets are met by the wall clock, and by what it would be if nobody else were at work."""
    alone = {**found, "seconds": found["processor_seconds"]}
    return {
        "met": all(found[key] <= most for key, most in targets.items()),
        "met_by_processor_time": all(alone[key] <= most for key, most in targets.items()),
    }


def run(samples: int, folder: Path | None) -> dict[str, Any]:
    """What results/aggregation.json holds. folder: keep the run there; one that is there is used again."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary)
        if not (folder / "samples.jsonl").is_file():
            write_run(folder, samples)
        with (folder / "samples.jsonl").open("rb") as file:
            count = sum(1 for _ in file)
        size = round((folder / "samples.jsonl").stat().st_size / 2**20, 1)
        found = {name: measured(name, folder) for name in MEASUREMENTS}
    where = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "machine": platform.machine()}
    met = all(one["met"] for one in found.values())
    return {
        "samples": count,
        "mebibytes": size,
        **found,
        **where,
        "met": met,
        "versions": library_versions(),
    }
