"""Which target and which reference sample number n of a training is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from methods.errors import UsageError
from methods.learning.task import Batch
from methods.training.features import FeatureStore
from methods.training.sources import Source

_ORDER, _DRAW = 1, 2  # kinds of random numbers


@dataclass(frozen=True)
class Pair:
    """Numbers of two pictures of one person, and the prompt of the target."""

    target: int
    reference: int
    prompt: str

    @property
    def same(self) -> bool:
        """Whether they are one picture."""
        return self.target == self.reference


class Pairs:
    """The endless list of samples: every target once per epoch, in an order drawn anew for each.

    same_share: how often the reference is the target itself; otherwise it is another picture of the person.
    Entry n depends on n, the seed and the usable pictures alone.
    """

    def __init__(self, source: Source, usable: Collection[int], same_share: float, seed: int) -> None:
        self.source, self.same_share, self.seed = source, same_share, seed
        self._references: dict[str, list[int]] = {}
        for number in usable:
            if source.is_reference(number):
                self._references.setdefault(source.identity(number), []).append(number)
        self.targets = [number for number in usable if self._serves(number)]
        if not self.targets:
            why = "no person has two usable pictures" if same_share == 0 else "no picture is usable"
            raise UsageError(f"There is nothing to train on: {why}.", hint="Add pictures of the same people.")
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __getitem__(self, sample: int) -> Pair:
        epoch, place = divmod(sample, len(self.targets))
        if epoch != self._epoch:
            rng = np.random.default_rng([self.seed, _ORDER, epoch])
            self._epoch, self._order = epoch, rng.permutation(len(self.targets))
        target = self.targets[int(self._order[place])]
        rng = np.random.default_rng([self.seed, _DRAW, sample])
        itself = self.source.is_reference(target) and rng.random() < self.same_share
        others = self._others(target)
        reference = target if itself or not others else others[int(rng.integers(len(others)))]
        return Pair(target, reference, self.source.prompt(target, rng))

    def batch(self, samples: Sequence[int], store: FeatureStore) -> Batch:
        """The samples with these numbers, features stacked, on the CPU."""
        pairs = [self[sample] for sample in samples]
        return Batch(
            target=store.stack([pair.target for pair in pairs]),
            reference=store.stack([pair.reference for pair in pairs]),
            prompts=[pair.prompt for pair in pairs],
            same=torch.tensor([pair.same for pair in pairs]),
        )

    def _others(self, target: int) -> list[int]:
        return [n for n in self._references.get(self.source.identity(target), ()) if n != target]

    def _serves(self, number: int) -> bool:
        if self._others(number):
            return True
        return self.same_share > 0 and self.source.is_reference(number)
