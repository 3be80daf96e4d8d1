"""What reaches the terminal: data on stdout, everything else on stderr.

Words of others (prompts, names, files) pass `methods.words` on the way: no control character but our own
reaches a terminal, and what its encoding lacks is written out instead of ending the command.

On a terminal tables and progress are drawn by Rich; elsewhere they are plain lines without control
characters. `NO_COLOR` is honoured by Rich itself.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

from methods.errors import SpidError
from methods.words import visible

_WHOLE = 32
"""Columns of a table that are no wider than this are never folded."""


_LINES = "\n\t"

_deaf: list[str] = []
"""The streams that were closed when we began and that something was meant for since."""


class _Closed(io.TextIOBase):
    """Takes the words for a stream that is closed; which one is remembered, as an answer is lost with it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        if self._name not in _deaf:
            _deaf.append(self._name)
        return len(text)


def prepare_streams() -> None:
    """Make both streams take every letter, and stand in for those that are closed.

    The file descriptors of closed streams are filled: the next file opened would take their place, and the
    prints of libraries would land in it.
    """
    _deaf.clear()
    if sys.stdout is None or sys.stderr is None or sys.stdin is None:
        handle = os.open(os.devnull, os.O_RDWR)
        while handle <= 2:
            handle = os.dup(handle)
        os.close(handle)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _Closed(name))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_answer() -> None:
    """Bring the answer out. Raises SpidError when it cannot be written, BrokenPipeError when nobody reads."""
    if "stdout" in _deaf:
        raise _lost("it is closed")
    with _answering():
        sys.stdout.flush()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _leave(sys.stdout)
        raise _lost(error.strerror or str(error)) from error


def _leave(stream: TextIO) -> None:
    """Send what is still buffered nowhere: it must not fail again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _lost(why: str) -> SpidError:
    return SpidError(
        f"The answer cannot be written to the standard output: {why}.",
        hint="Files that the command wrote are there; send its output elsewhere.",
    )


def log(text: str) -> None:
    """One line for people, on stderr."""
    _tell(visible(text, keep=_LINES))


def _tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # the disk behind it is full: the exit code still tells
        _leave(sys.stderr)


def error(message: str, hint: str | None = None) -> None:
    """What went wrong in one line, and in a second one what to do next."""
    red, reset = ("\033[1;31m", "\033[0m") if _colours(sys.stderr) else ("", "")
    _tell(f"{red}error:{reset} {visible(message)}")
    if hint:
        log(f"  {hint}")


def warn(message: str) -> None:
    """Something that did not stop the command but that the reader must know."""
    yellow, reset = ("\033[33m", "\033[0m") if _colours(sys.stderr) else ("", "")
    _tell(f"{yellow}warning:{reset} {visible(message)}")


def out(text: str = "") -> None:
    """One line of a command's answer, on stdout."""
    with _answering():
        print(visible(text, keep=_LINES))


def out_json(value: Any) -> None:
    """The answer for programs: one JSON document on stdout."""
    with _answering():
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def out_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout: drawn on a terminal, aligned plain columns elsewhere.

    Nothing is cut: long texts are folded to the width of the terminal, names and numbers stay whole, and
    where that does not fit, lines run on.
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.measure import Measurement
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for index, name in enumerate(columns):
            widest = max(len(row[index]) for row in [columns, *rows])
            whole = widest <= _WHOLE
            table.add_column(name, no_wrap=whole, overflow="fold", min_width=widest if whole else _WHOLE // 2)
        for row in rows:
            table.add_row(*map(Text, row))  # Text: a prompt with [brackets] is no markup
        terminal = Console()
        needed = Measurement.get(terminal, terminal.options.update_width(10_000), table).minimum
        Console(width=max(terminal.width, needed)).print(table)
        return
    if title:
        out(title)
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def out_fields(fields: Mapping[str, str]) -> None:
    """Name and value, one pair a line, values aligned and continued under themselves."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        first, *rest = value.split("\n")
        out(f"{name.ljust(width)}  {first}".rstrip())
        for line in rest:
            out(f"{' ' * width}  {line}".rstrip())


class Progress(Protocol):
    """Takes what is done, how much there is in all, and a few words beside it, such as the loss."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(label: str, unit: str = "steps") -> Iterator[Progress]:
    """A progress display on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with _bar(label, unit) as advance:
            yield advance
    else:
        yield _plain_lines(label, unit)


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, left"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("preparing", total=None)

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, description=visible(f"{label} {note}").strip())

        yield advance


def _plain_lines(label: str, unit: str) -> Progress:
    """Every five seconds at first, ever more seldom in a long run."""
    first: tuple[float, int] | None = None  # what came before the first step was loading
    last = 0.0

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal first, last
        now = time.monotonic()
        if first is None:
            first, last = (now, done), now
        if done < total and now - last < max(5.0, (now - first[0]) / 10):
            return
        last = now
        left = (now - first[0]) / max(done - first[1], 1) * (total - done)
        rest = f", {left:.0f} s left" if done < total else ""
        log(f"{label}: {done}/{total} {unit}{rest}{note and f', {note}'}")

    return advance


def _colours(stream: TextIO) -> bool:
    import os

    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
