"""How `spid bench` works: here, as several processes, or on machines that Slurm or Ray hand out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from methods.paths import user_path
from spatialid_cli import console

if TYPE_CHECKING:
    from benchmarks.request import Request
    from benchmarks.runner import Outcome
    from benchmarks.store import Shard

ASKED = "request.json"
"""How processes learn what a command asks for, until run.json says it."""


@dataclass(frozen=True)
class How:
    """The flags of `spid bench` that say who works, not on what."""

    shard: str | None
    processes: int
    jitter: float
    launch: str | None
    jobs: int | None
    address: str | None
    slurm: Mapping[str, str]
    keep_going: bool
    verify: bool

    @property
    def flags(self) -> list[str]:
        """Those that every process gets."""
        named = (("--keep-going", self.keep_going), ("--verify", self.verify))
        jitter = ["--start-jitter", str(self.jitter)] if self.jitter else []
        return [*(flag for flag, given in named if given), *jitter]


def work(request: Request, folder: Path, how: How, *, as_json: bool) -> Outcome | None:
    """The run, or this process's part of it; None where jobs were submitted that will do it."""
    import random
    import time
    from dataclasses import replace

    from benchmarks.live import Observer, display
    from benchmarks.runner import bench
    from benchmarks.shards import Companions, end_with_parent, parse_shard, shard_of_environment
    from benchmarks.store import Shard

    end_with_parent()
    part = None if how.shard is None else parse_shard(how.shard)
    _check_how(how)
    if how.launch is not None:
        _check(request)
        if how.launch == "ray":
            return _on_ray(request, folder, how)
        _submit(request, folder, how, as_json)
        return None
    started = time.perf_counter()
    if how.jitter and how.processes == 1:
        time.sleep(random.uniform(0, how.jitter))
    process = part or (Shard(0, how.processes) if how.processes > 1 else shard_of_environment(os.environ))
    request = _on_own_device(request, process)
    # a share works alone on what is its own, a process of several takes its part of everything
    hands = 1 if part or process is None else process.count
    # one table on a terminal: the first process counts what the others did
    silent = sys.stderr.isatty() and process is not None and process.index > 0 and not part
    observer = Observer(hands) if silent else display("" if process is None else f"[{process}] ", hands)
    with Companions(_going_on(folder, how), how.processes, console.warn) as companions:
        outcome = bench(
            request,
            folder,
            shard=part,
            keep_going=how.keep_going,
            read_all=how.verify,
            observer=observer,
            begun=companions.start,
        )
    return replace(outcome, seconds={**outcome.seconds, "wall": time.perf_counter() - started})


def _check_how(how: How) -> None:
    from methods.errors import UsageError, unknown_name

    if how.processes > 1 and how.shard is not None:
        raise UsageError(
            "--num-processes shares out a run that is a share itself.", hint="Give one of the two."
        )
    if how.launch not in (None, "slurm", "ray"):
        raise unknown_name("--launch", how.launch, ("slurm", "ray"))
    if how.launch is not None and how.shard is not None:
        raise UsageError("--shard does not go with --launch.", hint="Leave out one of the two.")
    for launch, flag, given in (
        ("slurm", "--slurm or --partition", how.slurm),
        ("ray", "--address", how.address),
    ):
        if given and how.launch != launch:
            raise UsageError(f"{flag}: only with --launch {launch}.", hint="Leave it out.")
    if how.launch is None and how.jobs is not None:
        raise UsageError("--jobs is for --launch.", hint="On this machine give --num-processes.")
    if how.launch is not None and how.processes > 1:
        raise UsageError("--num-processes is for this machine.", hint="With --launch give --jobs.")
    if how.launch == "slurm" and how.jobs is None:
        raise UsageError("--launch slurm does not know how many jobs.", hint="Give --jobs 8, for instance.")


def _check(request: Request) -> None:
    """Refuse in one line, not in one per process."""
    from benchmarks.request import choose_methods
    from benchmarks.suites import load_suite

    suite = load_suite(request.suite, data=request.data, sets=request.sets)
    choose_methods(request.methods, suite.methods)


def _going_on(folder: Path, how: How) -> list[str]:
    """The command of another process that works on the run in `folder`."""
    program = [sys.executable, "-m", "spatialid_cli.app"]
    return [*program, "bench", "--resume", "--output", str(folder), *how.flags]


def _submit(request: Request, folder: Path, how: How, as_json: bool) -> None:
    from benchmarks.launch import submit
    from methods.files import save_json

    folder = user_path(folder).absolute()
    assert how.jobs is not None
    logs = folder.with_name(f"{folder.name}-jobs")
    save_json(folder / ASKED, request.as_dict())
    try:
        made = submit(_going_on(folder, how), logs, how.jobs, how.slurm)
    except BaseException:
        (folder / ASKED).unlink(missing_ok=True)
        raise
    jobs, merge = [job.job_id for job in made.jobs], made.merge.job_id
    if as_json:
        console.out_json({"output": str(folder), "jobs": jobs, "merge": merge, "logs": str(logs)})
    else:
        console.out_fields({"folder": str(folder), "jobs": ", ".join(jobs), "then": merge, "logs": str(logs)})
    console.log(f"see it: squeue --me, then spid report {folder}")


def _on_ray(request: Request, folder: Path, how: How) -> Outcome:
    from benchmarks.launch import run_on_ray

    return run_on_ray(
        request,
        folder,
        address=how.address,
        jobs=how.jobs,
        keep_going=how.keep_going,
        read_all=how.verify,
        note=console.log,
    )


def _on_own_device(request: Request, part: Shard | None) -> Request:
    """With several devices in sight and none named, the one that the launcher meant for this process."""
    from dataclasses import replace

    if part is None or request.backbone.get("device"):
        return request
    import torch

    from benchmarks.shards import device_of_environment

    device = device_of_environment(os.environ, torch.cuda.device_count())
    return request if device is None else replace(request, backbone={**request.backbone, "device": device})
