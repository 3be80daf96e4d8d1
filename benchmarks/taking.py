"""A process's part of the work on a plan: it takes what is missing, block by block, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.leases import POLL
from benchmarks.live import Observer
from benchmarks.plan import Block, Sample
from benchmarks.store import Known, RunFolder

if TYPE_CHECKING:
    from benchmarks.execute import Executor


def missing(
    folder: RunFolder, samples: Mapping[str, Sample], blocks: Sequence[Block], *, hashes: bool | None = None
) -> tuple[dict[str, Known], list[Block]]:
    """Rows that are there, and the blocks to be done, or done again; the marks of these are taken back."""
    # marks before rows: what is marked later may stand in rows that are not seen here
    marks = folder.leases.done()
    known = folder.scan(samples, hashes=hashes)
    todo = [block for block in blocks if not all(_done(one, known) for one in block.samples)]
    for block in todo:
        if block.key in marks:
            folder.leases.undo(block.key, marks[block.key])
    return known, todo


def work_off(
    folder: RunFolder, executor: Executor, todo: Sequence[Block], observer: Observer, *, wait: bool
) -> None:
    """Take and do blocks in the order of the plan, each the first that is free.

    wait: stay until others are done with theirs, and do what they leave behind when they die

    Raises StoppedError after a sample that raised; its block is given back.
    """
    left, told = list(todo), False
    while left:
        before = len(left)
        for block in list(left):
            answer = folder.leases.take(block.key)
            if answer == "held":
                continue
            if answer == "taken":
                try:
                    executor.run(block)
                except BaseException:
                    folder.leases.give_back(block.key)
                    raise
                folder.leases.finish(block.key, folder.journal.name)
            else:
                observer.elsewhere(block.method, len(block.samples), _people(block))
            left.remove(block)
        if not wait:
            return
        if left and len(left) == before:
            if not told:
                who = ", ".join(sorted({str(one) for one in folder.leases.held_by_others("block-")}))
                observer.note(
                    f"{sum(len(block.samples) for block in left)} samples are with {who or 'others'}"
                )
                told = True
            time.sleep(POLL)


def _people(block: Block) -> set[str]:
    return {sample.person.name for sample in block.samples if sample.person is not None}


def _done(sample: Sample, known: Mapping[str, Known]) -> bool:
    """Whether a sample needs nothing more. What raised is tried again: its cause may be gone."""
    row = known.get(sample.id)
    if row is None or row.status != "error":
        return row is not None
    return sample.person is not None and sample.person.reference is None
