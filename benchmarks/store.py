"""The folder of a run: pictures by fingerprint, journals of finished rows, one process per journal.

A process appends the rows of a finished block to its journal in one write that is on the disk before the next
block begins: `samples.jsonl`, for a shard `samples.I-of-N.jsonl`, and where that is taken one of its own.
Whatever a crash tears off the end of a journal is cut off when it is opened again. A complete run has one
`samples.jsonl` in the order of the plan, whoever made its rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from benchmarks.leases import Leases
from benchmarks.run_file import RunFile, read_run
from benchmarks.schema import Row
from methods.files import cannot_write, sync_folder, write_bytes

READ_ALL = 2**30
"""Up to so many bytes of pictures are read and hashed when a run is taken up again; above, sizes must do."""


class Describes(Protocol):
    """A sample of a plan: knows its row."""

    def describes(self, row: Row) -> bool:
        """Whether a row says of the sample what the plan says."""
        ...


@dataclass(frozen=True)
class Shard:
    """The share `index` (from 0) of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


class Known(NamedTuple):
    """A finished row as it stands in a journal, and the little of it that is asked for again and again."""

    line: bytes
    status: str
    size: int | None
    sha256: str | None


_PART = re.compile(r"(samples|timings)\.(\d+-of-\d+|[0-9a-f]{16})\.jsonl")


