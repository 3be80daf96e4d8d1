"""Files appear whole or not at all, and a refusal of the system is one line."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import IO

import pytest

from methods.errors import SpidError
from methods.files import save_json, sync_folder, write_atomic, write_bytes


def test_missing_folders_are_made_and_the_umask_holds(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    old = os.umask(0o027)
    try:
        write_bytes(path, b"one")
        write_bytes(path, b"two")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    sync_folder(path.parent)
    assert list(path.parent.iterdir()) == [path]


def test_json_keeps_its_order(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", {"z": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "z": 1,\n  "a": "é"\n}\n'


@pytest.mark.parametrize("failure", [ValueError("broken writer"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.json"
    save_json(path, 1)

    def fail(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise failure

    with pytest.raises(type(failure)):
        write_atomic(path, fail)
    assert json.loads(path.read_text()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"good")

    def full(stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SpidError, match=r"a\.bin: cannot be written \(No space left on device\)") as caught:
        write_atomic(path, full)
    assert "space" in str(caught.value.hint)
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SpidError, match="cannot be written"):
        write_bytes(tmp_path / "taken" / "a.bin", b"")
