"""CLIP metrics: against open_clip by hand and torchmetrics' CLIPScore."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from metric_samples import PLAIN, portrait, sample, scores, text, unit, value, view
from PIL import Image

from benchmarks.metrics.ibench import IBenchAesthetic
from benchmarks.metrics.metric import NoScore
from benchmarks.metrics.models.clip import Aesthetic, ClipText, OpenClip
from benchmarks.metrics.quality import Aesthetic as AestheticMetric
from benchmarks.metrics.structure import DinoScene, DinoSimilarity, DreamSimDistance
from benchmarks.metrics.text import ClipIRef, ClipIScene, ClipT, Drift
from methods.errors import UsageError, WeightsError
from methods.paths import pocket_dir

FOLDER = f"local-dir:{pocket_dir() / 'clip'}"


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Any, Any]:
    model, _, transform = open_clip.create_model_and_transforms(FOLDER)
    return model.eval(), transform, open_clip.get_tokenizer(FOLDER)


def test_clip_t_equals_open_clip_by_hand(reference: tuple[Any, Any, Any]) -> None:
    model, transform, tokenizer = reference
    prompt, picture = text(scene="forest"), portrait(scene="forest")
    with torch.no_grad():
        seen = model.encode_image(transform(picture)[None])
        read = model.encode_text(tokenizer([prompt]))
    by_hand = torch.nn.functional.cosine_similarity(seen, read).item()
    assert value("clip_t", sample(picture, prompt=prompt)) == pytest.approx(by_hand, abs=1e-5)


def test_clip_t_is_a_hundredth_of_torchmetrics_clip_score(reference: tuple[Any, Any, Any]) -> None:
    from torchmetrics.functional.multimodal import clip_score

    model, transform, tokenizer = reference

    def processor(*, text: list[str] | None = None, images: Any = None, **_: Any) -> dict[str, torch.Tensor]:
        if images is not None:
            pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
            return {"pixel_values": torch.stack([transform(picture) for picture in pictures])}
        tokens = tokenizer(text)
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}

    class Adapted(torch.nn.Module):
        """The open_clip model under the names that torchmetrics calls."""

        config = SimpleNamespace()

        def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return model.encode_image(pixel_values)

        def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return model.encode_text(input_ids)

    picture, prompt = portrait(style="sketch"), text(style="sketch")
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    with torch.no_grad():
        theirs = clip_score(pixels, prompt, model_name_or_path=lambda: (Adapted(), processor))
    assert 100 * value("clip_t", sample(picture, prompt=prompt)) == pytest.approx(theirs.item(), abs=1e-3)


def test_a_picture_without_changes_is_fully_consistent_and_does_not_drift() -> None:
    one = sample(portrait(), baseline=portrait(), baseline_id="b", reference=portrait(), category="Unrelated")
    found = scores("clip_i_scene,clip_i_ref,drift", one)[0]
    assert found["clip_i_scene"].value == pytest.approx(1.0, abs=1e-5)
    assert found["clip_i_ref"].value == pytest.approx(1.0, abs=1e-5)
    assert found["drift"].value == pytest.approx(0.0, abs=1e-5)


def test_the_formulas_are_cosines() -> None:
    a, b = unit(1.0, 0.0), unit(1.0, 1.0)
    assert ClipT().score(view({"picture:clip": a, "text:clip_text": b})) == pytest.approx(0.5**0.5)
    assert ClipIScene().score(view({"picture:clip": a, "baseline:clip": -a})) == pytest.approx(-1.0)
    assert ClipIRef().score(view({"picture:clip": a, "reference:clip": b})) == pytest.approx(0.5**0.5)
    unrelated = view({"picture:clip": a, "baseline:clip": -a}, category="unrelated")
    assert Drift().score(unrelated) == pytest.approx(2.0)


def test_scores_of_other_models_are_what_their_cards_say() -> None:
    a, b = unit(1.0, 0.0), unit(3.0, 4.0)
    assert DreamSimDistance().score(view({"picture:dreamsim": a, "reference:dreamsim": b})) == pytest.approx(
        0.4
    )
    assert DinoSimilarity().score(view({"picture:dino": a, "reference:dino": b})) == pytest.approx(0.6)
    assert DinoScene().score(view({"picture:dino": a, "baseline:dino": b})) == pytest.approx(0.6)
    scored = view({"picture:aesthetic": 5.5})
    assert AestheticMetric().score(scored) == 5.5
    assert IBenchAesthetic().score(scored) == pytest.approx(0.55)


def test_drift_is_silent_on_prompts_about_people() -> None:
    with pytest.raises(NoScore) as caught:
        Drift().score(view({"picture:clip": unit(1.0), "baseline:clip": unit(1.0)}, category="Style"))
    assert caught.value.score.status == "ok" and caught.value.score.value is None


def test_the_right_caption_fits_better() -> None:
    right, wrong = (
        value("clip_t", sample(portrait(scene="beach"), prompt=text(scene=s))) for s in ("beach", "library")
    )
    assert right > wrong


def test_long_text_is_cut_and_not_refused() -> None:
    clip = OpenClip("pocket", "cpu")
    long, longer = ClipText(clip).compute([("a", "red hat " * 200), ("b", "red hat " * 300)])
    assert np.allclose(long, longer, atol=1e-5)


def test_ibench_transform_resizes_tensors_and_crops(reference: tuple[Any, Any, Any]) -> None:
    from torchvision.transforms import functional as tv

    model, transform, _ = reference
    picture = portrait().resize((96, 160), Image.Resampling.BILINEAR)
    tensor = tv.to_tensor(picture)
    tensor = tv.resize(tensor, [128], interpolation=tv.InterpolationMode.BICUBIC, antialias=True)
    tensor = tv.normalize(tv.center_crop(tensor, [128, 128]), [0.5] * 3, [0.5] * 3)
    with torch.no_grad():
        by_hand = model.encode_image(tensor[None], normalize=True)[0].numpy()
    assert np.allclose(OpenClip("pocket", "cpu").ibench_images([picture])[0], by_hand, atol=1e-5)
    # a square picture of the model's own size is seen alike by both transforms
    same = sample(portrait(), prompt=text(), baseline=portrait(scene="city"), baseline_id="b")
    found = scores("clip_t,clip_i_scene,ibench_clip_t,ibench_clip_i", same)[0]
    assert found["ibench_clip_t"].value == pytest.approx(found["clip_t"].value, abs=1e-5)
    assert found["ibench_clip_i"].value == pytest.approx(found["clip_i_scene"].value, abs=1e-5)


def test_models_are_given_by_folder_or_by_architecture_and_file(tmp_path: Path) -> None:
    pocket = OpenClip("pocket", "cpu").images([portrait()])
    assert np.array_equal(OpenClip(str(pocket_dir() / "clip"), "cpu").images([portrait()]), pocket)
    assert "No CLIP model" in str(OpenClip("nowhere", "cpu").missing())
    assert "No CLIP weights" in str(OpenClip(f"ViT-L-14:{tmp_path / 'x.pt'}", "cpu").missing())
    with pytest.raises(UsageError, match="no architecture"):
        OpenClip("ViT-Nothing:openai", "cpu").texts(["a"])
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        OpenClip(str(tmp_path), "cpu").texts(["a"])


def test_the_aesthetic_score_is_the_linear_head(tmp_path: Path) -> None:
    feature = np.eye(1, 768, 5, dtype=np.float32)
    weight = torch.arange(768.0)[None]
    torch.save({"weight": weight, "bias": torch.tensor([0.5])}, tmp_path / "head.pth")
    clip: Any = SimpleNamespace(
        images=lambda _: feature, tag="ViT-L/14", architecture="ViT-L-14", missing=lambda: None
    )
    head = Aesthetic(clip, str(tmp_path / "head.pth"))
    assert head.missing() is None
    assert head.compute([("a", PLAIN)]) == [5.5]
    torch.save({"weight": weight[:, :512], "bias": torch.tensor([0.5])}, tmp_path / "small.pth")
    with pytest.raises(WeightsError, match="width 768"):
        Aesthetic(clip, str(tmp_path / "small.pth")).compute([("a", PLAIN)])
    assert "needs clip=ViT-L-14" in str(Aesthetic(OpenClip("pocket", "cpu"), "x").missing())
