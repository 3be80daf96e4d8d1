"""Which process of a run this is: by flag, by the launcher's variables, or as a child of our own.

Processes that share a folder take their work from it (`taking`), so torchrun, accelerate launch, Slurm arrays
and steps all work as they are, whatever each gets done; their variables only give a process its name and its
device. `--shard` deals the work out beforehand, for machines that share no folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks.store import Shard
from methods.errors import UsageError

if TYPE_CHECKING:
    from typing import Self

_TIED = "SPID_ENDS_WITH_PARENT"
_NUMBER = "SPID_PROCESS"
_GRACE = 20.0
"""Seconds that an interrupted process has to leave its journal whole."""


def parse_shard(text: str) -> Shard:
    """`2/8` is the second of eight. Raises UsageError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text!r} is no share of a run.", hint="Give 1/8 to 8/8, for instance.")
    return Shard(int(match[1]) - 1, int(match[2]))


def shard_of_environment(environment: Mapping[str, str]) -> Shard | None:
    """Which of how many processes this one is to its launcher, None when it runs alone.

    Ours; RANK and WORLD_SIZE (torchrun, accelerate launch); SLURM_ARRAY_TASK_ID with _MIN, _STEP and _COUNT
    (sbatch --array) and, within it or alone, SLURM_PROCID with SLURM_STEP_NUM_TASKS (srun).
    """

    def number(name: str, default: int) -> int:
        value = environment.get(name, "")
        return int(value) if value.isdigit() else default

    if _NUMBER in environment:
        return parse_shard(environment[_NUMBER])
    if number("WORLD_SIZE", 1) > 1:
        return Shard(number("RANK", 0), number("WORLD_SIZE", 1))
    tasks, task = number("SLURM_STEP_NUM_TASKS", 1), number("SLURM_PROCID", 0)
    index, count = 0, 1
    if "SLURM_ARRAY_TASK_ID" in environment:
        first, step = number("SLURM_ARRAY_TASK_MIN", 0), number("SLURM_ARRAY_TASK_STEP", 1)
        index = (number("SLURM_ARRAY_TASK_ID", 0) - first) // max(step, 1)
        count = number("SLURM_ARRAY_TASK_COUNT", 1)
    if tasks <= 1:
        task, tasks = 0, 1
    return Shard(index * tasks + task, count * tasks) if count * tasks > 1 else None


def device_of_environment(environment: Mapping[str, str], devices: int) -> str | None:
    """`cuda:N` by LOCAL_RANK or SLURM_LOCALID where the process sees several devices, else None."""
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        if devices > 1 and environment.get(name, "").isdigit():
            return f"cuda:{int(environment[name]) % devices}"
    return None


class Companions:
    """Further processes of this machine at work on the run of ours, which is the first of `count`.

    Where there are several CUDA devices, they are dealt out in turn. What companions print is dropped, what
    they log is not: the answer is ours. Left early, by an interrupt too, they stop with their journals whole.
    """

    def __init__(self, command: Sequence[str], count: int, note: Callable[[str], object]) -> None:
        self._command, self._count, self._note = command, count, note
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Call them, once the run's description is on the disk."""
        if self._count == 1:  # nobody to call, and no devices to ask for
            return
        devices = _visible_devices()
        for index in range(1, self._count):
            environment = {_NUMBER: f"{index + 1}/{self._count}"}
            if len(devices) > 1:
                environment["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
            self._processes.append(start_child(self._command, environment, stdout=subprocess.DEVNULL))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for process in self._processes:
                process.terminate()
        codes = [process.wait() for process in self._processes]
        if error is None:
            for line in unusual_ends(codes):
                self._note(line)


def unusual_ends(codes: Sequence[int]) -> list[str]:
    """A line on every companion that was killed or could not begin; 1 says that samples failed."""
    count = len(codes) + 1
    return [
        f"process {number}/{count} "
        + (f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")
        + "; others do what it left"
        for number, code in enumerate(codes, start=2)
        if code not in (0, 1)
    ]


def start_child(
    command: Sequence[str], environment: Mapping[str, str], *, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """A command of ours as a process that ends with this one; `environment` is added to ours."""
    return subprocess.Popen(
        list(command),
        env={**os.environ, **environment, _TIED: "1"},
        stdin=subprocess.PIPE,
        stdout=stdout,
    )


def end_with_parent() -> None:
    """In a companion: stop, journal whole, when the parent is gone, however it ended.

    The parent holds the other end of our standard input, and the system closes it with the parent.
    """
    if not os.environ.pop(_TIED, None) or sys.stdin is None:
        return

    handle = sys.stdin.fileno()
    # in the background, as under nohup, interrupts are inherited as ignored: the journal would be cut
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def wait() -> None:
        while os.read(handle, 1):  # not through the stream's buffer, whose lock would outlive the main thread
            pass
        os.kill(os.getpid(), signal.SIGINT)  # also wakes a call that sleeps or waits
        time.sleep(_GRACE)
        os._exit(130)

    threading.Thread(target=wait, daemon=True).start()


def _visible_devices() -> list[str]:
    import torch

    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]
