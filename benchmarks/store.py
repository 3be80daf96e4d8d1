"""The folder of a run: pictures by fingerprint, journals of finished rows, one process per journal.

A process appends the rows of a finished block to its journal, `samples.jsonl` or, for a shard,
`samples.I-of-N.jsonl`, in one write that is on the disk before the next block begins. Whatever a crash
tears off the end of a journal is cut off when it is opened again. A complete run has one `samples.jsonl` in
the order of the plan, whoever made its rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from filelock import FileLock, Timeout

from benchmarks.run_file import RunFile, read_run
from benchmarks.schema import Row
from methods.errors import SpidError, UsageError
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


class RunFolder:
    """One run on the disk. `opened` locks this process's journal for as long as it works."""

    def __init__(self, path: str | os.PathLike[str], shard: Shard | None = None) -> None:
        self.path = Path(path)
        self.shard = shard
        part = "" if shard is None else f".{shard.index + 1}-of-{shard.count}"
        self.journal = self.path / f"samples{part}.jsonl"
        self.timings = self.path / f"timings{part}.jsonl"

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
        """Lock this process's journal and mend its end. Raises UsageError when another process holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.journal.touch()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        with _locked(self.journal, wait=False) as mine:
            if not mine:
                whole = "" if self.shard is None else f"shard {self.shard} of "
                raise UsageError(
                    f"Another process is at work on {whole}{self.path}.",
                    hint="Let it finish, or give another --output or --shard.",
                )
            for file in (self.journal, self.timings):
                mend(file)
            yield

    def append(self, rows: Iterable[Row], timings: Iterable[Mapping[str, Any]] = ()) -> None:
        """Add finished rows; they are on the disk when this returns. Timings first: rows end a block."""
        lines = b"".join(json.dumps(timing, allow_nan=False).encode() + b"\n" for timing in timings)
        if lines:
            _append(self.timings, lines, sync=False)
        _append(self.journal, b"".join(row.to_line() for row in rows), sync=True)

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
        parts = [path for path in self._journals() if path != target]
        times = sorted(self.path.glob("timings.*-of-*.jsonl"))
        if times:
            with contextlib.suppress(FileNotFoundError):
                mend(self.path / "timings.jsonl")
            _append(
                self.path / "timings.jsonl", b"".join(b"".join(_lines(path)) for path in times), sync=True
            )
        self._sweep()
        for path in [*parts, *times]:
            path.unlink(missing_ok=True)
        sync_folder(self.path)

    def _sweep(self) -> None:
        """Remove what killed processes left half written, unless somebody else may still be writing it."""
        for journal in self._journals():
            if journal != self.journal and _held(journal):
                return
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def completing(self) -> Iterator[None]:
        """Only one process at a time puts a run together."""
        with _locked(self.path / "run", wait=True):
            yield

    def _journals(self) -> list[Path]:
        whole = self.path / "samples.jsonl"
        return [*([whole] if whole.is_file() else []), *sorted(self.path.glob("samples.*-of-*.jsonl"))]

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


def _append(path: Path, data: bytes, *, sync: bool) -> None:
    try:
        with path.open("ab") as file:
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


def _held(journal: Path) -> bool:
    """Whether a process is at work on a journal."""
    with _locked(journal, wait=False) as mine:
        return not mine


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a file, and whether it is ours; the system releases it however a process ends.

    The lock is a hidden file beside it that stays: without it, two could hold locks of one name.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise SpidError(
            f"{path}: cannot be locked ({error.strerror or error}).",
            hint="Give an --output on a file system that knows locks.",
        ) from error
    try:
        yield True
    finally:
        lock.release()
