"""Who is at work on what in a folder that processes share: pieces of work are taken, by files with a lease.

    leases/KEY.lease    made by exactly one process; says who took the piece, and later that it is done
    leases/OWNER.alive  touched by its process every few seconds
    leases/OWNER.lock   locked as long as its process lives

A lease holds as long as its owner does. On the same machine the system knows at once that a process is
gone, by its lock; elsewhere its lease runs out when nobody touched the file for `expiry` seconds of
watching. No clocks of two machines are compared. Two processes may do the same piece where one was only
asleep: pieces must bear it.

A file system must know exclusive creation and renaming, and show a file under its name once it is closed:
local disks, NFS from version 3 on, SMB, Lustre, GPFS, BeeGFS, CephFS. It need not know locks or hard links;
with hard links a lease has its content from its first moment, so that no death leaves one of unknown owner.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple

from filelock import FileLock, Timeout

from methods.files import cannot_write, write_bytes

if TYPE_CHECKING:
    from typing import Self

EXPIRY = 60.0
"""Seconds without a sign of life after which a lease of another machine's process has run out."""

POLL = 0.5
"""Seconds between two looks at what others hold."""

_READ = 4096  # bytes of a lease that are looked at


class Holder(NamedTuple):
    """What a lease says. owner: "" where it is damaged, or its process died before it wrote its name."""

    owner: str = ""
    host: str = ""
    pid: int = 0
    kernel: str = ""
    done: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.owner else "an unknown process"


