"""Which share a process works on, by flag or by a launcher's variables."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.shards import (
    Companions,
    device_of_environment,
    parse_shard,
    shard_of_environment,
    unusual_ends,
)
from benchmarks.store import Shard
from methods.errors import UsageError


def test_flags() -> None:
    assert parse_shard("1/1") == Shard(0, 1)
    assert parse_shard(" 8/8 ") == Shard(7, 8)
    assert str(Shard(1, 4)) == "2/4"
    for wrong in ("0/2", "3/2", "1", "a/b", "-1/2", "1/0"):
        with pytest.raises(UsageError, match="no share"):
            parse_shard(wrong)


ARRAY = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "2", "SLURM_ARRAY_TASK_COUNT": "3"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}, Shard(3, 4)),
        ({**ARRAY, "SLURM_ARRAY_TASK_ID": "14"}, Shard(2, 3)),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, Shard(1, 2)),
        (
            {**ARRAY, "SLURM_ARRAY_TASK_ID": "12", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
            Shard(3, 6),
        ),
        # the batch script itself, outside srun: it is alone, however many tasks were asked for
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),
    ],
)
def test_launchers(environment: dict[str, str], shard: Shard | None) -> None:
    assert shard_of_environment(environment) == shard


def test_devices() -> None:
    assert device_of_environment({"LOCAL_RANK": "3"}, 2) == "cuda:1"
    assert device_of_environment({"LOCAL_RANK": "3"}, 1) is None
    assert device_of_environment({}, 8) is None


def test_companions_that_were_killed_or_could_not_begin_are_told() -> None:
    assert unusual_ends([0, 1]) == []  # 1: samples failed, and rows say which
    assert unusual_ends([0, -9, 2]) == [
        "process 3/4 was killed by signal 9; others do what it left",
        "process 4/4 ended with exit code 2; others do what it left",
    ]


def test_companions_stop_when_the_first_process_fails() -> None:
    companions = Companions([sys.executable, "-c", "import time; time.sleep(60)"], 3, print)
    with pytest.raises(KeyboardInterrupt), companions:
        companions.start()
        raise KeyboardInterrupt
    assert [process.returncode for process in companions._processes] == [-15, -15]


@pytest.mark.parametrize("inherited", ["", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "])
def test_a_process_of_ours_ends_with_its_parent(inherited: str) -> None:
    """The parent holds the other end of its standard input, however the parent ends and was started."""
    code = "import time; from benchmarks.shards import end_with_parent; end_with_parent(); time.sleep(60)"
    child = subprocess.Popen(
        [sys.executable, "-c", inherited + code],
        env={**os.environ, "SPID_ENDS_WITH_PARENT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None and child.stderr is not None
    child.stdin.close()
    assert child.wait(timeout=50) != 0
    assert b"KeyboardInterrupt" in child.stderr.read()
    child.stderr.close()
