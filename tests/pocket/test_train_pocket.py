"""`scripts/train_pocket.py` at toy size: every stage that an accelerator takes, and who gets which time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from methods.backbone.families.flux import image_ids, pack, unpack
from methods.backbone.load import load_backbone
from methods.errors import WeightsError
from methods.paths import pocket_dir
from scripts import train_pocket
from scripts.pocket.captions import DRAWN, Captions
from scripts.pocket.common import start_from
from scripts.pocket.dataset import Dataset
from scripts.pocket.diffusion import build_unet
from scripts.pocket.flux import T5_LENGTH, build_t5, build_t5_tokenizer, flow_batch
from scripts.pocket.flux_words import teach
from scripts.pocket.tokenizer import CONTEXT_LENGTH

TOY = ("--per-name", "0", "--people", "4", "--per-person", "8", "--seed", "3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a toy run leaves: VAE, reader, U-Net and FLUX twin of two steps, without the shipped weights."""
    folder = tmp_path_factory.mktemp("toy")
    work, weights = folder / "work", folder / "weights"
    arguments = ["--work", str(work), "--weights", str(weights), "--steps", "2", "--batch", "4", *TOY]
    for stage in ("dataset", "autoencoder", "face-reader", "diffusion", "flux"):
        train_pocket.main(
            [stage, *arguments, *(["--previews", "0"] if stage in ("diffusion", "flux") else [])]
        )
    return folder


def test_every_weight_file_is_small_and_the_backbone_loads(trained: Path) -> None:
    files = [path for path in (trained / "weights").rglob("*") if path.is_file()]
    assert files and max(path.stat().st_size for path in files) < 16_000_000
    backbone = load_backbone(str(trained / "weights" / "sd"))
    assert backbone.default_size == (128, 128)
    ids = backbone.text.token_ids(["a photo of adela abbott with freckles"])
    assert torch.as_tensor(ids[0]).shape[-1] == CONTEXT_LENGTH
    figures = json.loads((trained / "work" / "diffusion" / "figures.json").read_text())
    assert figures["steps"] == 2 and figures["pictures"] == 8


