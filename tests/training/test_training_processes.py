"""Two processes with batch B train like one with 2 B."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_training import arguments, curve, process_environment

from methods.weights import load_weights
from spatialid_cli.app import main


@pytest.mark.timeout(600)  # starts processes of its own
def test_two_processes_give_the_curve_of_one_with_the_double_batch(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {
        **process_environment(),
        "CUDA_VISIBLE_DEVICES": "",  # what a machine without accelerator shows
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    steps = "options.steps=5"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "spatialid_cli.app", *arguments(tmp_path / "two", steps, "batch=2")],
            env={**group, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    ended = [process.communicate(timeout=280) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert main(arguments(tmp_path / "one", steps, "batch=4")) == 0
    assert len(set(curve(tmp_path / "one"))) == 5
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "one"), rel=1e-4)
    mine, theirs = (
        load_weights(tmp_path / name / "adapter" / "adapter.safetensors") for name in ("two", "one")
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name].float(), tensor.float(), rtol=1e-2, atol=1e-3)
    assert "adapter" in ended[0][0] and ended[1][0] == ""  # one of them reports
