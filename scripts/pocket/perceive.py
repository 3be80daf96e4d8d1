"""Perception stages beside the others: they need processors while these need the accelerator."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from methods.errors import SpidError

AFTER = {"stylespace": "recogniser"}


def beside(names: list[str], minutes: float, *, work: Path, weights: Path, seed: int) -> Callable[[], None]:
    """Start the stages as processes of their own, `minutes` for each chain; the result waits for all of them.

    A stage that needs another one's weights follows it and shares its time. The wait raises SpidError when a
    stage failed, naming its log.
    """
    chains: dict[str, list[str]] = {name: [name] for name in names if AFTER.get(name) not in names}
    for name in names:
        if AFTER.get(name) in chains:
            chains[AFTER[name]].append(name)
    threads_each = max(1, (os.cpu_count() or 1) // max(1, len(chains)))
    failed: list[str] = []

    def follow(chain: list[str]) -> None:
        for name in chain:
            log = work / f"{name}.log"
            command = [sys.executable, str(Path(__file__).resolve().parents[1] / "train_pocket.py"), name]
            command += ["--minutes", f"{minutes / len(chain):.3f}", "--seed", str(seed)]
            command += ["--work", str(work), "--weights", str(weights)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads_each), "CUDA_VISIBLE_DEVICES": ""}
            with log.open("w") as stream:
                done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
            if done.returncode:
                failed.append(str(log))
                return

    threads = [threading.Thread(target=follow, args=(chain,), daemon=True) for chain in chains.values()]
    for thread in threads:
        thread.start()

    def wait() -> None:
        for thread in threads:
            thread.join()
        if failed:
            raise SpidError(
                f"A stage of perception failed; its log is {failed[0]}.", hint="Run it by itself."
            )

    return wait
