"""A process's part of the work on a plan: it takes what is missing, block by block, until nothing is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from benchmarks.fits import Fit, Fits, key_of, name_of
from benchmarks.leases import POLL
from benchmarks.line import Line
from benchmarks.live import Observer
from benchmarks.plan import Block, Sample
from benchmarks.store import Known, RunFolder


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


def work_off(line: Line, todo: Sequence[Block], observer: Observer, fits: Fits, *, wait: bool) -> None:
    """Take and do blocks in the order of the plan, each the first that is free.

    fits: what the blocks need and nobody has made. Where several processes are known to be at work, these
          come first and longest first, by which a list of jobs ends at most a third later than it could
          (Graham, 1969); nobody makes a fit that another one is making.
    wait: stay until others are done with theirs, and do what they leave behind when they die

    Raises StoppedError after a sample that raised; its block is given back.
    """
    leases = line.folder.leases
    left, told = list(todo), False
    while left:
        before = len(left)
        elsewhere = _make_fits(line, observer, fits) if observer.hands > 1 else set()
        for block in list(left):
            if any(fits.missing(fit) for fit in fits.of(block) & elsewhere):
                continue
            answer = leases.take(block.key)
            if answer == "held":
                continue
            if answer == "taken":
                line.do(block, left, alone=any(map(fits.missing, fits.of(block))))
            else:
                observer.elsewhere(block.method, len(block.samples), _people(block))
            left.remove(block)
        line.finish()
        if not wait:
            return
        if left and len(left) == before:
            if not told:
                who = ", ".join(sorted({str(one) for one in leases.held_by_others("block-", "fit-")}))
                observer.note(
                    f"{sum(len(block.samples) for block in left)} samples are with {who or 'others'}"
                )
                told = True
            time.sleep(POLL)


def _make_fits(line: Line, observer: Observer, fits: Fits) -> set[Fit]:
    """Make every fit that nobody else makes; those that others are at."""
    leases, elsewhere = line.folder.leases, set()
    for fit, sample in list(fits.left.items()):
        if not fits.missing(fit):
            observer.elsewhere(fit[0], 0, {name_of(sample)})
            continue
        answer = leases.take(key_of(fit))
        if answer == "held":
            elsewhere.add(fit)
        elif answer == "taken":
            with line.holding(key_of(fit)):
                line.executor.prepare(sample)
            fits.left.pop(fit)  # also one that failed: the rows of its samples say why
    return elsewhere


def _people(block: Block) -> set[str]:
    return {person.name for sample in block.samples for person in sample.people}


def _done(sample: Sample, known: Mapping[str, Known]) -> bool:
    """Whether a sample needs nothing more. What raised is tried again: its cause may be gone."""
    row = known.get(sample.id)
    if row is None or row.status != "error":
        return row is not None
    return any(person.reference is None for person in sample.people)
