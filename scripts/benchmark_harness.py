"""What the harness itself costs, as JSON on stdout.

    python scripts/benchmark_harness.py overhead [--limit 8] [--methods none,uniform]
    python scripts/benchmark_harness.py resume [--samples 100000]

overhead: a run of the pocket suite; the share of its wall clock that is neither denoising, decoding, metric
forwards nor encoding of identities, with loading left out. resume: how long a run of that many finished
samples (synthetic rows and pictures) takes to be scanned, and at what peak memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


class Stopwatch:
    """Wall clock from the first block to the end of the last, by listening to the run."""

    def __init__(self) -> None:
        from benchmarks.live import Observer

        watch = self

        class Listener(Observer):
            def begin(self, *arguments: Any) -> None:
                super().begin(*arguments)
                watch.begun = time.perf_counter()

            def recorded(self, *arguments: Any) -> None:
                super().recorded(*arguments)
                watch.ended = time.perf_counter()

        self.begun = self.ended = 0.0
        self.observer = Listener()


def overhead(limit: int, methods: tuple[str, ...]) -> dict[str, Any]:
    """Share of a run's sampling time that belongs to the harness; loading metric models counts as metrics."""
    from benchmarks.request import Request
    from benchmarks.runner import bench

    with tempfile.TemporaryDirectory() as name:
        os.environ["SPID_CACHE"] = f"{name}/cache"
        watch = Stopwatch()
        outcome = bench(Request("pocket", methods, limit=limit), Path(name) / "run", observer=watch.observer)
        wall = watch.ended - watch.begun
        work = {key: outcome.seconds[key] for key in ("denoise", "decode", "metrics", "encode")}
        samples = sum(outcome.counts.values())
        started = time.perf_counter()
        bench(Request("pocket", methods, limit=limit), Path(name) / "run")
        cached = time.perf_counter() - started
    return {
        "suite": "pocket",
        "methods": list(methods),
        "samples": samples,
        "wall_s": round(wall, 2),
        **{f"{key}_s": round(value, 2) for key, value in work.items()},
        "overhead_share": round(1 - sum(work.values()) / wall, 4),
        "overhead_ms_per_sample": round(1000 * (wall - sum(work.values())) / samples, 2),
        "finished_run_again_s": round(cached, 2),
    }


def synthetic(folder: Path, count: int) -> list[str]:
    """A finished run of `count` rows with small pictures; the ids."""
    from benchmarks.schema import Row
    from benchmarks.store import RunFolder

    run = RunFolder(folder)
    names = [f"metric_{number}" for number in range(40)]
    ids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    for prefix in sorted({one[:2] for one in ids}):
        (folder / "pictures" / prefix).mkdir(parents=True)
    with (folder / "samples.jsonl").open("wb") as journal:
        for number, identifier in enumerate(ids):
            data = b"picture " + identifier.encode()
            (folder / run.picture(identifier)).write_bytes(data)
            row = Row(
                identifier,
                f"method-{number % 8}",
                f"person-{number % 100}",
                f"prompt-{number % 41}",
                "a photo of a person in front of something that takes a few words to say",
                "Background",
                "set",
                0,
                picture=run.picture(identifier),
                baseline=ids[0],
                metrics={name: (number % 97) / 97 for name in names},
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
            )
            journal.write(row.to_line())
    return ids


def resume(count: int) -> dict[str, Any]:
    """Seconds to find that every sample is there, with and without reading the pictures."""
    from benchmarks.store import RunFolder

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        wanted = dict.fromkeys(synthetic(folder, count))
        run = RunFolder(folder)
        seconds = {}
        for label, hashes in (("sizes", False), ("hashes", True)):
            started, busy = time.perf_counter(), time.process_time()
            known = run.scan(wanted, hashes=hashes)
            seconds[f"{label}_s"] = round(time.perf_counter() - started, 2)
            seconds[f"{label}_cpu_s"] = round(time.process_time() - busy, 2)
            assert len(known) == count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"samples": count, **seconds, "peak_mib": round(peak)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overhead", "resume"))
    parser.add_argument("--limit", type=int, default=8, help="pairs per set of the pocket suite")
    parser.add_argument("--methods", default="none,uniform")
    parser.add_argument("--samples", type=int, default=100_000)
    options = parser.parse_args()
    if options.what == "overhead":
        figures = overhead(options.limit, tuple(options.methods.split(",")))
    else:
        figures = resume(options.samples)
    from methods.provenance import library_versions

    where = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "machine": platform.machine()}
    print(json.dumps({**figures, **where, "versions": library_versions()}, indent=2))


if __name__ == "__main__":
    main()
