"""Checkpoints are whole or not there."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from methods.errors import SpidError
from methods.training.checkpoints import Checkpoint, Checkpoints


def save(checkpoints: Checkpoints, step: int) -> Checkpoint:
    return checkpoints.save(step, {"module": {"weight": torch.full((300, 4), step)}}, {"total": step})


def test_the_newest_comes_back_and_the_oldest_go(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.latest() is None
    for step in (5, 10, 15):
        save(checkpoints, step)
    found = checkpoints.latest()
    assert found is not None and found.state == {"total": 15}
    assert torch.equal(found.tensors("module")["weight"], torch.full((300, 4), 15))
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["step-00000010", "step-00000015"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "no manifest", "bad manifest", "flip"])
def test_a_broken_one_is_passed_over_and_can_be_written_again(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    folder = save(checkpoints, 2).folder
    weights = folder / "module.safetensors"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "remove":
        weights.unlink()
    elif damage == "no manifest":
        (folder / "manifest.json").unlink()
    elif damage == "bad manifest":
        (folder / "manifest.json").write_text("{")
    else:
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    found = checkpoints.latest()
    assert found is not None and found.state == {"total": 1}
    assert [path for path, _ in checkpoints.broken] == [folder]
    save(checkpoints, 2)
    again = checkpoints.latest()
    assert again is not None and again.state == {"total": 2}


def test_leftovers_of_a_killed_writer_are_neither_seen_nor_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    (tmp_path / ".writing-0000").mkdir()
    (tmp_path / ".writing-0000" / "module.safetensors").write_bytes(b"half")
    found = checkpoints.latest()
    assert found is not None and found.state == {"total": 1}
    checkpoints.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    good = save(checkpoints, 1)
    with (
        no_file_larger_than(1000),
        pytest.raises(SpidError, match="step-00000002: cannot be written") as caught,
    ):
        save(checkpoints, 2)
    assert str(good.folder) in str(caught.value.hint) and "--resume" in str(caught.value.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    found = checkpoints.latest()
    assert found is not None and found.state == {"total": 1}


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system refuses to write on, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
