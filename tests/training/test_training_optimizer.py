"""Who learns by which optimizer, and how far one step of Muon goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_training import OPTIONS, needs_muon, run
from tiny import tiny_backbone
from torch import nn

from methods.errors import UsageError
from methods.training.checkpoints import Checkpoint
from methods.training.config import TrainConfig
from methods.training.optimizer import check_optimizer, make_optimizers
from methods.uniform.config import TaskConfig
from methods.uniform.method import Uniform
from methods.uniform.task import UniformTask


class Parts(nn.Module):
    """One parameter of every kind that adapters have."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.norm = nn.LayerNorm(4)
        self.weight = nn.Parameter(torch.randn(3, 4, 5))  # a stack of matrices
        self.level = nn.Parameter(torch.randn(3, 4))  # an embedding


def owners(optimizer: str) -> dict[str, list[str]]:
    trained = dict(Parts().named_parameters())
    names = {id(parameter): name for name, parameter in trained.items()}
    return {
        type(one).__name__: [names[id(p)] for group in one.param_groups for p in group["params"]]
        for one in make_optimizers(trained, TrainConfig(optimizer=optimizer))
    }


@needs_muon
def test_matrices_learn_by_muon_and_all_else_by_adamw() -> None:
    rest = ["weight", "level", "linear.bias", "norm.weight", "norm.bias"]
    assert owners("muon") == {"AdamW": rest, "Muon": ["linear.weight"]}
    assert owners("adamw") == {"AdamW": [*rest[:2], "linear.weight", *rest[2:]]}


@needs_muon
def test_a_step_of_muon_is_orthogonal_and_of_adamws_size() -> None:
    """rate * 0.2 sqrt(max side) times a matrix with singular values near one, whatever the gradient's."""
    linear = nn.Linear(16, 8, bias=False)
    before = linear.weight.detach().clone()
    config = TrainConfig(optimizer="muon", rate=0.1, weight_decay=0.0)
    [muon] = make_optimizers(dict(linear.named_parameters()), config)
    linear.weight.grad = torch.diag(torch.logspace(0, 1, 8)) @ torch.randn(8, 16) * 1e-3
    muon.step()
    step = (before - linear.weight.detach()) / (0.1 * 0.2 * 4)
    values = torch.linalg.svdvals(step)
    assert 0.5 < values.min() and values.max() < 1.3


class QuickWeights(UniformTask):
    """Weights learn at three times the rate."""

    rates = {"weight": 3.0}


def test_a_task_multiplies_rates_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step of AdamW moves every number by its rate, whatever the gradient."""

    def task(backbone, options):
        return QuickWeights(backbone, TaskConfig(**options))

    monkeypatch.setattr(Uniform, "training_task", task)
    run(tmp_path, options={"steps": 1}, rate=1e-3, weight_decay=0.0, final_rate=1.0)
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    learned = Checkpoint(checkpoint, {}).tensors("module")
    start = UniformTask(tiny_backbone("sd1"), TaskConfig(**OPTIONS)).module.state_dict()
    for name, step in (("weight", 3e-3), ("bias", 1e-3)):
        moved = (learned[f"image_proj.norm.{name}"] - start[f"image_proj.norm.{name}"]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, step), rtol=1e-2, atol=0)


class Overflowing(UniformTask):
    """One matrix whose gradient leaves the finite numbers, as in float16."""

    def __init__(self, *given) -> None:
        super().__init__(*given)
        matrix = next(one for one in self.module.parameters() if one.ndim == 2)
        matrix.register_hook(lambda gradient: torch.full_like(gradient, torch.nan))


@needs_muon
def test_a_step_that_overflowed_is_left_out_by_all_optimizers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: scaler(device, enabled=True))
    monkeypatch.setattr(
        Uniform, "training_task", lambda backbone, options: Overflowing(backbone, TaskConfig(**options))
    )
    run(tmp_path, options={"steps": 1}, optimizer="muon")
    [checkpoint] = (tmp_path / "checkpoints").iterdir()
    learned = Checkpoint(checkpoint, {}).tensors("module")
    start = UniformTask(tiny_backbone("sd1"), TaskConfig(**OPTIONS)).module.state_dict()
    assert all(torch.equal(learned[name], tensor) for name, tensor in start.items())
    state = json.loads((checkpoint / "state.json").read_text())
    assert state["scaler"]["scale"] == scaler("cpu", enabled=True).get_scale() / 2


def test_a_torch_without_muon_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(UsageError, match="needs torch 2.9"):
        check_optimizer(TrainConfig(optimizer="muon"))
    check_optimizer(TrainConfig())
