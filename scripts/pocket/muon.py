"""The optimizer of the pocket text-to-image model: Muon for matrices, AdamW for everything else.

Muon (Jordan 2024; scaled to AdamW's step size as in Liu et al. 2025, arXiv 2502.16982) orthogonalises the
momentum of every hidden weight matrix. That costs about 0.4 s a step here, on one core, so processes that
train together share the matrices out, and each hands its part to the others.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scripts.pocket.processes import join_processes

BETAS = (0.9, 0.98)
DECAY = 0.01
NOT_HIDDEN = ("embed", "conv_in", "conv_out")


class SharedMuon:
    """Muon over the hidden matrices of `modules`, AdamW over embeddings, ends, norms and biases.

    Convolutions count as matrices `[out, in * height * width]`. Works where `Course` wants an optimizer.

    Args:
        modules: all processes hold the same parameters and call `step` with the same gradients.
        rate: learning rate of both halves.
    """

    def __init__(self, modules: nn.Module, rate: float) -> None:
        self.rank, self.processes = join_processes()
        hidden, other = {}, []
        for name, parameter in modules.named_parameters():
            if parameter.ndim >= 2 and not any(part in name for part in NOT_HIDDEN):
                hidden[name] = parameter
            else:
                other.append(parameter)
        owners = _share_out({name: p.numel() for name, p in hidden.items()}, self.processes)
        self._parts = [[hidden[name] for name in part] for part in owners]
        self._mine = {name: hidden[name] for name in owners[self.rank]}
        self._matrices = {name: nn.Parameter(p.data.flatten(1)) for name, p in self._mine.items()}
        self._muon = torch.optim.Muon(
            list(self._matrices.values()), lr=rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW(other, lr=rate, betas=BETAS, weight_decay=DECAY)
        self._all = [*hidden.values(), *other]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both halves, whose `lr` a schedule sets."""
        return [*self._muon.param_groups, *self._adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in self._all:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update this process's matrices, then take over what the other processes updated."""
        for name, matrix in self._matrices.items():
            gradient = self._mine[name].grad
            matrix.grad = None if gradient is None else gradient.flatten(1)
        self._muon.step()
        self._adamw.step()
        if self.processes == 1:
            return
        for owner, part in enumerate(self._parts):
            flat = torch.cat([p.data.flatten() for p in part])
            dist.broadcast(flat, src=owner)
            if owner != self.rank:
                for p, piece in zip(part, flat.split([p.numel() for p in part]), strict=True):
                    p.data.copy_(piece.view_as(p))

    def state_dict(self) -> dict[str, Any]:
        """AdamW's state and the momentum of this process's matrices by name."""
        momentum = {
            name: self._muon.state[matrix]["momentum_buffer"]
            for name, matrix in self._matrices.items()
            if matrix in self._muon.state
        }
        return {"adamw": self._adamw.state_dict(), "momentum": momentum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; matrices whose momentum another process kept start at rest."""
        self._adamw.load_state_dict(state["adamw"])
        for name, matrix in self._matrices.items():
            if name in state["momentum"]:
                kept: Tensor = state["momentum"][name]
                self._muon.state[matrix]["momentum_buffer"] = kept.to(matrix.device, copy=True)


def _share_out(sizes: dict[str, int], parts: int) -> list[list[str]]:
    """Names in `parts` lists of about equal total size, the same in every process."""
    shares: list[list[str]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        lightest = loads.index(min(loads))
        shares[lightest].append(name)
        loads[lightest] += sizes[name]
    return shares
