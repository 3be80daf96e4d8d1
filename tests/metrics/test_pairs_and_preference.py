"""LPIPS of the background and PickScore: real loaders, random weights in the true layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_samples import portrait, sample, scores
from PIL import Image

from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.models.pairs import Lpips
from benchmarks.metrics.models.preference import PickImage, PickScore, PickText
from methods.weights import save_weights


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Torchvision's layout of AlexNet's features, random weights."""
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {}
    for place, (out, into, side) in shapes.items():
        state[f"features.{place}.weight"] = torch.randn(out, into, side, side) * (into * side**2) ** -0.5
        state[f"features.{place}.bias"] = torch.randn(out) * 0.1
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(state, path)
    return path


def test_lpips_is_torchmetrics_own_and_the_background_counts(alexnet: Path) -> None:
    evaluator = Evaluator("background_lpips", backbone_family="pocket", models={"lpips": str(alexnet)})
    lpips = evaluator._extractors["lpips"]
    assert isinstance(lpips, Lpips)
    one, other = portrait(1), portrait(1, scene="forest")
    found = lpips.distance(one, other)
    state = torch.load(alexnet, weights_only=True)
    filters = lpips.network.net.slice3[1]
    assert isinstance(filters, torch.nn.Conv2d) and torch.equal(filters.weight, state["features.6.weight"])
    lpips.network.spatial = False  # torchmetrics' ordinary LPIPS
    pair = [torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 255 for p in (one, other)]
    with torch.inference_mode():
        expected = float(lpips.network(*pair, normalize=True))
    lpips.network.spatial = True
    assert found.shape == (128, 128) and expected > 1e-4
    # upsampling layer by layer keeps means only nearly
    assert float(found.mean()) == pytest.approx(expected, rel=0.05)
    assert float(np.abs(lpips.distance(one, one)).max()) == 0.0

    plain = portrait(1, framing="wide")
    elsewhere = np.array(plain)
    elsewhere[90:, :20] = 255 - elsewhere[90:, :20]
    head = np.array(plain)
    head[50:60, 60:70] = 255 - head[50:60, 60:70]

    def measured(pixels: np.ndarray) -> float:
        given = sample(Image.fromarray(pixels), baseline=plain, baseline_id="b")
        score = evaluator.score([given])[0]["background_lpips"]
        assert score.value is not None, score
        return score.value

    assert measured(np.array(plain)) == 0.0
    assert measured(elsewhere) > 4 * measured(head) > 0.0


def test_lpips_says_which_file_it_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    reason = Evaluator("background_lpips", backbone_family="pocket").unavailable["background_lpips"]
    assert str(tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in reason
    wrong = tmp_path / "wrong.safetensors"
    save_weights(wrong, {"features.0.weight": torch.zeros(3, 3)})
    one = sample(portrait(1), baseline=portrait(1), baseline_id="b")
    score = scores("background_lpips", one, lpips=str(wrong))[0]["background_lpips"]
    assert score.status == "unavailable" and "not torchvision's AlexNet" in score.reason


@pytest.fixture(scope="module")
def pick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PickScore in miniature: transformers' CLIP, its tokenizer and transform, as the hub holds it."""
    from methods.compat import ensure_torchvision

    ensure_torchvision()
    from tiny import tiny_tokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("pick")
    tokenizer = tiny_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    config = CLIPConfig(
        text_config={
            **small,
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "max_position_embeddings": 77,
        },
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).eval().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )
    return folder


def test_pickscore_is_the_models_own_logit(pick: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

    prompt = "a photo of a person on a beach"
    model = CLIPModel.from_pretrained(pick).eval()
    tokens = CLIPTokenizerFast.from_pretrained(pick)(
        prompt, padding="max_length", truncation=True, max_length=77, return_tensors="pt"
    )
    pixels = CLIPImageProcessor.from_pretrained(pick)(images=portrait(1), return_tensors="pt")
    with torch.inference_mode():
        expected = float(model(**tokens, **pixels).logits_per_image)
    score = scores("pickscore", sample(portrait(1), prompt=prompt), preference=str(pick))[0]["pickscore"]
    assert score.value == pytest.approx(expected, abs=1e-4)
    together = PickImage(PickScore(str(pick), "cpu")).compute([("a", portrait(1)), ("b", portrait(2))])
    assert together[0].shape == (8,) and np.linalg.norm(together[1]) == pytest.approx(1.0, abs=1e-5)
    (text,) = PickText(PickScore(str(pick), "cpu")).compute([("t", "a beach")])
    assert np.linalg.norm(text) == pytest.approx(float(model.logit_scale.detach().exp()), rel=1e-4)


def test_pickscore_says_where_it_looked(pick: Path, tmp_path: Path) -> None:
    absent = Evaluator("pickscore", backbone_family="sd1").unavailable["pickscore"]
    assert "models--yuvalkirstain--PickScore_v1" in absent and "preference=FOLDER" in absent
    folder = Path(shutil.copytree(pick, tmp_path / "p"))
    (folder / "model.safetensors").unlink()
    torn = Evaluator("pickscore", backbone_family="sd1", models={"preference": str(folder)})
    assert str(folder / "model.safetensors") in torn.unavailable["pickscore"]
    (folder / "model.safetensors").write_bytes(b"not weights")
    score = scores("pickscore", sample(portrait(1)), family="sd1", preference=str(folder))[0]["pickscore"]
    assert score.status == "unavailable" and "PickScore" in score.reason
