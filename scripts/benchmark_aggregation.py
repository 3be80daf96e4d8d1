"""How long the results of a large run take: makes a run of many synthetic samples and aggregates it.

    python scripts/benchmark_aggregation.py [--samples 100000] [--folder FOLDER]

Prints JSON: seconds of wall and processor time and the most memory the process used while aggregating, in
a fresh process, with the targets (15 s, 1.5 GiB). Exit code 1 when one is missed. The samples have figures
from chance and no pictures; aggregation opens none.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.schema import SCHEMA, Row
from methods.files import save_json, write_atomic

SECONDS, GIBIBYTES = 15.0, 1.5
METHODS = ("none", "textual-inversion", "uniform", "spatialid", "facewise", "id-ea", "infinite-id", "pidiff")
METRICS = 40
PEOPLE = 200
CATEGORIES = ("Style", "Complex", "Accessory", "Action", "Attribute", "Clothing", "View", "Background")


def write_run(folder: Path, samples: int) -> int:
    """A run of about so many samples; returns how many."""
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
    written = 0

    def write(stream: object) -> None:
        nonlocal written
        for method in METHODS:
            plain = method == "none"
            for person in range(1 if plain else PEOPLE):
                for prompt in range(prompts):
                    stream.write(_row(rng, names, method, None if plain else person, prompt).to_line())  # type: ignore[attr-defined]
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
    )


def measure(folder: Path) -> dict[str, float]:
    """Aggregate in this process; seconds and the process's greatest memory in GiB."""
    from benchmarks.aggregate import aggregate

    wall, processor = time.perf_counter(), time.process_time()
    aggregate(folder)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux kibibytes
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "gibibytes": round(most / unit, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="keep the run here; one that is there is used again")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "samples.jsonl").is_file():
            write_run(folder, options.samples)
        with (folder / "samples.jsonl").open("rb") as file:
            count = sum(1 for _ in file)
        command = [sys.executable, __file__, "--measure", str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        targets = {"seconds": SECONDS, "gibibytes": GIBIBYTES}
        met = all(found[name] <= most for name, most in targets.items())
        size = round((folder / "samples.jsonl").stat().st_size / 2**20, 1)
        print(
            json.dumps(
                {"samples": count, "mebibytes": size, **found, "targets": targets, "met": met}, indent=2
            )
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
