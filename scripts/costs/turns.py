"""Runs that take turns, and the ratios of their times within a round: what a busy machine disturbs least."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Clock = Callable[[], float]


def clock_of(device: torch.device) -> Clock:
    """Processor time on a CPU, so that other work disturbs least; wall time of finished work elsewhere."""
    if device.type != "cuda":
        return time.process_time if device.type == "cpu" else time.perf_counter

    def finished() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return finished


def take_turns(
    cases: Mapping[str, Callable[[int], object]],
    *,
    rounds: int,
    clock: Clock,
    enough: Callable[[], bool] = lambda: False,
) -> dict[str, list[float]]:
    """Seconds of every case in every round; cases run forwards and backwards in turn.

    Each case is called with the number of the round, 0 for the first that warms up.

    enough: asked after every round but the first that warms up: whether to stop before all `rounds` are done
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name in list(cases) if turn % 2 else list(cases)[::-1]:
            started = clock()
            cases[name](turn)
            if turn:
                seconds[name].append(clock() - started)
        if turn and enough():
            break
    return seconds


def ratio(seconds: Sequence[float], against: Sequence[float], limit: float | None = None) -> dict[str, Any]:
    """Median and quartiles of the ratios within rounds, the limit, and whether the median keeps it."""
    ratios = sorted(one / other for one, other in zip(seconds, against, strict=True))
    middle = statistics.median(ratios)
    return {
        "seconds": round(statistics.median(seconds), 5),
        "ratio": round(middle, 3),
        "quartiles": [round(ratios[round(part * (len(ratios) - 1))], 3) for part in (0.25, 0.75)],
        "limit": limit,
        "within": None if limit is None else middle <= limit,
    }
