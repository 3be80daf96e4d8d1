"""What people see while a run is at work: a live table on a terminal, plain lines elsewhere, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from benchmarks.schema import Row

if TYPE_CHECKING:
    from typing import Self

_HEADLINES = ("id_sim", "clip_t", "clip_i_scene", "background_leakage")
_SHOWN = 4


class Tally:
    """One method's progress and running means.

    done: rows in the journal, of earlier runs too. sampled, seconds: pictures made by this process, and how
    long denoising and decoding took. spent: wall time that this process took for its rows, scoring included,
    fits not. unfitted: whom the method has still to be fitted to; fit_seconds: what one such fit takes.
    """

    def __init__(self, total: int, done: int, unfitted: Iterable[str] = ()) -> None:
        self.total, self.done = total, done
        self.unfitted, self.fit_seconds = set(unfitted), 0.0
        self.first = done
        self.sampled, self.seconds, self.spent = 0, 0.0, 0.0
        self.bad = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, row: Row) -> None:
        """Count a finished row."""
        self.done += 1
        self.bad += row.status != "ok"
        for name, value in row.metrics.items():
            if value is not None:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)

    @property
    def rate(self) -> float | None:
        """Pictures per second of this process, None before the first."""
        return self.sampled / self.seconds if self.seconds > 0 else None

    @property
    def pace(self) -> float | None:
        """Seconds of wall time a row of this process, without fits; None before the first."""
        made = self.done - self.first
        return self.spent / made if made else None

    def mean(self, name: str) -> float | None:
        """Running mean of a metric over the rows of this process."""
        total, count = self._sums.get(name, (0.0, 0))
        return total / count if count else None


@dataclass(frozen=True)
class Left:
    """Wall time for what is missing; `more` where the length of a fit among it is not known yet."""

    seconds: float
    more: bool = False

    def __str__(self) -> str:
        return f"{'over ' if self.more else ''}{clock(self.seconds)} left"


class Observer:
    """Is told what happens and shows nothing; the base of the displays, and enough for Python callers.

    hands: processes at work on the run; several make fits before anything else
    """

    hands: int = 1

    def __init__(self, hands: int = 1) -> None:
        self.hands = hands
        self.tallies: dict[str, Tally] = {}
        self._fitting = ("", 0.0)  # a method, and the part of its present fit that is done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(
        self,
        totals: Mapping[str, tuple[int, int]],
        metrics: Sequence[str],
        fits: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Method -> (samples in all, done), the names of the metrics, method -> people to be fitted."""
        self.tallies = {
            name: Tally(total, done, (fits or {}).get(name, ())) for name, (total, done) in totals.items()
        }
        known = [name for name in _HEADLINES if name in metrics]
        self.columns = (known + [name for name in metrics if name not in known])[:_SHOWN]
        self.started = self._recorded = self._fit_began = time.monotonic()
        self._fitted = 0.0
        self.fit = ""
        self.refresh()

    def fitting(self, method: str, who: str, done: int, total: int) -> None:
        """Steps done and in all of a fit to a person, before the first picture of them."""
        now, tally = time.monotonic(), self.tallies[method]
        if done == 1:
            self._fit_began = now
        left = ""
        if done > 1:
            pace = (now - self._fit_began) / (done - 1)
            tally.fit_seconds, left = pace * total, f", {clock(pace * (total - done))} left"
        self.fit = f"{method} fits {who}: {done}/{total} steps{left}" if done < total else ""
        self._fitting = (method, done / total) if done < total else ("", 0.0)
        if done == total:
            tally.unfitted.discard(who)
            self._fitted += tally.fit_seconds
        self.refresh()

    def sampled(self, method: str, count: int, seconds: float) -> None:
        """Pictures were denoised and decoded; of a method without rows here, as baselines for other rows."""
        if (tally := self.tallies.get(method)) is not None:
            tally.sampled += count
            tally.seconds += seconds
            self.refresh()

    def recorded(self, rows: Sequence[Row]) -> None:
        """Rows are scored and on the disk."""
        for row in rows:
            self.tallies[row.method].add(row)
            self.tallies[row.method].unfitted.discard(row.identity or "")
        now = time.monotonic()
        if rows:  # of one method: a block's
            self.tallies[rows[0].method].spent += max(now - self._recorded - self._fitted, 0.0)
        self._recorded, self._fitted = now, 0.0
        self.refresh()

    def elsewhere(self, method: str, count: int, people: Iterable[str] = ()) -> None:
        """Rows of `people` that another process recorded: done, and no measure of this one's speed."""
        tally = self.tallies[method]
        tally.unfitted.difference_update(people)
        tally.done += count
        tally.first += count
        self.refresh()

    def note(self, text: str) -> None:
        """Something that people should know but that stops nothing."""

    def refresh(self) -> None:
        """Show the present state."""

    def left(self, *methods: str) -> Left | None:
        """Wall time for what is missing of these methods (all) at our speed, shared by `hands`.

        A method without rows yet goes by the pace of the others, its fits by its first. None before the first
        row or fit, and when nothing is missing.
        """
        made = sum(tally.done - tally.first for tally in self.tallies.values())
        missing = [
            tally
            for name, tally in self.tallies.items()
            if tally.done < tally.total and (not methods or name in methods)
        ]
        if not missing or not (made or any(tally.fit_seconds and tally.unfitted for tally in missing)):
            return None
        usual = sum(tally.spent for tally in self.tallies.values()) / max(made, 1)
        seconds, more = 0.0, not made
        for tally in missing:
            pace = usual if tally.pace is None else tally.pace
            seconds += pace * (tally.total - tally.done) + tally.fit_seconds * len(tally.unfitted)
            more = more or bool(tally.unfitted and not tally.fit_seconds)
        under_way, share = self._fitting
        if under_way in self.tallies and (not methods or under_way in methods):
            seconds -= share * self.tallies[under_way].fit_seconds
        return Left(max(seconds, 0.0) / self.hands, more)


