"""A run on machines that somebody else hands out: Slurm jobs through submitit, actors of a Ray cluster.

Both only start processes that take their work from the folder of the run (`taking`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.request import Request
from benchmarks.shards import start_child
from methods.errors import MissingDependencyError, SpidError, UsageError
from methods.paths import user_path

if TYPE_CHECKING:
    from benchmarks.runner import Outcome

# ------------------------------------------------------------- Slurm
_OURS = ("array", "dependency", "requeue")
"""Options of sbatch that the launch itself decides."""


@dataclass(frozen=True)
class Command:
    """A command as a job of submitit, which pickles nothing but this list of words."""

    words: tuple[str, ...]

    def __call__(self) -> int:
        """Run it; 0, or 1 where samples failed, which is a result. Raises CalledProcessError otherwise."""
        code = start_child(self.words, {}).wait()
        if code not in (0, 1):
            raise subprocess.CalledProcessError(code, self.words)
        return code

    def checkpoint(self) -> Any:
        """What a job that is preempted or out of time is put into the queue as: the same, which goes on."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass(frozen=True)
class Submitted:
    """jobs: submitit's, of the array; merge: that which runs when they have ended; logs: folder."""

    jobs: list[Any]
    merge: Any
    logs: Path


def submit(
    command: Sequence[str],
    logs: Path,
    jobs: int,
    options: Mapping[str, str],
    *,
    cluster: str = "slurm",
) -> Submitted:
    """An array of `jobs` equal jobs and one more after them, which does what they left and prints the tables.

    command:   what every job runs
    logs:      folder for scripts and logs, on a file system that the nodes share
    options:   of sbatch by name, such as partition, time (minutes), gpus_per_node, account
    cluster:   `slurm`, or submitit's `local`, which runs them as processes of this machine

    Raises MissingDependencyError without submitit, UsageError without sbatch or for an option that is ours.
    """
    submitit = _imported("submitit", "slurm")
    if cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UsageError("--launch slurm: no sbatch here.", hint="Run it on a login node of the cluster.")
    for name in options:
        if name in _OURS:
            raise UsageError(f"--slurm {name}: the launch sets it itself.", hint="Leave it out.")

    def executor(**more: Any) -> Any:
        made = submitit.AutoExecutor(folder=str(logs / "%j"), cluster=cluster)
        made.update_parameters(name=f"spid-{logs.parent.name}", timeout_min=_minutes(options), **more)
        return made

    logs.mkdir(parents=True, exist_ok=True)
    job = Command(tuple(command))
    given = _slurm_options(options) if cluster == "slurm" else {}
    array = {"slurm_array_parallelism": jobs} if cluster == "slurm" else {}
    started = executor(**given, **array).submit_array([job] * jobs)
    after = {}
    if cluster == "slurm":
        after = {"slurm_dependency": f"afterany:{started[0].job_id.partition('_')[0]}"}
    merge = executor(**given, **after).submit(job)
    return Submitted(started, merge, logs)


def _slurm_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Options of sbatch as submitit takes them; a job that is preempted goes back into the queue."""
    from submitit.slurm.slurm import SlurmExecutor

    known = set(SlurmExecutor._valid_parameters()) - {"additional_parameters", "time"}
    named = {f"slurm_{name}": value for name, value in options.items() if name in known}
    others = {name: value for name, value in options.items() if name not in known and name != "time"}
    return {**named, "slurm_additional_parameters": {**others, "requeue": True}}


def _minutes(options: Mapping[str, str]) -> int:
    text = options.get("time", "240")
    if not text.isdigit() or int(text) == 0:
        raise UsageError(
            f"--slurm time={text}: not a number of minutes.", hint="For example: --slurm time=240"
        )
    return int(text)


# ------------------------------------------------------------- Ray
class Worker:
    """An actor: one process with the models loaded once, at work on a run until all of it is there."""

    def work(
        self,
        request: dict[str, Any],
        folder: str,
        root: str,
        number: int,
        count: int,
        keep_going: bool,
        read_all: bool,
    ) -> Outcome:
        """`runner.bench` in the folder where the command was given, by worker `number` of `count`."""
        from benchmarks.live import PlainLines
        from benchmarks.runner import bench

        os.chdir(root)
        return bench(
            Request.from_dict(request),
            folder,
            keep_going=keep_going,
            read_all=read_all,
            observer=PlainLines(label=f"[{number}/{count}] ", hands=count),
        )


def run_on_ray(
    request: Request,
    folder: Path,
    *,
    address: str | None = None,
    jobs: int | None = None,
    keep_going: bool = False,
    read_all: bool = False,
    note: Callable[[str], object] = lambda text: None,
) -> Outcome:
    """The run by one actor a GPU of the cluster, or `jobs` actors of a CPU slot each where it has no GPU.

    address: of a cluster; None starts one on this machine and ends it afterwards
    jobs:    how many actors; None for one a GPU, and without GPUs one a CPU

    What a worker leaves that is killed, the others do. The folder must be one that all machines see.

    Raises SpidError when every worker died, what a worker raised (UsageError, StoppedError) otherwise,
    MissingDependencyError without Ray.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    ray = _imported("ray", "ray")
    ray.init(address=address, include_dashboard=False, logging_level="warning")
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = jobs or gpus or int(resources.get("CPU", 1))
        slot = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        note(f"{count} workers on {len(ray.nodes())} machines, {gpus} GPUs")
        actor = ray.remote(**slot)(Worker)
        root = str(user_path(request.root or ".").absolute())
        workers = [actor.remote() for _ in range(count)]
        left = {
            worker.work.remote(
                request.as_dict(), str(folder.absolute()), root, number, count, keep_going, read_all
            ): number
            for number, worker in enumerate(workers, start=1)
        }
        outcome: Outcome | None = None
        while left:
            done, _ = ray.wait(list(left))
            number = left.pop(done[0])
            try:
                outcome = ray.get(done[0])
            except ray.exceptions.RayActorError:
                note(f"worker {number}/{count} died; others do what it left")
            except ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, SpidError) else error) from None
        if outcome is None:
            raise SpidError("Every Ray worker died.", hint="The same command goes on where they were.")
        return outcome
    finally:
        ray.shutdown()


def _imported(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"--launch {extra} needs {name}.", hint=f'{sys.executable} -m pip install "spid[{extra}]"'
        ) from error
