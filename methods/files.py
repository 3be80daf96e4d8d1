"""Files that appear whole or not at all: the one way in which this project writes. Standard library only."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from methods.errors import SpidError


def write_atomic(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then move it there in one step.

    Missing folders are made. The bytes are on the disk before the name is, so that no crash leaves a name
    with half a file behind it. Whatever goes wrong, the temporary file is removed and a file that was at
    `path` is still there.

    Raises SpidError, naming the file, when the system refuses to write; other errors of `write` pass through.
    """
    path = Path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of these bytes; errors as `write_atomic`."""
    write_atomic(path, lambda stream: stream.write(data))


def save_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write JSON (two-space indent, keys in the order given); errors as `write_atomic`."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))  # a file name may not be Unicode: \udcff


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Bring the names in a folder to the disk, where the system can (Windows cannot open folders)."""
    with contextlib.suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_write(path: str | os.PathLike[str], error: OSError) -> SpidError:
    """The error for a file or folder that the system does not let us write."""
    return SpidError(
        f"{os.fspath(path)}: cannot be written ({error.strerror or error}).",
        hint="Free some space or choose another folder.",
    )