class Leases:
    """The leases of one process in the folder of a run; a context that gives back what it holds.

    expiry: seconds, see `EXPIRY`

    Raises SpidError when the folder cannot be written.
    """

    def __init__(self, run: Path, expiry: float = EXPIRY) -> None:
        self.folder = run / "leases"
        self.owner = secrets.token_hex(8)
        self._me = Holder(self.owner, socket.gethostname(), os.getpid(), _kernel())
        self._expiry = expiry
        self._held: set[str] = set()
        self._watched: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()

    # ------------------------------------------------------------- a process's life
    def __enter__(self) -> Self:
        self._make_folder()
        self._lock = FileLock(self.folder / f"{self.owner}.lock", timeout=0)
        with contextlib.suppress(OSError, NotImplementedError):  # no locks here: signs of life must do
            self._lock.acquire()
        self._alive = self.folder / f"{self.owner}.alive"
        self._alive.touch()
        self._thread = threading.Thread(target=self._touch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._held):
            self.give_back(key)
        self._lock.release()
        for suffix in ("alive", "lock"):
            (self.folder / f"{self.owner}.{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # the last one out; what is done stays until the run is put together

    def _touch(self) -> None:
        while not self._stop.wait(self._expiry / 6):
            with contextlib.suppress(OSError):
                os.utime(self._alive)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    # ------------------------------------------------------------- pieces of work
    def take(self, key: str) -> Literal["taken", "held", "done"]:
        """Take a piece unless it is done or somebody living holds it."""
        path = self._path(key)
        while not self._create(path):
            if (holder := _read(path)) is None:
                continue  # given back this moment
            if holder.done is not None:
                return "done"
            if self._lives(holder, path):
                return "held"
            self._remove(path, holder)
        self._held.add(key)
        return "taken"

    def _create(self, path: Path) -> bool:
        """Make a lease that says whose it is from its first moment; False where there is one."""
        if path.exists():
            return False
        whole = self.folder / f".{secrets.token_hex(8)}.tmp"
        try:
            self._make_folder()  # a run that was put together has no such folder any more
            whole.write_bytes(_content(self._me))
            try:
                os.link(whole, path)
            except FileExistsError:  # or made by us, where a network file system asked twice
                return whole.stat().st_nlink == 2
            except OSError:  # no hard links here: who dies while it writes leaves a lease that names nobody
                with path.open("xb") as file:
                    file.write(_content(self._me))
            return True
        except (FileExistsError, FileNotFoundError):  # somebody's by now, or removed with the folder
            return False
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        finally:
            with contextlib.suppress(OSError):
                whole.unlink()

    def finish(self, key: str, where: str) -> None:
        """A piece that this process took is done; `where`: the file that holds its result."""
        write_bytes(self._path(key), _content(self._me._replace(done=where)))
        self._held.discard(key)

    def give_back(self, key: str) -> None:
        """Let others have a piece that is not done."""
        self._held.discard(key)
        self._remove(self._path(key), self._me)

    def done(self) -> dict[str, Holder]:
        """Pieces that are marked as done, by key, and who did them."""
        return {key: holder for key, holder in self._all() if holder.done is not None}

    def undo(self, key: str, holder: Holder) -> None:
        """Take back the mark of a piece whose result is lost, unless it is another mark by now."""
        self._remove(self._path(key), holder)

    def held_by_others(self, *prefixes: str) -> list[Holder]:
        """Living processes that hold pieces whose key begins with one of these."""
        return [
            holder
            for key, holder in self._all()
            if key.startswith(prefixes)
            and holder.owner != self.owner
            and holder.done is None
            and self._lives(holder, self._path(key))
        ]

    def agree(self, key: str, value: str) -> str:
        """What the first process to ask proposed; all others get the same."""
        while (answer := self.take(key)) != "done":
            if answer == "taken":
                self.finish(key, value)
            else:
                time.sleep(POLL)
        return self.done()[key].done or value

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Wait until no living process holds a key, and hold it."""
        while self.take(key) != "taken":
            time.sleep(POLL)
        try:
            yield
        finally:
            self.give_back(key)

    def clear(self) -> None:
        """Forget all marks; the run is put together and tells itself what is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------- files
    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.lease"

    def _all(self) -> Iterator[tuple[str, Holder]]:
        for path in sorted(self.folder.glob("*.lease")):
            if (holder := _read(path)) is not None:
                yield path.stem, holder

    def _lives(self, holder: Holder, lease: Path) -> bool:
        """Whether a lease still holds: its owner's file, or its own where it names nobody, changes."""
        if holder.owner == self.owner:
            return True
        sign = self.folder / f"{holder.owner}.alive" if holder.owner else lease
        try:
            with sign.open(
                "rb"
            ) as file:  # opened, not only looked at: network file systems ask the server then
                stamp = os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return False
        if holder.kernel == self._me.kernel and not self._is_locked(holder.owner):
            return False
        now = time.monotonic()
        seen, since = self._watched.get(sign.name, (None, now))
        if seen != stamp:
            self._watched[sign.name] = (stamp, now)
            return True
        return now - since < self._expiry

    def _is_locked(self, owner: str) -> bool:
        """Whether a process of this machine lives; where there are no locks that is not known, so True."""
        lock = FileLock(self.folder / f"{owner}.lock", timeout=0)
        try:
            lock.acquire()
        except (Timeout, OSError, NotImplementedError):
            return True
        lock.release()
        return False

    def _remove(self, path: Path, holder: Holder) -> None:
        """Remove a lease that still says the same: another may have done so, and taken it, meanwhile."""
        aside = self.folder / f".{secrets.token_hex(8)}.tmp"
        if _read(path) != holder:
            return
        with contextlib.suppress(OSError):
            os.rename(path, aside)
            if _read(aside) == holder:
                aside.unlink()
            else:
                os.rename(aside, path)


def _content(holder: Holder) -> bytes:
    return json.dumps(holder._asdict()).encode()


def _read(path: Path) -> Holder | None:
    """What a lease says, None when there is none."""
    try:
        with path.open("rb") as file:
            return Holder(**json.loads(file.read(_READ)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return Holder()


def _kernel() -> str:
    """Which running system this is: processes with the same answer see each other's locks."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{uuid.getnode():x}"
