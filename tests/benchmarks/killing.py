"""Kills a run at random file operations and runs it again, until it has died `deaths` times.

    python killing.py REQUEST.json FOLDER DEATHS          prints the folders of complete runs, one a line

A request of `bench`, or {"scored": FOLDER, ...} with the arguments of `score`. In every other folder a bench
computes metrics beside the sampling, as on a GPU.

A process of its own, because every run is a fork of it: it has no threads and no loaded models, which a fork
of the testing process would inherit half-alive. It imports what a run imports, so that the forks need not.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from folders import pictures

from benchmarks import line
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.score import score
from benchmarks.score_read import read_folder
from methods.compat import ensure_torchvision

LARGE = (
    "transformers.models.clip.modeling_clip",
    "diffusers.models.autoencoders.autoencoder_kl",
    "methods.backbone.families.unet",
)
Work = Callable[[Path], bool]
"""Makes a run in a folder; whether it is complete."""


def work_of(asked: dict[str, Any]) -> Work:
    if "scored" not in asked:
        request = Request.from_dict(asked)
        return lambda folder: bench(request, folder).complete
    pictures = read_folder(Path(asked.pop("scored")), None, None)
    return lambda folder: bool(score(pictures, folder, **asked))


def import_what_a_run_imports(work: Work, folder: Path) -> None:
    """Learn the modules from one uninterrupted run in a fork, then import them here in the same order."""
    ensure_torchvision()
    for name in LARGE:  # before the first fork, which need not import them for itself
        importlib.import_module(name)
    names = folder.parent / "modules.json"

    def learn() -> int:
        work(folder)
        names.write_text(json.dumps(list(sys.modules)))
        return 0

    if forked(learn):
        raise SystemExit("the uninterrupted run failed")
    for name in json.loads(names.read_text()):
        with contextlib.suppress(Exception):  # some modules exist only under their packages' own hands
            importlib.import_module(name)


def forked(work: Callable[[], int]) -> int:
    """Wait status of a fork that exits with what `work` returns, or with 1 and a traceback."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def killed_after(events: int, work: Work, folder: Path) -> bool:
    """Do the work in a fork that kills itself before its n-th file operation below `folder`."""
    left = events

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def run() -> int:
        sys.addaudithook(watch)
        return 0 if work(folder) else 3

    status = forked(run)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"a run ended with {os.waitstatus_to_exitcode(status)} instead of completing")
    return False


def tear(folder: Path, rng: random.Random) -> None:
    """What a crash of the machine may do: the end of a journal, or of a picture, never reached the disk."""
    for file in (folder / "samples.jsonl", folder / "timings.jsonl", *pictures(folder)[-1:]):
        if file.is_file() and rng.random() < 0.5:
            os.truncate(file, rng.randint(0, file.stat().st_size))


def main(asked: Path, root: Path, wanted: int) -> None:
    work = work_of(json.loads(asked.read_text()))
    rng = random.Random(wanted)
    (root / "whole").mkdir()
    import_what_a_run_imports(work, root / "whole" / "run")
    print(root / "whole" / "run", flush=True)
    deaths, folder, beside = 0, root / "kill-0" / "run", True
    line.ALONE, line.overlaps = 0, lambda backbone: beside
    while deaths < wanted:
        if killed_after(rng.randint(1, 48), work, folder):
            deaths += 1
            if rng.random() < 0.5:
                tear(folder, rng)
        else:
            print(folder, flush=True)
            folder, beside = root / f"kill-{deaths}" / "run", not beside
    killed_after(10**9, work, folder)
    print(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
