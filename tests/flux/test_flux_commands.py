"""FLUX from the command line: bad input in one line before anything is sampled, true guidance in a bench."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from command import Spid
from tiny import tiny_backbone
from tiny_flux import flux_adapter_state, flux_folder

from methods.backbone.families import flux_pipeline as family
from methods.uniform.method import Uniform
from methods.weights import save_weights

SUITE = """
name: one
description: For tests.
steps: 1
size: [32, 32]
negative_prompt: the beach
identities:
  one: [{pocket: [10000300]}]
prompts:
  one: ["photo of the person"]
"""


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from methods.pocket.references import PLAIN, reference_png

    path = tmp_path_factory.mktemp("face") / "face.png"
    path.write_bytes(reference_png(10000300, PLAIN, 0))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that belong elsewhere."""
    folder = tmp_path_factory.mktemp("files")
    state = flux_adapter_state()
    save_weights(folder / "flux.safetensors", state)
    third = {name.replace("_adapter.2.", "_adapter.7."): value for name, value in state.items()}
    save_weights(folder / "blocks.safetensors", third)
    save_weights(folder / "pulid_v1.1.safetensors", {"id_adapter.proj_out": torch.zeros(2, 2)})
    Uniform.untrained(tiny_backbone("sd1")).save(folder / "sd1")
    for part in ("text_encoder_2", "vae"):
        shutil.rmtree(shutil.copytree(flux_folder("dev"), folder / f"without-{part}") / part)
    return folder


@pytest.mark.parametrize(
    "kind, arguments, code, said",
    [
        (
            "dev",
            ("--width", "72"),
            2,
            "72x64 pixels cannot be sampled. Give a width and a height that are mul",
        ),
        ("schnell", ("--guidance", "3.5"), 2, "takes no guidance: its network was distilled without one"),
        ("dev", ("--method", "uniform", "--adapter", "sd1"), 1, "was trained for sd1 backbones"),
        (
            "dev",
            ("--method", "uniform", "--adapter", "blocks.safetensors"),
            1,
            "lacks the tensor ip_adapter.2.",
        ),
        ("dev", ("--method", "pulid", "--adapter", "pulid_v1.1.safetensors"), 1, "is PuLID for SDXL"),
        ("dev", ("--method", "pulid", "--adapter", "flux.safetensors"), 1, "flux.safetensors is "),
        ("without-text_encoder_2", (), 2, "T5 is missing, expected in"),
        ("without-vae", (), 2, "the autoencoder is missing, expected in"),
        ("dev", ("--quantize", "nf4"), 1, "needs the library bitsandbytes"),
    ],
)
def test_bad_input_is_one_line(
    spid: Spid,
    files: Path,
    face: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    if "--quantize" in arguments:
        monkeypatch.setattr(family.importlib.util, "find_spec", lambda name: None)
    backbone = files / kind if kind.startswith("without") else flux_folder(kind)
    given = [str(files / one) if (files / one).exists() else one for one in arguments]
    if "--method" not in given:
        given += ["--method", "none"]
    outcome = spid(
        "generate", "--prompt", "photo", "--backbone", backbone, "--device", "cpu", "--reference", face,
        "--face-encoder", "pocket", "--width", "64", "--height", "64", "--steps", "1",
        "--output", tmp_path / "out", *given,
    )  # fmt: skip
    assert outcome.code == code, outcome.err
    lines = outcome.err.strip().splitlines()
    assert said in " ".join(" ".join(lines).split()) and len(lines) <= 3 and "Traceback" not in outcome.err
    assert not list((tmp_path / "out").rglob("*.png"))


def test_true_guidance_in_a_bench(spid: Spid, tmp_path: Path, pocket_weights: Path) -> None:
    suite = tmp_path / "one.yaml"
    suite.write_text(SUITE)
    asked = [
        "bench", "--suite", suite, "--methods", "none", "--device", "cpu", "--metrics", "attr_scene",
        "--face-encoder", "pocket",
    ]  # fmt: skip

    def run(name: str, *options: str | Path) -> dict:
        outcome = spid(*asked, *options, "--output", tmp_path / name)
        assert (tmp_path / name / "samples.jsonl").exists(), outcome.err
        (row,) = [json.loads(line) for line in (tmp_path / name / "samples.jsonl").open()]
        return {**row, "settings": json.loads((tmp_path / name / "run.json").read_text())["settings"]}

    dev = ("--backbone", flux_folder("dev"))
    by_two, by_three = (run(scale, *dev, "--true-cfg", scale) for scale in ("2", "3"))
    assert (by_two["settings"]["true_cfg"], by_three["settings"]["true_cfg"]) == (2.0, 3.0)
    assert by_two["id"] != by_three["id"]
    pixels = [
        (tmp_path / name / row["picture"]).read_bytes() for name, row in (("2", by_two), ("3", by_three))
    ]
    assert pixels[0] != pixels[1]
    alone = spid(*asked, *dev, "--output", tmp_path / "alone")
    assert alone.code == 2 and "reads a negative prompt only in a pass of its own" in alone.err
    other = spid(*asked, "--backbone", "pocket", "--true-cfg", "2", "--output", tmp_path / "other")
    assert other.code == 2 and "no guidance beside classifier-free guidance" in other.err
    assert not (tmp_path / "other").exists() and not (tmp_path / "alone").exists()
