"""Time and memory of `spid generate` on the pocket models, as JSON on stdout.

cold_start_s, cold_start_peak_mib: from a new process to one written picture, wall clock and peak resident
memory. sampling_s: 25 steps of one picture with guidance in a warm process, without loading. Medians.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PROMPT = "a photo of a {person} at the beach, wearing a red t-shirt"
STEPS = 25


def cold_start(reference: Path, folder: Path) -> tuple[float, float]:
    """Seconds and MiB of one `spid generate` in a process of its own, nothing analysed before."""
    command = [
        sys.executable, "-m", "spatialid_cli.app", "generate", "--method", "spatialid",
        "--reference", str(reference), "--prompt", PROMPT, "--steps", str(STEPS),
        "--output", str(folder / "out"),
    ]  # fmt: skip
    environment = {**os.environ, "SPID_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    with (folder / "log").open("wb") as log:
        actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        child = os.posix_spawn(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit((folder / "log").read_text())
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return seconds, usage.ru_maxrss / unit


def sampling(repeats: int, reference: Path) -> dict[str, list[float]]:
    """Seconds of sampling one picture by method, loading and the first (warming) picture left out."""
    import torch

    from methods.backbone.load import load_backbone
    from methods.faces import analyse, load_encoder
    from methods.hooks import Identity, Job
    from methods.registry import get_method
    from methods.sampling import sample

    backbone = load_backbone("pocket", device="cpu")
    face = analyse(reference, load_encoder("pocket"), cache=False)
    identity = Identity("person", torch.from_numpy(face.embedding), (str(reference),), face)
    width, height = backbone.default_size
    job = Job(
        PROMPT.format(person="person"),
        width,
        height,
        backbone.defaults.guidance,
        identity=identity,
        steps=STEPS,
    )
    seconds: dict[str, list[float]] = {}
    for name in ("none", "uniform", "spatialid"):
        method = get_method(name).load(None, backbone)
        sample(backbone, [job], method)
        for _ in range(repeats):
            started = time.perf_counter()
            sample(backbone, [job], method)
            seconds.setdefault(name, []).append(time.perf_counter() - started)
    return seconds


def run(repeats: int) -> dict[str, Any]:
    """What results/generate.json holds."""
    from methods.provenance import library_versions
    from spatialid_cli.app import main as spid

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SPID_CACHE"] = str(folder / "cache")
        sys.stdout, stdout = sys.stderr, sys.stdout
        code = spid(["render", "--person", "7", "--output", str(folder / "people")])
        sys.stdout = stdout
        if code != 0:
            raise SystemExit(code)
        reference = folder / "people" / "person-0007.png"
        runs = []
        for number in range(repeats):
            (folder / str(number)).mkdir()
            runs.append(cold_start(reference, folder / str(number)))
        sampled = sampling(repeats, reference)
    import torch

    return {
        "repeats": repeats,
        "steps": STEPS,
        "cold_start_s": round(statistics.median(seconds for seconds, _ in runs), 2),
        "cold_start_peak_mib": round(statistics.median(mib for _, mib in runs)),
        "sampling_s": {name: round(statistics.median(times), 3) for name, times in sampled.items()},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "versions": library_versions(),
    }
