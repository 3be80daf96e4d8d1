"""The processes of one training, through accelerate: one under plain python, several under its launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from methods.compat import ensure_torchvision
from methods.errors import UsageError

T = TypeVar("T")


class Processes:
    """Who we are among how many, and the few things that all do together.

    device: `auto` is what accelerate gives this process, `cpu` joins the processes on their CPUs
    """

    def __init__(self, device: str = "auto") -> None:
        ensure_torchvision()
        from accelerate import PartialState

        # without an accelerator the processes of a launcher join only when told that they are on CPUs
        on_cpu = device == "cpu" or (device == "auto" and not torch.accelerator.is_available())
        self._state = PartialState(cpu=on_cpu)
        self.index: int = self._state.process_index
        self.count: int = self._state.num_processes
        self.main: bool = self._state.is_main_process
        if device in ("auto", "cpu"):
            self.device: torch.device = self._state.device
        elif self.count > 1:
            raise UsageError(
                f"device is {device!r}, but {self.count} processes need one each.", hint="Write device: auto."
            )
        else:
            self.device = torch.device(device)

    def wait(self) -> None:
        """Go on when all are here."""
        self._state.wait_for_everyone()

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Everybody's entries, in the order of processes, for all."""
        from accelerate.utils import gather_object

        return list(gather_object(list(mine))) if self.count > 1 else list(mine)

    def mean(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars averaged over the processes."""
        if not terms:
            return {}
        values = self._reduce(torch.stack([value.detach().float().reshape(()) for value in terms.values()]))
        return dict(zip(terms, values.tolist(), strict=True))

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes; an absent one counts as zero."""
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        mean = self._reduce(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, piece in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(piece.view_as(gradient))

    @torch.no_grad()
    def share(self, module: nn.Module) -> None:
        """Give all processes the first one's weights."""
        if self.count > 1:
            from accelerate.utils import broadcast

            for tensor in module.state_dict().values():
                tensor.copy_(broadcast(tensor.clone(), from_process=0))

    def _reduce(self, tensor: Tensor) -> Tensor:
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        return reduce(tensor, reduction="mean")
