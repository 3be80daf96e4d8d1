"""Trainings of a few steps: what they learn, leave behind, and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import OPTIONS, curve, run
from tiny import tiny_backbone

from methods.errors import NonFiniteError, UsageError, WeightsError
from methods.uniform.method import Uniform
from methods.weights import load_weights, read_metadata


def test_it_learns_and_leaves_the_backbone_alone(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    unet = backbone.denoiser.unet
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    processors = dict(unet.attn_processors)
    trained = run(tmp_path, preview_every=3, preview_people=1)
    assert all(
        torch.equal(before[name], tensor) for name, tensor in backbone.denoiser.unet.state_dict().items()
    )
    assert all(unet.attn_processors[name] is one for name, one in processors.items())
    assert not any(parameter.requires_grad for parameter in unet.parameters())

    loaded = Uniform.load(trained.adapter, backbone).adapter
    start = Uniform.training_task(backbone, OPTIONS).module
    assert loaded.image_proj.count == OPTIONS["tokens"]
    moved = [
        not torch.equal(one, two.half().float())
        for one, two in zip(loaded.parameters(), start.parameters(), strict=True)
    ]
    assert all(moved)
    assert (tmp_path / "previews" / "step_000003.png").is_file()
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000002",
        "step-00000004",
    ]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert list(lines[0]) == ["step", "stage", "loss", "gradient_norm", "rate", "seconds"]


def test_an_adapter_says_what_it_is_for(tmp_path: Path) -> None:
    adapter = run(tmp_path).adapter
    metadata = read_metadata(adapter / "adapter.safetensors")
    assert (metadata["method"], metadata["backbone"]) == ("uniform", "sd1") and metadata["spid_version"]
    assert json.loads(metadata["config"])["tokens"] == 2
    recipe = json.loads((adapter / "training.json").read_text())
    assert (recipe["steps"], recipe["samples_per_step"], recipe["pictures"]) == (4, 2, 6)
    assert recipe["face_encoder"]["name"] == "pocket"
    with pytest.raises(WeightsError, match="trained for sd1 backbones"):
        Uniform.load(adapter, tiny_backbone("sd2"))


def test_equal_samples_give_an_equal_curve_however_they_are_split(tmp_path: Path) -> None:
    run(tmp_path / "whole", batch=4)
    run(tmp_path / "passes", batch=2, accumulation=2)
    run(tmp_path / "again", batch=4, gradient_checkpointing=True)
    whole = curve(tmp_path / "whole")
    assert curve(tmp_path / "passes") == pytest.approx(whole, rel=1e-4)
    assert curve(tmp_path / "again") == pytest.approx(whole, rel=1e-4)
    assert len(set(whole)) == 4


def test_bfloat16_follows_float32(tmp_path: Path) -> None:
    run(tmp_path / "half", precision="bfloat16")
    run(tmp_path / "full")
    assert curve(tmp_path / "half") == pytest.approx(curve(tmp_path / "full"), rel=0.05)
    assert curve(tmp_path / "half") != curve(tmp_path / "full")


def test_the_adapter_holds_the_average(tmp_path: Path) -> None:
    trained = run(tmp_path, average=0.9)
    newest = tmp_path / "checkpoints" / "step-00000004"
    weights, average = (load_weights(newest / f"{name}.safetensors") for name in ("module", "average"))
    exported = load_weights(trained.adapter / "adapter.safetensors")
    for name, value in exported.items():
        assert torch.equal(value, average[name].half())
    assert any(not torch.equal(weights[name], average[name]) for name in average)


def test_a_loss_that_leaves_the_finite_numbers_stops_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="left the finite numbers") as caught:
        run(tmp_path, rate=1e6, checkpoint_every=1)
    last = sorted((tmp_path / "checkpoints").iterdir())[-1]
    assert str(last) in str(caught.value.hint)
    assert not (tmp_path / "adapter").exists()


def test_tensorboard_events_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run(tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "none"}, "nothing to train"),
        ({"method": "unifrom"}, "Did you mean 'uniform'"),
        ({"options": {"stepz": 3}}, "Did you mean 'steps'"),
        ({"options": {"drop": 0.5}}, "drop is 0.5; it must be at most 0.33"),
        ({"data": {"size": 60}}, "multiple of 8"),
        ({"data": {"source": "no/such/folder"}}, "no/such/folder"),
        ({"data": {"people": 2, "pictures": 1}, "options": {"same_share": 0.0}}, "two usable pictures"),
        ({"precision": "float16"}, "needs CUDA"),
        ({"face_encoder": None, "backbone": "somewhere"}, "face_encoder"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_finished_training_can_be_asked_for_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = (first.adapter / "adapter.safetensors").read_bytes()
    again = run(tmp_path, resume=True)
    assert again.steps == 4 and again.resumed is not None
    assert (again.adapter / "adapter.safetensors").read_bytes() == before
    with pytest.raises(UsageError, match="holds a training already"):
        run(tmp_path)


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(UsageError, match="belongs to another training; different: rate"):
        run(tmp_path, resume=True, rate=0.5)
    with pytest.raises(UsageError, match="samples per step"):
        run(tmp_path, resume=True, batch=3)
    with pytest.raises(UsageError, match="different: data, pictures"):
        run(tmp_path, resume=True, data={"people": 3})
    run(tmp_path, resume=True, batch=1, accumulation=2, keep=1)
