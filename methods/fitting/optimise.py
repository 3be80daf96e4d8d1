"""The loop of every fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from methods.errors import NonFiniteError

Progress = Callable[[int, int], object]
"""Called after every step with (steps done, steps in all)."""


def optimise(
    groups: Sequence[Mapping[str, Any]],
    losses: Callable[[], dict[str, Tensor]],
    *,
    steps: int,
    progress: Progress | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> dict[str, Tensor]:
    """Minimise the sum of the terms that `losses` returns, by AdamW at constant rates.

    groups: AdamW's parameter groups, each with `params` and `lr`
    returns every term's values, float32 [steps]

    Raises NonFiniteError at the first step whose loss is not finite.
    """
    optimizer = torch.optim.AdamW(list(groups), betas=betas, eps=eps, weight_decay=weight_decay)  # type: ignore[arg-type]
    log: dict[str, list[float]] = {}
    for step in range(steps):
        terms = losses()
        total = torch.stack(list(terms.values())).sum()
        if not math.isfinite(total.item()):
            raise NonFiniteError(
                f"The loss was not finite at step {step + 1} of {steps}.",
                hint="Lower the rate of the fit (--set rate=...) or use --dtype float32.",
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        for name, value in terms.items():
            log.setdefault(name, []).append(value.item())
        if progress is not None:
            progress(step + 1, steps)
    return {f"log.{name}": torch.tensor(values) for name, values in log.items()}
