"""The optimizers of a training: AdamW, or Muon for hidden matrices beside AdamW for everything else.

Muon (Jordan 2024; scaled to AdamW's step size as by Liu et al. 2025, arXiv 2502.16982) orthogonalises the
momentum of every weight matrix. On small budgets identity adapters learn several times faster by it.
"""

from __future__ import annotations

from collections.abc import Mapping

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


def make_optimizers(trained: Mapping[str, nn.Parameter], config: TrainConfig) -> list[Optimizer]:
    """Optimizers that share out the parameters, each in exactly one.

    By Muon learns what is named `weight` and has two dimensions; embeddings, stacks of matrices, norms, gates
    and biases learn by AdamW. One rate serves both: `match_rms_adamw` gives Muon's steps AdamW's size.
    """
    matrices: list[nn.Parameter] = []
    if config.optimizer == "muon":
        matrices = [p for name, p in trained.items() if p.ndim == 2 and name.rpartition(".")[2] == "weight"]
    chosen = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in trained.values() if id(parameter) not in chosen]
    made: list[Optimizer] = []
    if rest:
        made.append(
            torch.optim.AdamW(rest, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay)
        )
    if matrices:
        made.append(
            torch.optim.Muon(
                matrices, lr=config.rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    return made
