"""The optimizers of a training: AdamW, or Muon for hidden matrices beside AdamW for everything else.

Muon (Jordan 2024; scaled to AdamW's step size as by Liu et al. 2025, arXiv 2502.16982) orthogonalises the
momentum of every weight matrix: fewer steps, each of which costs more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from methods.errors import UsageError
from methods.training.config import TrainConfig


def check_optimizer(config: TrainConfig) -> None:
    """Raise UsageError for an optimizer that this torch does not have."""
    if config.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise UsageError(
            f"optimizer: muon needs torch 2.9 or newer, this is {torch.__version__}.",
            hint="Take optimizer: adamw, or install a newer torch.",
        )


def make_optimizers(
    trained: Mapping[str, nn.Parameter], config: TrainConfig, rates: Mapping[str, float] | None = None
) -> list[Optimizer]:
    """Optimizers that share out the parameters, each in exactly one; a group's `factor` multiplies its rate.

    By Muon learns what is named `weight` and has two dimensions; embeddings, stacks of matrices, norms, gates
    and biases learn by AdamW. One rate serves both: `match_rms_adamw` gives Muon's steps AdamW's size.
    rates: factors by last part of a parameter's name (`TrainingTask.rates`)
    """
    adamw: dict[float, list[nn.Parameter]] = {}
    muon: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        last = name.rpartition(".")[2]
        matrix = parameter.ndim == 2 and last == "weight" and config.optimizer == "muon"
        factor = (rates or {}).get(last, 1.0)
        (muon if matrix else adamw).setdefault(factor, []).append(parameter)
    made: list[Optimizer] = []
    decay = config.weight_decay
    if adamw:
        made.append(torch.optim.AdamW(_groups(adamw), lr=config.rate, betas=config.betas, weight_decay=decay))
    if muon:
        made.append(
            torch.optim.Muon(
                _groups(muon), lr=config.rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return made


def _groups(parameters: Mapping[float, list[nn.Parameter]]) -> list[dict[str, Any]]:
    return [{"params": own, "factor": factor} for factor, own in parameters.items()]
