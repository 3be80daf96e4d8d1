"""Blocks on their way from the backbone to the disk: sampled, measured, recorded, the oldest first.

Where a GPU samples, a block is measured by a second thread while the next one is sampled. One block waits at
most, and rows are written in the order in which blocks were taken, so that a process that dies loses no more
than it does otherwise: pictures without a row, which are measured when the run is taken up again.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING

from benchmarks.made import Sampled, Scored
from benchmarks.plan import Block
from benchmarks.store import RunFolder

if TYPE_CHECKING:
    from typing import Self

    from benchmarks.execute import Executor
    from methods.backbone.backbone import Backbone

ALONE = 3
"""Blocks of a method that are sampled with nothing beside them: the first warms up, the others are timed."""


def overlaps(backbone: Backbone) -> bool:
    """Whether metrics may be computed beside sampling and give the same bits.

    On a processor nothing is gained. A choice of attention kernels is torch's for all threads, a compiled
    network may be captured as a graph meanwhile, and where models are moved off the device memory is short.
    """
    return (
        backbone.device.type == "cuda"
        and backbone.sdpa is None
        and not backbone.offload
        and not backbone.origin.get("compile")
    )


class Line:
    """A context; left by an error too, it keeps what is sampled already."""

    def __init__(self, folder: RunFolder, executor: Executor) -> None:
        self.folder, self.executor = folder, executor
        self._overlap = overlaps(executor.backbone)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._waiting: tuple[Sampled, Future[Scored] | None] | None = None
        self._begun = Counter[str]()
        executor.ladder.relieve = self._relieve

    def do(self, block: Block, left: Sequence[Block], *, alone: bool) -> None:
        """Sample a block that was taken; measure and record it, now or behind the next one.

        left:  the blocks that are still to be done, this one among them
        alone: nothing may run beside it, since a fit belongs to it

        Raises StoppedError after recording a sample that raised, of this block or the one before; what
        raises gives the blocks back that have no rows.
        """
        try:
            if alone or self._begun[block.method] < ALONE:
                self.finish()
            self._begun[block.method] += 1
            self.executor.beside = self._waiting is not None
            self.executor.let_encoders_go(left)
            sampled = self.executor.sample(block)
            self.finish()
        except BaseException:
            self.folder.leases.give_back(block.key)
            raise
        measured = self._pool.submit(self.executor.score, sampled) if self._overlap else None
        self._waiting = sampled, measured
        if measured is None:
            self.finish()

    def finish(self) -> None:
        """Record the block that waits."""
        if self._waiting is None:
            return
        (sampled, measured), self._waiting = self._waiting, None
        with self.holding(sampled.block.key):
            scored = self.executor.score(sampled) if measured is None else measured.result()
            if scored.failed and measured is not None:  # memory may have been short beside the sampling
                self.executor.evaluator.forget_failures()
                scored = self.executor.score(sampled)
            self.executor.record(sampled, scored, beside=measured is not None)

    def _relieve(self) -> bool:
        """Memory ran out: whether that may be for what runs beside the sampling, which then ends for good."""
        if not self._overlap or self._waiting is None or (measured := self._waiting[1]) is None:
            return False
        wait([measured])
        self._overlap = self.executor.beside = False
        return True

    @contextlib.contextmanager
    def holding(self, key: str) -> Iterator[None]:
        """Around work on a piece that was taken, which is done then; what raises gives it back."""
        try:
            yield
        except BaseException:
            self.folder.leases.give_back(key)
            raise
        self.folder.leases.finish(key, self.folder.journal.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(Exception) if error is not None else contextlib.nullcontext():
                self.finish()
        finally:
            self._pool.shutdown()
