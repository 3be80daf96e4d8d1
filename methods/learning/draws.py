"""Random numbers that belong to a sample, not to a process.

Sample number n of a training draws the same numbers whichever process works on it, in whichever batch, and
after whichever interruption. So two processes with batch B train like one with 2 B, and the state of the
random numbers is nothing but the number of the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from methods.backbone.noise import Noise, Noised


def generator_seed(*key: int) -> int:
    """A 63-bit seed that depends on every number of the key (non-negative integers)."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


class SampleRng:
    """One stream of random numbers per sample of a batch; every call draws on from all of them.

    Drawn on the CPU, so that all devices see the same numbers, and moved to `device`.
    """

    def __init__(
        self,
        seed: int,
        numbers: Sequence[int],
        *,
        batch: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """numbers: of the samples in the whole training; batch: samples per optimizer step, all processes."""
        self.numbers = tuple(numbers)
        self.batch = len(self.numbers) if batch is None else batch
        self.device = torch.device(device)
        self._generators = [torch.Generator().manual_seed(generator_seed(seed, n)) for n in self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, float32 [B, *shape]."""
        return self._stack([torch.randn(shape, generator=one) for one in self._generators])

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 [B, *shape]; without arguments [B]."""
        return self._stack([torch.rand(shape, generator=one) for one in self._generators])

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform in 0 .. high - 1, int64 [B, *shape]; without arguments [B]."""
        return self._stack([torch.randint(high, shape, generator=one) for one in self._generators])

    def levels(self) -> Tensor:
        """Uniform in [0, 1), float32 [B] on the CPU, stratified over all samples of the optimizer step.

        For noise levels: every step sees all of them evenly, which lowers the variance of the loss.
        """
        places = torch.tensor([n % self.batch for n in self.numbers])
        drawn = torch.stack([torch.rand((), generator=one) for one in self._generators])
        return ((places + drawn) / self.batch).clamp(max=1 - 2**-24)

    def noised(self, noise: Noise, clean: Tensor) -> Noised:
        """Clean latents [B, C, h, w] noised to `levels`, by a backbone's forward process."""
        levels = self.levels()
        return noise.noised(clean, self.normal(*clean.shape[1:]), levels)

    def drops(self, share: float) -> tuple[Tensor, list[bool]]:
        """Which samples lose their identity, bool [B], and which their words, a list of B.

        `share` of them loses the identity alone, as many both, and as many the words alone.
        """
        drawn = self.uniform()
        return drawn < 2 * share, ((drawn >= share) & (drawn < 3 * share)).tolist()

    def _stack(self, drawn: list[Tensor]) -> Tensor:
        return torch.stack(drawn).to(self.device)