class PlainLines(Observer):
    """A line every five seconds at first, ever more seldom in a long run."""

    def __init__(self, stream: TextIO | None = None, *, label: str = "", hands: int = 1) -> None:
        super().__init__(hands)
        self._stream = stream
        self._label = label
        self._last = -float("inf")

    def note(self, text: str) -> None:
        print(printable(self._label + text), file=self._stream or sys.stderr, flush=True)

    def refresh(self) -> None:
        now = time.monotonic()
        total = sum(tally.total for tally in self.tallies.values())
        done = sum(tally.done for tally in self.tallies.values())
        if done < total and now - self._last < max(5.0, (now - self.started) / 10):
            return
        self._last = now
        parts = [f"{done}/{total} samples"]
        for name, tally in self.tallies.items():
            means = [
                f"{column} {value:.3f}"
                for column in self.columns
                if (value := tally.mean(column)) is not None
            ]
            if 0 < tally.done < tally.total or means:
                parts.append(" ".join([f"{name} {tally.done}/{tally.total}", *means]))
        if (left := self.left()) is not None:
            parts.append(str(left))
        if self.fit:
            parts.append(self.fit)
        self.note("; ".join(parts))


class LiveTable(Observer):
    """A table that redraws itself: done, pictures per second, time left and running means per method."""

    def __init__(self, hands: int = 1) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(hands)
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False)

    def refresh(self) -> None:
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        left = self.left()
        told = ["" if left is None else str(left), self.fit]
        table = Table(
            box=box.SIMPLE_HEAD,
            caption=Text(printable("; ".join(filter(None, told)))),
            caption_justify="left",
        )
        table.add_column("method")
        for title in ("done", "not ok", "pictures/s", "left", *self.columns):
            table.add_column(title, justify="right")
        for name, tally in self.tallies.items():
            rate = "" if tally.rate is None else f"{tally.rate:.2f}"
            alone = str(self.left(name) or "").removesuffix(" left")
            means = ["" if (mean := tally.mean(one)) is None else f"{mean:.3f}" for one in self.columns]
            cells = [name, f"{tally.done}/{tally.total}", str(tally.bad or ""), rate, alone, *means]
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table


def display(label: str = "", hands: int = 1) -> Observer:
    """The display that suits where stderr goes; label: before every line, hands: processes at work."""
    return LiveTable(hands) if sys.stderr.isatty() else PlainLines(label=label, hands=hands)


def printable(text: str) -> str:
    """Text that cannot move the cursor or break a line: names and prompts come from anywhere."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "replace").decode()
        for character in text
    )


def clock(seconds: float) -> str:
    """Seconds as people read them: 42 s, 3 min 05 s, 2 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
