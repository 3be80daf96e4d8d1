"""The shipped twin by name: missing, it says so; there, every command finds it and what was made for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from command import Spid
from people import somebody
from tiny import tiny_backbone

from benchmarks.claims.read import read_claims
from benchmarks.metrics.models.zoo import roles
from methods.backbone.load import load_backbone
from methods.backbone.source import own_face_encoder
from methods.errors import MissingWeightsError
from methods.images import read_metadata
from methods.learning.likeness import face_loss
from methods.pocket.face_reader import FaceReader
from methods.pocket.references import PLAIN, reference_png
from methods.pulid.method import Pulid
from methods.spatialid.method import SpatialID
from methods.uniform.method import Uniform
from methods.weights import save_weights
from scripts.costs.twin import random_twin
from scripts.pocket.quality import measure
from spatialid_cli.app import main

SUITE = """
name: one
description: For tests.
steps: 1
methods: [none, pulid, spatialid]
metrics: [attr_scene, id_sim]
identities:
  one: [{pocket: [10000300]}]
prompts:
  one: [{category: Background, text: "a photo of a {person} on a beach", truth: {scene: beach}}]
"""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pocket models with a random twin and a `pulid` of two steps by its own recipe, as they will ship."""
    folder = tmp_path_factory.mktemp("twin")
    weights = random_twin(folder / "weights", num_layers=1, num_single_layers=1)
    torch.manual_seed(0)
    save_weights(folder / "reader.safetensors", FaceReader(16).state_dict())
    settings = [
        "data.people=2",
        "data.pictures=2",
        "batch=2",
        "warmup=1",
        "preview_every=0",
        "options.steps=2",
    ]
    settings += [f"options.face_reader={folder / 'reader.safetensors'}"]
    settings = [part for one in settings for part in ("--set", one)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPID_POCKET", str(weights))
        patch.setenv("SPID_CACHE", str(folder / "cache"))
        assert main(["train", "--method", "pulid", *settings, "--output", str(folder / "run")]) == 0
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").open()]
    assert any("face" in line for line in log)
    shutil.copytree(folder / "run" / "adapter", weights / "pulid")
    return weights


@pytest.fixture
def here(twin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPID_POCKET", str(twin))
    return twin


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.png"
    path.write_bytes(reference_png(10000300, PLAIN, 0))
    return path


def test_missing_weights_are_told_in_one_line_and_by_doctor(
    spid: Spid, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pocket").mkdir()
    for model in here.iterdir():
        if model.name not in ("flux", "pulid"):
            (tmp_path / "pocket" / model.name).symlink_to(model.resolve())
    monkeypatch.setenv("SPID_POCKET", str(tmp_path / "pocket"))
    for command in (
        ["generate", "--method", "none", "--prompt", "a photo"],
        ["bench", "--suite", "smoke"],
        ["train", "--method", "pulid"],
    ):
        backbone = [] if command[0] == "train" else ["--backbone", "pocket-flux"]
        outcome = spid(*command, *backbone, "--output", tmp_path / "out")
        assert outcome.code == 2, outcome.err
        said = " ".join(outcome.err.split())
        assert "The weights of the backbone pocket-flux are not here" in said
        assert "scripts/train_pocket.py flux" in said and "Traceback" not in said
        assert not (tmp_path / "out").exists()
    found = spid("doctor", "--json").json
    gaps = {one["what"]: one["fix"] for one in found["optional"]}
    assert gaps["pocket model 'flux' (text to image, FLUX-shaped) is not here"].endswith("flux")
    assert any("'pulid'" in what for what in gaps) and found["facts"]["pocket models"]["flux"] == "missing"


def test_doctor_counts_what_is_there(spid: Spid, here: Path) -> None:
    found = spid("doctor", "--json").json
    facts = found["facts"]["pocket models"]
    assert facts["folder"] == str(here) and " MB" in facts["flux"] and "pocket-flux" in facts["pulid"]
    assert not any("pocket model" in one["what"] for one in [*found["problems"], *found["optional"]])


def test_its_own_encoder_adapters_reader_and_judges(here: Path, twin: Path) -> None:
    assert own_face_encoder("pocket-flux") == "pocket"
    assert roles("pocket-flux") == roles("pocket") != roles("flux")
    backbone = load_backbone("pocket-flux", device="cpu")
    assert (backbone.family, backbone.name, backbone.default_size) == (
        "pocket-flux",
        "pocket-flux",
        (128, 128),
    )
    own = Pulid.load(None, backbone)
    assert own.weights_fingerprint() == Pulid.load(twin / "pulid", backbone).weights_fingerprint()
    assert isinstance(SpatialID.load(None, backbone).host, Pulid)
    with pytest.raises(
        MissingWeightsError, match="No uniform weights are shipped for pocket-flux"
    ) as missing:
        Uniform.load(None, backbone)
    assert "spid train --method uniform --set backbone=pocket-flux" in str(missing.value.hint)
    assert face_loss(str(twin.parent / "reader.safetensors"), backbone) is not None
    assert load_backbone("pocket", device="cpu").family == "pocket"


def test_every_method_that_it_can_carry_generates(spid: Spid, here: Path, face: Path, tmp_path: Path) -> None:
    outcome = spid(
        "generate", "--backbone", "pocket-flux", "--method", "none",
        "--compare", "pulid,spatialid,textual-inversion", "--set", "textual-inversion.steps=1",
        "--reference", face, "--prompt", "a photo of a {person} on a beach", "--steps", "2", "--save-masks",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    pictures = {path.read_bytes() for path in (tmp_path / "out").rglob("*.png") if "masks" not in path.parts}
    assert len(pictures) >= 4
    records = [read_metadata(path) for path in (tmp_path / "out").glob("0*.png")]
    assert [one["spid"]["backbone"] for one in records] == ["pocket-flux"] * 4
    refused = spid(
        "generate", "--backbone", "pocket-flux", "--method", "facewise", "--reference", face,
        "--prompt", "a {person}", "--output", tmp_path / "other",
    )  # fmt: skip
    assert refused.code == 2 and "does not run on pocket-flux backbones: they offer no" in refused.err


def test_a_bench_judges_it_as_rendered(spid: Spid, here: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SUITE)
    outcome = spid(
        "bench", "--suite", tmp_path / "one.yaml", "--backbone", "pocket-flux", "--output", tmp_path / "run"
    )
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").open()]
    assert [row["method"] for row in rows] == ["none", "pulid", "spatialid"], outcome.err
    assert all(row["metrics"]["attr_scene"] in (0.0, 1.0) for row in rows)
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["backbone"]["family"] == "pocket-flux"


@pytest.mark.slow  # 72 pictures
def test_the_quality_report_measures_the_twin(twin: Path) -> None:
    figures = measure(["twin_text", "pulid"], weights=twin, count=8, steps=1, batch_size=8)
    assert figures["twin_text"]["scene"]["n"] == 8
    assert figures["pulid"]["position"]["n"] == 32
    assert not figures["targets"]["pulid.position"]["reached"]


def test_claims_are_about_its_own_host(here: Path) -> None:
    experiment = read_claims().on("pocket-flux").experiments["spatialid"]
    assert experiment.variant("uniform").method == "pulid" and experiment.variant("F").method.endswith(
        "[preset=F]"
    )
    assert read_claims().on("pocket").experiments["spatialid"].variant("uniform").method == "uniform"
    metric = {one.id: one.effect for one in read_claims().claims}
    assert metric["spatialid/attributes"].metric_for("pocket-flux") == "attr"
    assert metric["spatialid/quality"].metric_for("pocket-flux") == "iq_pocket"
    assert metric["spatialid/quality"].metric_for(tiny_backbone("sd1").family) == "iq"


def test_both_noises_say_how_much_of_the_picture_is_left(here: Path) -> None:
    """signal = 1 / (1 + sigma^2) with sigma = n / (1 - n) of the noise level n, in either process."""
    for name in ("pocket", "pocket-flux"):
        noise = load_backbone(name, device="cpu").noise
        for level in noise.sampler(noise.default, 7, (16, 16)).levels[1:]:
            sigma = level.noise_level / (1 - level.noise_level)
            signal = noise.signal(torch.tensor([level.time], dtype=torch.float64))
            assert signal.item() == pytest.approx(1 / (1 + sigma**2), rel=1e-3)
    assert somebody(1).embedding is not None
