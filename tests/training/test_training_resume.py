"""Interrupted anywhere, a training ends at the weights of one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import (
    OPTIONS,
    arguments,
    config,
    curve,
    interrupt_after,
    needs_muon,
    process_environment,
    run,
)
from tiny import tiny_backbone

from methods.backbone.backbone import Backbone
from methods.errors import NonFiniteError
from methods.learning.task import Stage, TrainingTask
from methods.registry import METHODS
from methods.training.checkpoints import Checkpoints
from methods.training.engine import Trained, train
from methods.uniform.config import TaskConfig
from methods.uniform.method import Uniform
from methods.uniform.task import UniformTask
from methods.weights import load_weights
from spatialid_cli.app import main


def all_tensors(output: Path) -> dict[str, torch.Tensor]:
    """Everything the newest checkpoint and the adapter hold."""
    newest = Checkpoints(output / "checkpoints").latest()
    assert newest is not None
    found = {f"adapter {k}": v for k, v in load_weights(output / "adapter" / "adapter.safetensors").items()}
    for name in ("module", "average", "optimizer"):
        found |= {f"{name} {key}": value for key, value in newest.tensors(name).items()}
    return found


def assert_same(one: Path, other: Path) -> None:
    mine, theirs = all_tensors(one), all_tensors(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    assert curve(one) == curve(other)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=needs_muon)])
def test_an_interrupt_costs_the_steps_since_the_last_checkpoint_and_nothing_else(
    tmp_path: Path, optimizer: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    five: dict[str, Any] = {"options": {"steps": 5}, "optimizer": optimizer}
    run(whole, **five)
    with pytest.raises(KeyboardInterrupt):
        run(broken, **five, stop_after=1, resume=True)  # before the first checkpoint
    with pytest.raises(KeyboardInterrupt):
        run(broken, **five, stop_after=3, resume=True)
    resumed = run(broken, **five, resume=True)
    assert resumed.resumed is not None and resumed.resumed.name == "step-00000002"
    assert_same(whole, broken)


def test_a_damaged_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole)
    with pytest.raises(KeyboardInterrupt):
        run(broken, stop_after=3, checkpoint_every=1)
    newest = broken / "checkpoints" / "step-00000002" / "module.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed = run(broken, resume=True, checkpoint_every=1)
    assert resumed.broken == (newest.parent,)
    assert resumed.resumed is not None and resumed.resumed.name == "step-00000001"
    assert_same(whole, broken)


class TwoStages(UniformTask):
    """First the keys and values, then the projection."""

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        self.stages = (Stage("keys", 2), Stage("projection", 3, rate=0.5))

    def begin(self, stage: Stage) -> None:
        self.module.image_proj.requires_grad_(stage.name == "projection")
        self.module.ip_adapter.requires_grad_(stage.name == "keys")


class Staged(Uniform):
    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        return TwoStages(backbone, TaskConfig(**options))


@pytest.mark.parametrize("stop_after", [2, 3, 4])
def test_stages_have_their_own_optimizers_and_are_resumed_in_the_middle(
    tmp_path: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS.built_in, "staged", f"{__name__}:Staged")

    def staged(output: Path, stop: int | None = None) -> Trained:
        return train(
            "staged",
            config(checkpoint_every=1),
            OPTIONS,
            output=output,
            resume=True,
            progress=None if stop is None else interrupt_after(stop),
            backbone=tiny_backbone("sd1"),
        )

    staged(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        staged(tmp_path / "broken", stop_after)
    staged(tmp_path / "broken")
    assert_same(tmp_path / "whole", tmp_path / "broken")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["keys"] * 2 + ["projection"] * 3
    assert max(line["rate"] for line in lines[2:]) == pytest.approx(
        0.5 * max(line["rate"] for line in lines[:2])
    )


@pytest.mark.timeout(600)  # starts processes of its own
def test_a_killed_process_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    call = [sys.executable, "-m", "spatialid_cli.app", *arguments(broken)]
    with subprocess.Popen(call, env=process_environment(), stderr=subprocess.PIPE, text=True) as process:
        log = broken / "log.jsonl"
        until = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < until:
            if log.is_file() and log.read_text().count("\n") >= 5:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert not (broken / "adapter").exists()
    assert main(arguments(broken)) == main(arguments(whole)) == 0
    assert_same(whole, broken)
    assert len(curve(whole)) == 24


def test_a_preview_that_a_kill_prevented_is_made_up_for(tmp_path: Path) -> None:
    changes = {"preview_every": 2, "preview_people": 1}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=3, **changes)
    (sheet,) = (tmp_path / "previews").iterdir()
    content = sheet.read_bytes()
    sheet.rename(sheet.with_name(".half.tmp"))  # killed between checkpoint and preview, in the write
    run(tmp_path, resume=True, **changes)
    names = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert names == ["step_000002.png", "step_000004.png"] and sheet.read_bytes() == content


def test_weights_that_are_no_numbers_are_never_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="left the finite numbers"):
        run(tmp_path, rate=1e6, options={"steps": 1})  # beyond half precision after the only step
    assert not list(tmp_path.rglob("adapter.safetensors"))
