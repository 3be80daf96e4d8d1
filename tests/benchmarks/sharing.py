"""Four processes share a run, two of which are killed at random moments of their work, again and again.

    python sharing.py REQUEST.json FOLDER TIMES          prints the folders of complete runs, one a line

Forks like `killing.py`, and for its reasons.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from killing import import_what_a_run_imports, work_of

from benchmarks import plan
from benchmarks.live import Observer
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.store import RunFolder

PROCESSES, VICTIMS = 4, 2


class Doomed(Observer):
    """Kills its process at its n-th picture, before that picture has a row."""

    def __init__(self, pictures: int) -> None:
        self.left = pictures

    def sampled(self, method: str, count: int, seconds: float) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def start(request: Request, folder: Path, pictures: int | None) -> int:
    """A fork at work on the run; its number. pictures: as many as it makes before it dies, None for all."""
    if child := os.fork():
        return child
    code = 1
    try:
        code = 0 if bench(request, folder, observer=Doomed(pictures or 10**9)).complete else 3
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait_for_a_piece(folder: Path, child: int) -> None:
    """Until a process has taken a block of the run, or has ended."""
    leases = RunFolder(folder).leases.folder
    while not any(leases.glob("block-*")):
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.02)


def main(asked: Path, root: Path, times: int) -> None:
    content = json.loads(asked.read_text())
    request = Request.from_dict(content)
    rng = random.Random(times)
    plan.BLOCK = 2  # the run is small: more pieces than processes
    (root / "whole").mkdir()
    import_what_a_run_imports(work_of(content), root / "whole" / "run")
    print(root / "whole" / "run", flush=True)
    died = 0
    for number in range(times):
        folder = root / f"shared-{number}" / "run"
        # the others begin once the first, doomed, has a piece: else they may leave it none
        later = [rng.choice((1, 1, 2, 3)) for _ in range(VICTIMS - 1)] + [None] * (PROCESSES - VICTIMS)
        doomed = [1, *later]
        children = [start(request, folder, 1)]
        wait_for_a_piece(folder, children[0])
        children += [start(request, folder, pictures) for pictures in later]
        for child, pictures in zip(children, doomed, strict=True):
            status = os.waitpid(child, 0)[1]
            died += os.WIFSIGNALED(status)
            if not (os.WIFSIGNALED(status) and pictures) and os.waitstatus_to_exitcode(status) != 0:
                raise SystemExit(f"a process ended with {os.waitstatus_to_exitcode(status)}")
        print(folder, flush=True)
    if died < times:
        raise SystemExit(f"only {died} processes were killed: the test tested nothing")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
