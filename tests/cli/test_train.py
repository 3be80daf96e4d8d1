"""`spid train` as a person calls it: a small training, and every misuse in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Spid
from tiny import tiny_folder

SMALL = [
    "--set", f"backbone={tiny_folder('sd1')}", "--set", "face_encoder=pocket", "--set", "device=cpu",
    "--set", "batch=2", "--set", "precision=float32", "--set", "preview_every=0", "--set", "data.people=2",
    "--set", "data.pictures=3", "--set", "options.steps=2",
]  # fmt: skip


def test_a_method_is_trained_by_its_own_configuration(spid: Spid, tmp_path: Path) -> None:
    trained = spid("train", "--method", "uniform", "--output", tmp_path / "out", *SMALL, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["adapter"] == str(tmp_path / "out" / "adapter")
    assert trained.json["steps"] == 2 and trained.json["skipped"] == [] and trained.json["terms"]["loss"] > 0
    assert "spid generate" not in trained.out and "uniform: 2/2 steps, loss" in trained.err
    again = spid("train", "--method", "uniform", "--output", tmp_path / "out", *SMALL)
    assert again.code == 2 and "--resume" in again.err
    resumed = spid("train", "--method", "uniform", "--output", tmp_path / "out", *SMALL, "--resume")
    assert resumed.code == 0 and "step-00000002" in resumed.out


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["--method", "unifrom"], "'unifrom'", "Did you mean 'uniform'?"),
        (["--method", "none"], "nothing to train", "spid methods"),
        (["--method", "none", "--config", "configs/train/uniform.yaml"], "nothing to train", "spid methods"),
        (["--method", "uniform", "--set", "bach=3"], "'bach'", "Did you mean 'batch'?"),
        (["--method", "uniform", "--set", "options.token=3"], "'token'", "Did you mean 'tokens'?"),
        (["--method", "uniform", "--config", "absent.yaml"], "absent.yaml", "Check the path"),
        (["--method", "uniform", "--data", "absent"], "absent", "pocket:"),
        (["--method", "uniform", "--set", "backbone=absent/model"], "face encoder", "insightface"),
        (["--method", "uniform", "--set", "face_encoder=absent/pack"], "absent/pack", "Check the path."),
    ],
)
def test_misuse_is_one_line_a_hint_and_nothing_written(
    spid: Spid, tmp_path: Path, arguments: list[str], error: str, hint: str
) -> None:
    out = tmp_path / "out"
    outcome = spid("train", "--output", out, *arguments)
    first, second = outcome.err.strip().splitlines()
    assert outcome.code == 2
    assert first.startswith("error: ") and error in first and hint in second
    assert outcome.out == "" and not out.exists()


def test_a_folder_without_metadata_is_refused(spid: Spid, tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    outcome = spid("train", "--method", "uniform", "--data", tmp_path / "faces", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "has no metadata.jsonl" in outcome.err and "file_name" in outcome.err
    assert not (tmp_path / "out").exists()


def test_missing_weights_say_where_and_how_to_get_them(spid: Spid, face: Path, tmp_path: Path) -> None:
    outcome = spid(
        "generate", "--prompt", "x", "--method", "uniform", "--reference", face, "--output", tmp_path / "out",
        "--backbone", tiny_folder("sd1"), "--face-encoder", "pocket",
    )  # fmt: skip
    assert outcome.code == 2
    assert "No uniform weights are shipped for sd1" in outcome.err
    assert f"spid train --method uniform --set backbone={tiny_folder('sd1')}, then --adapter" in outcome.err
    absent = spid(
        "generate", "--prompt", "x", "--reference", face, "--adapter", tmp_path / "absent.safetensors",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert absent.code == 2 and "absent.safetensors" in absent.err
    assert not (tmp_path / "out").exists()