def test_the_flux_folder_is_one_of_diffusers_own(trained: Path) -> None:
    pipeline = FluxPipeline.from_pretrained(trained / "weights" / "flux", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    shown = pipeline(
        "a photo of a man with a red beard",
        width=128, height=128, num_inference_steps=2, guidance_scale=3.5, max_sequence_length=T5_LENGTH,
        generator=torch.Generator().manual_seed(0), output_type="np",
    ).images  # fmt: skip
    assert shown.shape == (1, 128, 128, 3) and np.isfinite(shown).all()
    assert pipeline.transformer.config.guidance_embeds and pipeline.transformer.config.in_channels == 64


def test_a_training_goes_on_from_a_snapshot(trained: Path) -> None:
    snapshot = trained / "weights" / "sd" / "unet"
    unet = build_unet(16)
    start_from(unet, snapshot)
    stored = {k: v for file in snapshot.glob("*.safetensors") for k, v in load_file(file).items()}
    assert all(torch.equal(value, stored[name].float()) for name, value in unet.state_dict().items())
    with pytest.raises(WeightsError, match="another network"):
        start_from(build_unet(8), snapshot)
    with pytest.raises(WeightsError, match="no weights to start from"):
        start_from(unet, trained / "nowhere")


def test_captions_come_out_of_a_table_where_an_accelerator_waits(trained: Path, tmp_path: Path) -> None:
    data = Dataset(trained / "work" / "dataset")
    tokenizer = CLIPTokenizer.from_pretrained(trained / "weights" / "sd" / "tokenizer")
    captions = Captions(data, [tokenizer], table=tmp_path / "captions.npy")
    assert np.load(tmp_path / "captions.npy").shape == (len(data), DRAWN, CONTEXT_LENGTH)
    chosen, rng = np.arange(len(data)), np.random.default_rng(0)
    [ids], [empty] = captions.draw(chosen, rng, drop=0.5), captions.empty
    dropped = (ids == empty).all(dim=1).float().mean()
    assert ids.dtype == torch.int64 and 0.1 < dropped < 0.9
    scene = {"beach": ("beach", "sea"), "forest": ("forest", "woods", "trees")}
    for i, row in enumerate(captions.draw(chosen, rng, drop=0.0)[0]):
        said = tokenizer.decode(row, skip_special_tokens=True)
        for name, words in scene.items():
            if any(word in said.split() for word in words):
                assert data.context(i).scene == name, said


def test_a_lesson_hands_over_to_t5_what_clip_says(trained: Path, tmp_path: Path) -> None:
    tokenizers = CLIPTokenizer.from_pretrained(pocket_dir() / "sd" / "tokenizer"), build_t5_tokenizer()
    captions = Captions(Dataset(trained / "work" / "dataset"), tokenizers)
    clip = CLIPTextModel.from_pretrained(pocket_dir() / "sd" / "text_encoder", dtype=torch.float32)
    told = {"minutes": 9, "resume": False, "seed": 5, "batch": 8}
    explained = [
        teach(build_t5(tokenizers[1]), clip, captions, 32, tmp_path, steps=n, **told)["explained"]
        for n in (1, 60)
    ]
    assert explained[0] < 0 and explained[1] > 0.2
    taught = load_file(trained / "weights" / "sd" / "text_encoder" / "model.safetensors")
    ours = load_file(trained / "weights" / "flux" / "text_encoder" / "model.safetensors")
    assert all(torch.equal(ours[name], value) for name, value in taught.items())  # FLUX's CLIP is the U-Net's


def test_packing_and_the_flow_have_known_answers() -> None:
    clean = torch.randn(4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pack(clean), FluxPipeline._pack_latents(clean, 4, 16, 16, 16))
    assert torch.equal(unpack(pack(clean), 16, 16), clean)
    theirs = FluxPipeline._prepare_latent_image_ids(1, 8, 8, torch.device("cpu"), torch.float32)
    assert torch.equal(image_ids(16, 16, torch.device("cpu")), theirs)
    noisy, time = flow_batch(clean, torch.Generator().manual_seed(1))
    at = time[:, None, None, None]
    noise = (noisy - (1 - at) * clean) / at
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.02
    assert torch.all((0 < time) & (time < 1)) and 0.3 < float(time.median()) < 0.7


def test_one_budget_is_shared_out_and_what_is_missing_runs_beside(tmp_path: Path) -> None:
    (tmp_path / "face").mkdir()
    (tmp_path / "face" / "rec.onnx").touch()
    given: dict[str, float] = {}
    asked: list[str] = []
    events: list[str] = []

    def stage(name: str):
        def run(minutes: float, **options: object) -> dict[str, object]:
            given[name] = minutes
            events.append(name)
            return {}

        return run

    def perceive(names: list[str], minutes: float):
        asked.extend(names)
        given["perception"] = minutes
        return lambda: events.append("waited")

    run = {name: stage(name) for name in train_pocket.GENERATION}
    train_pocket.everything(run, tmp_path, 10.0, {}, perceive=perceive, report=lambda line: None)
    assert "recogniser" not in asked and {"detector", "probes"} < set(asked)
    assert events == ["autoencoder", "face-reader", "diffusion", "waited", *list(train_pocket.GENERATION)[3:]]
    assert given["autoencoder"] == pytest.approx(2.4, rel=0.01)
    # the others took no time here, so all is left
    assert given["flux"] == pytest.approx(7.5, rel=0.01) and given["pulid"] == pytest.approx(10.0, rel=0.01)
    assert given["perception"] == pytest.approx(6.3, rel=0.01)
    assert sum(train_pocket.SHARES.values()) == pytest.approx(1.0)
    assert set(train_pocket.SHARES) == set(train_pocket.GENERATION)


def test_a_stage_of_perception_that_fails_is_named(tmp_path: Path) -> None:
    from methods.errors import SpidError
    from scripts.pocket.perceive import beside

    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "captions.json").write_text("[]")
    wait = beside(["probes"], 0.01, work=tmp_path, weights=pocket_dir(), seed=0)
    with pytest.raises(SpidError, match=r"probes\.log"):
        wait()
    assert "no rendered data set" in (tmp_path / "probes.log").read_text()
