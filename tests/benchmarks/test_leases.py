"""Pieces of work that processes of one folder take: once each, and again when their holder died."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.leases import Holder, Leases
from methods.errors import SpidError

TAKING = """
import sys
from pathlib import Path
from benchmarks.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print("ready", flush=True)
    sys.stdin.readline()
    for key in range(60):
        if leases.take(str(key)) == "taken":
            leases.finish(str(key), "here")
            print(key, flush=True)
"""

HOLDING = """
import sys, time
from pathlib import Path
from benchmarks.leases import Leases
with Leases(Path(sys.argv[1])) as leases:
    print(leases.take("piece"), flush=True)
    time.sleep(60)
"""


DYING = """
import os, signal, sys
from pathlib import Path
from benchmarks.leases import Leases
left = int(sys.argv[2])
def watch(event, arguments):
    global left
    if event in ("open", "os.link", "os.remove") and sys.argv[1] in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
with Leases(Path(sys.argv[1])) as leases:
    sys.addaudithook(watch)
    leases.take("piece")
    print(left, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def process(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


def test_every_piece_is_taken_once(tmp_path: Path) -> None:
    workers = [process(TAKING, tmp_path) for _ in range(4)]
    assert [said(one) for one in workers] == ["ready"] * 4
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    taken = [int(key) for one in workers for key in one.communicate()[0].split()]
    assert sorted(taken) == list(range(60))
    assert all(one.returncode == 0 for one in workers)


def test_who_dies_leaves_its_piece_at_once(tmp_path: Path) -> None:
    one = process(HOLDING, tmp_path)
    assert said(one) == "taken"
    with Leases(tmp_path) as leases:
        assert leases.take("piece") == "held"
        assert [holder.pid for holder in leases.held_by_others("pi")] == [one.pid]
        assert leases.held_by_others("other") == []
        one.send_signal(signal.SIGKILL)
        one.communicate()
        assert leases.take("piece") == "taken"


@pytest.mark.parametrize("operation", [1, 2, 3, 9])
def test_who_dies_while_it_takes_a_piece_keeps_nobody_waiting(tmp_path: Path, operation: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(tmp_path), str(operation)], stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == -signal.SIGKILL
    assert (done.stdout == "") == (operation < 9)  # the first three are the taking
    with Leases(tmp_path) as leases:
        assert leases.take("piece") == "taken"


def test_without_hard_links_a_piece_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert (one.take("piece"), other.take("piece")) == ("taken", "held")
        assert [holder.owner for holder in other.held_by_others("pi")] == [one.owner]
        assert list((tmp_path / "leases").glob(".*.tmp")) == []


def stranger(folder: Path, owner: str = "f" * 16) -> Path:
    """A lease of a process on another machine, and the file by which it shows that it lives."""
    (folder / "leases").mkdir(parents=True, exist_ok=True)
    holder = Holder(owner, "elsewhere", 7, "another kernel")
    (folder / "leases" / "piece.lease").write_text(json.dumps(holder._asdict()))
    alive = folder / "leases" / f"{owner}.alive"
    alive.touch()
    return alive


def test_elsewhere_a_lease_runs_out_when_nothing_is_heard(tmp_path: Path) -> None:
    alive = stranger(tmp_path)
    os.utime(alive, (0, 0))  # another machine's clock is its own affair
    with Leases(tmp_path, expiry=0.4) as leases:
        for beat in range(1, 4):
            assert leases.take("piece") == "held"
            time.sleep(0.3)
            os.utime(alive, (beat, beat))
        assert leases.take("piece") == "held"
        time.sleep(0.5)
        assert leases.take("piece") == "taken"


def test_without_its_sign_of_life_a_holder_is_gone(tmp_path: Path) -> None:
    stranger(tmp_path).unlink()
    with Leases(tmp_path) as leases:
        assert leases.take("piece") == "taken"


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"owner": 3, "what": 4}'])
def test_a_lease_that_names_nobody_runs_out_too(tmp_path: Path, content: str) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "piece.lease").write_text(content)
    with Leases(tmp_path, expiry=0.2) as leases:
        assert leases.take("piece") == "held"
        time.sleep(0.3)
        assert leases.take("piece") == "taken"


def test_it_lives_on_as_long_as_it_works(tmp_path: Path) -> None:
    """The thread that shows signs of life does so more often than leases run out."""
    with Leases(tmp_path, expiry=0.6) as leases:
        alive = tmp_path / "leases" / f"{leases.owner}.alive"
        os.utime(alive, (0, 0))
        for _ in range(100):
            if alive.stat().st_mtime > 1:
                break
            time.sleep(0.05)
        assert alive.stat().st_mtime > 1


def test_what_is_done_stays_done_until_its_mark_is_taken_back(tmp_path: Path) -> None:
    with Leases(tmp_path) as one, Leases(tmp_path) as other:
        assert one.take("piece") == "taken"
        one.finish("piece", "samples.jsonl")
        assert other.take("piece") == "done"
        mark = other.done()["piece"]
        assert mark.done == "samples.jsonl" and mark.owner == one.owner
        other.undo("piece", mark._replace(done="another"))
        assert other.take("piece") == "done"
        other.undo("piece", mark)
        assert other.take("piece") == "taken"
        one.undo("piece", mark)  # too late: the piece is somebody's again
        assert one.take("piece") == "held"
        other.give_back("piece")
        assert one.take("piece") == "taken"
        other.give_back("piece")  # not other's to give
        assert other.take("piece") == "held"


def test_alone_and_agreed(tmp_path: Path) -> None:
    inside: list[str] = []

    def work(name: str) -> None:
        with Leases(tmp_path) as leases:
            agreed.append(leases.agree("size", name))
            with leases.alone("whole"):
                inside.append(name)
                time.sleep(0.05)
                inside.append(name)

    agreed: list[str] = []
    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(agreed)) == 1 and len(agreed) == 3
    assert inside[0::2] == inside[1::2] and sorted(inside[0::2]) == ["a", "b", "c"]


def test_a_process_that_ends_leaves_nothing_but_what_is_done(tmp_path: Path) -> None:
    with Leases(tmp_path) as leases:
        leases.take("begun")
        leases.take("done")
        leases.finish("done", "here")
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["done.lease"]
    with Leases(tmp_path) as leases:
        leases.clear()
        assert leases.take("done") == "taken"  # makes the folder anew
    assert not (tmp_path / "leases").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpidError, match="cannot be written"), Leases(tmp_path / "file"):
        pass
