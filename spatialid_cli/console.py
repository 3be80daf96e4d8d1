"""What reaches the terminal: data on stdout, everything else on stderr.

On a terminal tables and progress are drawn by Rich; elsewhere they are plain lines without control
characters. `NO_COLOR` is honoured by Rich itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

_WHOLE = 32
"""Columns of a table that are no wider than this are never folded."""


def log(text: str) -> None:
    """One line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def error(message: str, hint: str | None = None) -> None:
    """What went wrong in one line, and in a second one what to do next."""
    red, reset = ("\033[1;31m", "\033[0m") if _colours(sys.stderr) else ("", "")
    log(f"{red}error:{reset} {message}")
    if hint:
        log(f"  {hint}")


def warn(message: str) -> None:
    """Something that did not stop the command but that the reader must know."""
    yellow, reset = ("\033[33m", "\033[0m") if _colours(sys.stderr) else ("", "")
    log(f"{yellow}warning:{reset} {message}")


def out(text: str = "") -> None:
    """One line of a command's answer, on stdout."""
    print(text)


def out_json(value: Any) -> None:
    """The answer for programs: one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def out_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout: drawn on a terminal, aligned plain columns elsewhere.

    Nothing is cut: long texts are folded to the width of the terminal, names and numbers stay whole, and
    where that does not fit, lines run on.
    """
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
        first, *rest = value.splitlines() or [""]
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
            bar.update(task, completed=done, total=total, description=f"{label} {note}".strip())

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