class RunFolder:
    """One run on the disk. `opened` gives a process its journal and its leases for as long as it works."""

    def __init__(self, path: str | os.PathLike[str], shard: Shard | None = None) -> None:
        self.path = Path(path)
        self._part = "" if shard is None else f".{shard.index + 1}-of-{shard.count}"
        self.journal, self.timings = self._named(self._part)
        self.leases = Leases(self.path)

    # ------------------------------------------------------------- names
    def picture(self, identifier: str) -> str:
        """Where a sample's picture lies, relative to the folder."""
        return f"pictures/{identifier[:2]}/{identifier}.png"

    def keep_reference(self, data: bytes, suffix: str) -> str:
        """Keep the bytes of a reference picture; its path relative to the folder."""
        name = f"references/{hashlib.sha256(data).hexdigest()}{suffix}"
        if not (self.path / name).is_file():
            write_bytes(self.path / name, data)
        return name

    # ------------------------------------------------------------- run.json
    def read_description(self) -> RunFile | None:
        """run.json, None when there is none yet. Raises UsageError when it is damaged."""
        return read_run(self.path) if (self.path / "run.json").exists() else None

    # ------------------------------------------------------------- journals
    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Join the processes at work here. Raises SpidError when the folder cannot be written."""
        with Leases(self.path) as self.leases, contextlib.ExitStack() as files:
            self.journal, self.timings = self._named(self._part)
            if self.leases.take(f"journal-{self.journal.name}") != "taken":
                self.journal, self.timings = self._named(f".{self.leases.owner}")
            try:
                for file in (self.journal, self.timings):
                    mend(file)
                # kept open: what is written after others took this process for dead and put the run together
                # must not land in the finished file of the same name
                self._rows = files.enter_context(self.journal.open("ab"))
                self._times = files.enter_context(self.timings.open("ab"))
            except OSError as error:
                raise cannot_write(self.path, error) from error
            yield

    def _named(self, part: str) -> tuple[Path, Path]:
        return self.path / f"samples{part}.jsonl", self.path / f"timings{part}.jsonl"

    def append(self, rows: Iterable[Row], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        """Add finished rows; they are on the disk when this returns. Timings first: rows end a block."""
        lines = b"".join(json.dumps(timing, allow_nan=False).encode() + b"\n" for timing in timings)
        if lines:
            _append(self._times, self.timings, lines, sync=False)
        _append(self._rows, self.journal, b"".join(row.to_line() for row in rows), sync=True)

    def scan(self, wanted: Mapping[str, Describes | None], *, hashes: bool | None = None) -> dict[str, Known]:
        """Finished rows of all journals by id, those whose picture is there and whole.

        wanted: samples of the plan by id, None where nothing is known of one; rows of others are left out,
            and those that say something else than the plan
        hashes: compare the pictures' hashes, not only their sizes; None for runs of up to READ_ALL bytes
        """
        found: dict[str, list[Known]] = {}
        for journal in self._journals():
            for line in _lines(journal):
                try:
                    row = Row.from_line(line, checked=True)
                except ValueError:
                    continue  # a damaged line is a sample to be done again, as one that was edited
                if row.id not in wanted:
                    continue
                sample = wanted[row.id]
                if sample is None or sample.describes(row):
                    one = Known(line, row.status, row.size, row.sha256)
                    found.setdefault(row.id, []).append(one)
        sizes = self._sizes()
        digests: dict[str, str | None] = {}
        if hashes is None:
            hashes = sum(rows[-1].size or 0 for rows in found.values()) <= READ_ALL
        known = {}
        for identifier, rows in found.items():
            file = _file(identifier, wanted[identifier])
            size = sizes.get(file)
            content = None
            if hashes and size is not None:
                content = digests.get(file) or _sha256(self.path / "pictures" / file[:2] / file)
                digests[file] = content
            whole = [row for row in rows if row.size == size and (not hashes or row.sha256 == content)]
            # what once failed may have been done since, in another journal
            if whole:
                known[identifier] = next((row for row in whole[::-1] if row.status != "error"), whole[-1])
        return known

    def complete(self, order: Sequence[str], known: Mapping[str, Known]) -> None:
        """Write samples.jsonl in the order of the plan and remove the shards' journals."""
        content = b"".join(known[identifier].line for identifier in order)
        target = self.path / "samples.jsonl"
        if not target.is_file() or target.read_bytes() != content:
            write_bytes(target, content)
        parts, times = self._parts("samples"), self._parts("timings")
        if times:
            whole = self.path / "timings.jsonl"
            with contextlib.suppress(FileNotFoundError):
                mend(whole)
            with whole.open("ab") as file:
                _append(file, whole, b"".join(b"".join(_lines(path)) for path in times), sync=True)
        left = [self.path / "request.json", *self.path.rglob(".*.tmp")]  # run.json says it; half written
        for path in [*parts, *times, *left]:
            path.unlink(missing_ok=True)
        sync_folder(self.path)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Only one process at a time begins a run or puts it together."""
        with self.leases.alone("whole"):
            yield

    def _journals(self) -> list[Path]:
        """All journals; those that marks of finished blocks name also where a listing is not up to date."""
        marks = self.leases.done().items()
        named = {self.path / mark.done for key, mark in marks if key.startswith("block-") and mark.done}
        return [self.path / "samples.jsonl", *sorted(named | set(self._parts("samples")))]

    def _parts(self, kind: str) -> list[Path]:
        return sorted(
            path
            for path in self.path.glob(f"{kind}.*.jsonl")
            if (found := _PART.fullmatch(path.name)) and found[1] == kind
        )

    def _sizes(self) -> dict[str, int]:
        """Size of every picture by file name."""
        sizes: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path / "pictures") as folders:
            for folder in folders:
                if not folder.is_dir():
                    continue  # what a file manager left
                with os.scandir(folder) as files:
                    for file in files:
                        sizes[file.name] = file.stat().st_size
        return sizes


def _file(identifier: str, wanted: Any) -> str:
    """Name of a sample's picture: its own `file`, or the PNG of the sample whose picture it shares."""
    named = getattr(wanted, "file", None)
    return named or f"{getattr(wanted, 'picture', identifier)}.png"


def mend(path: Path) -> None:
    """Cut off what follows the last complete line of a journal, the trace of a crash while it was written."""
    try:
        with path.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - 65536)
                file.seek(start)
                cut = file.read(end - start).rfind(b"\n")
                if cut >= 0:
                    end = start + cut + 1
                    break
                end = start
            file.truncate(end)
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(path, error) from error


def _lines(path: Path) -> Iterator[bytes]:
    """Complete lines of a journal; another process may be writing the last one."""
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))
    except FileNotFoundError:  # put together by another process meanwhile
        return


def _append(file: IO[bytes], path: Path, data: bytes, *, sync: bool) -> None:
    try:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
