"""The fits that a run has still to make: pieces of work of their own where several processes share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.plan import Block, Sample
from methods.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.made import Trouble
    from methods.backbone.backbone import Backbone
    from methods.contract import Method
    from methods.hooks import Identity

Fit = tuple[str, str]
"""Label of a method, content of a person."""


class Fits:
    """What `blocks` need that no cache knew when the work began.

    people: what became of every reference, by its content
    left:   every fit that is missing, with a sample that needs it; the longest first
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        people: Mapping[str, Identity | Trouble],
        backbone: Backbone,
        blocks: Sequence[Block],
    ) -> None:
        self._methods, self._people, self._backbone = methods, people, backbone
        missing: dict[Fit, bool] = {}  # everybody once: to look for a fit is to describe it
        found: dict[Fit, Sample] = {}
        for sample in (sample for block in blocks for sample in block.samples):
            if (fit := _fit(sample)) is None or fit in found:
                continue
            if fit not in missing:
                missing[fit] = self._missing(fit)
            if missing[fit] and self._asks(sample):
                found[fit] = sample
        self.left = {fit: found[fit] for fit in sorted(found, key=lambda fit: -self._work(fit))}

    def of(self, block: Block) -> set[Fit]:
        """The fits among those left that a block's samples need."""
        return {fit for sample in block.samples if (fit := _fit(sample)) is not None and fit in self.left}

    def missing(self, fit: Fit) -> bool:
        """Whether a fit has still to be made: another process may have made it since."""
        if fit in self.left and not self._missing(fit):
            del self.left[fit]
        return fit in self.left

    def names(self) -> dict[str, set[str]]:
        """Method -> names of the people to whom it has yet to be fitted."""
        found: dict[str, set[str]] = {}
        for (label, _), sample in self.left.items():
            found.setdefault(label, set()).add(name_of(sample))
        return found

    def _work(self, fit: Fit) -> float:
        from methods.fitting.method import FitMethod

        method = self._methods[fit[0]]
        assert isinstance(method, FitMethod)
        return method.fit_work

    def _missing(self, fit: Fit) -> bool:
        from methods.fitting.method import FitMethod
        from methods.hooks import Identity

        method, who = self._methods[fit[0]], self._people[fit[1]]
        if not isinstance(method, FitMethod) or not isinstance(who, Identity):
            return False
        return not method.knows(who, self._backbone)

    def _asks(self, sample: Sample) -> bool:
        """Whether a sample is made with the fit: of a prompt that names nobody, or confines somebody whom the
        method cannot confine, there is no picture."""
        if sample.prompt.places and not self._methods[sample.method.label].info.regions:
            return False
        if not sample.method.job.get("id_weight", 1.0):
            return True
        try:
            self._methods[sample.method.label].check_prompt(sample.prompt_text, self._backbone)
        except UsageError:
            return False
        return True


def key_of(fit: Fit) -> str:
    """A fit's name among the leases of a run."""
    return f"fit-{hashlib.sha256(json.dumps(fit).encode()).hexdigest()[:32]}"


def name_of(sample: Sample) -> str:
    """Whom a sample that needs a fit shows."""
    assert sample.person is not None
    return sample.person.name


def _fit(sample: Sample) -> Fit | None:
    return None if sample.person is None else (sample.method.label, sample.person.content)
