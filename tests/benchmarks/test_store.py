"""Journals and pictures on the disk: torn ends, damage, shards, locks, refusals of the system."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.schema import Row
from benchmarks.store import RunFolder, Shard, mend
from methods.errors import SpidError, UsageError
from methods.files import write_bytes

IDS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(6)]


def row(folder: RunFolder, identifier: str, **changes: object) -> Row:
    """A finished sample with a picture file; the store looks at its bytes only."""
    data = b"picture " + identifier.encode()
    name = folder.picture(identifier)
    write_bytes(folder.path / name, data)
    values = {"picture": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **changes}
    return Row(identifier, "none", None, "p", "a <script> \u2028 person", "", "s", 0, **values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    with folder.opened():
        for identifier in IDS:
            folder.append([row(folder, identifier)], [{"id": identifier, "seconds": 1.0}])
    return folder


def test_rows_come_back_as_they_were(folder: RunFolder) -> None:
    known = folder.scan(dict.fromkeys(IDS))
    assert list(known) == IDS
    assert Row.from_line(known[IDS[0]].line) == row(folder, IDS[0])
    assert folder.scan({IDS[2]: None}).keys() == {IDS[2]}
    with pytest.raises(UsageError, match="status 'fine'"):
        row(folder, IDS[0], status="fine")


@pytest.mark.parametrize("cut", [1, 2, 150, 10_000])
def test_a_torn_end_is_cut_off(folder: RunFolder, cut: int) -> None:
    whole = folder.journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    torn = whole[: max(0, len(whole) - cut)]
    folder.journal.write_bytes(torn)
    kept = [line for line in torn.splitlines(keepends=True) if line.endswith(b"\n")]
    assert len(folder.scan(dict.fromkeys(IDS))) == len(kept)
    with folder.opened():
        assert folder.journal.read_bytes() == b"".join(kept)
        folder.append([Row.from_line(line) for line in lines[len(kept) :]])
    assert folder.journal.read_bytes() == whole


def test_mending_needs_no_line_at_all(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    mend(file)
    file.write_bytes(b"x" * 200_000)
    mend(file)
    assert file.read_bytes() == b""
    file.write_bytes(b"kept\n" + b"x" * 200_000)
    mend(file)
    assert file.read_bytes() == b"kept\n"


@pytest.mark.parametrize("damage", ["missing", "shorter", "flipped"])
def test_a_damaged_picture_is_a_sample_to_be_done(folder: RunFolder, damage: str) -> None:
    picture = folder.path / folder.picture(IDS[3])
    data = bytearray(picture.read_bytes())
    if damage == "missing":
        picture.unlink()
    else:
        data[5] ^= 1
        picture.write_bytes(data if damage == "flipped" else data[:-1])
    assert set(IDS) - folder.scan(dict.fromkeys(IDS)).keys() == {IDS[3]}
    by_size = folder.scan(dict.fromkeys(IDS), hashes=False)
    assert (IDS[3] in by_size) == (damage == "flipped")


def test_a_damaged_line_is_a_sample_to_be_done(folder: RunFolder) -> None:
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    lines[1] = b'{"id": \n'
    lines[4] = lines[4].replace(b'"status"', b'"stutus"')
    folder.journal.write_bytes(b"".join(lines))
    assert set(IDS) - folder.scan(dict.fromkeys(IDS)).keys() == {IDS[1], IDS[4]}


def test_shards_are_put_together_in_order(tmp_path: Path) -> None:
    parts = [RunFolder(tmp_path, Shard(index, 3)) for index in range(3)]
    for number, part in enumerate(parts):
        with part.opened():
            part.append([row(part, IDS[place]) for place in (5 - number, 2 - number)], [{"shard": number}])
    whole = RunFolder(tmp_path)
    known = whole.scan(dict.fromkeys(IDS))
    whole.complete(IDS, known)
    assert [Row.from_line(line).id for line in whole.journal.read_bytes().splitlines()] == IDS
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["samples.jsonl", "timings.jsonl"]
    assert len(whole.timings.read_text().splitlines()) == 3
    assert whole.scan(dict.fromkeys(IDS)).keys() == set(IDS)


def test_what_failed_in_one_journal_may_be_done_in_another(tmp_path: Path) -> None:
    part, whole = RunFolder(tmp_path, Shard(0, 2)), RunFolder(tmp_path)
    with part.opened():
        part.append([Row(IDS[0], "none", None, "p", "x", "", "s", 0, status="error", detail="boom")])
    assert whole.scan({IDS[0]: None})[IDS[0]].status == "error"
    with whole.opened():
        whole.append([row(whole, IDS[0])])
    assert whole.scan({IDS[0]: None})[IDS[0]].status == "ok"


def test_two_processes_never_share_a_journal(folder: RunFolder) -> None:
    code = (
        "import sys; from benchmarks.store import RunFolder\nrun = RunFolder(sys.argv[1])\n"
        "with run.opened(): print(run.journal.name, run.timings.name)"
    )

    def names() -> list[str]:
        command = [sys.executable, "-c", code, str(folder.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    with folder.opened():
        assert folder.journal.name == "samples.jsonl"
        journal, timings = names()
        assert re.fullmatch(r"samples\.[0-9a-f]{16}\.jsonl", journal) and timings[7:] == journal[7:]
        part = RunFolder(folder.path, Shard(1, 2))
        with part.opened():
            assert part.journal.name == "samples.2-of-2.jsonl"
    assert names() == ["samples.jsonl", "timings.jsonl"]
    assert not (folder.path / "leases").exists()


def test_what_is_written_too_late_does_not_reach_the_finished_file(folder: RunFolder) -> None:
    """A process that was asleep for longer than its lease wakes up when others have put the run together."""
    late = RunFolder(folder.path)
    with late.opened():
        whole = RunFolder(folder.path)
        whole.complete(IDS, whole.scan(dict.fromkeys(IDS)))
        finished = whole.journal.read_bytes()
        write_bytes(whole.journal, finished)
        late.append([row(late, IDS[0])])
    assert whole.journal.read_bytes() == finished


def test_files_of_others_are_left_alone(folder: RunFolder) -> None:
    (folder.path / "samples.backup.jsonl").write_text("mine\n")
    (folder.path / "samples.0123456789abcdef.jsonl").write_text("a process left this\n")
    folder.complete(IDS, folder.scan(dict.fromkeys(IDS)))
    assert sorted(path.name for path in folder.path.glob("samples*")) == [
        "samples.backup.jsonl", "samples.jsonl",
    ]  # fmt: skip


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpidError, match="cannot be written"), RunFolder(tmp_path / "file" / "run").opened():
        pass
    broken = RunFolder(tmp_path / "broken")
    broken.path.mkdir()
    (broken.path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        broken.read_description()


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    """The system refuses to let files grow: the error names the file, and what was whole stays."""
    code = """
import resource, signal, sys
from benchmarks.schema import Row
from benchmarks.store import RunFolder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = RunFolder(sys.argv[1])
with folder.opened():
    folder.append([Row("a" * 64, "none", None, "p", "x", "", "s", 0)])
    size = folder.journal.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
    try:
        folder.append([Row("b" * 64, "none", None, "p", "x", "", "s", 0)])
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "SpidError" in done.stdout and "samples.jsonl: cannot be written" in done.stdout, done.stderr
    folder = RunFolder(tmp_path)
    with folder.opened():
        assert folder.scan({"a" * 64: None, "b" * 64: None}).keys() == {"a" * 64}
        assert folder.journal.read_bytes().endswith(b"\n")
