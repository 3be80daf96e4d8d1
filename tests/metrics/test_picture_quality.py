"""Quality metrics against pyiqa's own calls, and the training of the pocket model in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from metric_samples import BLANK, portrait, sample, scores, value
from PIL import Image

from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.models.quality import IBenchMusiq, Musiq, Piqe, create
from methods.errors import WeightsError
from methods.paths import pocket_dir
from methods.weights import save_weights

pyiqa = pytest.importorskip("pyiqa")
TINY = {"patch_size": 16, "hidden_size": 12, "mlp_dim": 12, "num_heads": 2, "num_layers": 1, "num_scales": 2}
TINY |= {"longer_side_lengths": [64]}


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random MUSIQ in the files of the pocket one."""
    folder = tmp_path_factory.mktemp("quality")
    torch.manual_seed(0)
    metric = pyiqa.create_metric("musiq", device=torch.device("cpu"), pretrained=False, **TINY)
    save_weights(folder / "musiq.safetensors", metric.net.state_dict())
    (folder / "musiq.json").write_text(json.dumps({"metric": "musiq", "options": TINY}))
    return folder


@pytest.fixture
def musiq(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`pocket` means the tiny one."""
    monkeypatch.setattr("benchmarks.metrics.models.quality.pocket_dir", lambda: tiny.parent)
    (tiny.parent / "quality").exists() or (tiny.parent / "quality").symlink_to(tiny)
    return tiny


def test_piqe_is_pyiqas_own() -> None:
    picture = portrait(1, scene="city")
    theirs = pyiqa.create_metric("piqe", device=torch.device("cpu"))(tensor(picture)).item()
    assert value("piqe", sample(picture)) == pytest.approx(theirs, abs=1e-3)


def test_musiq_is_pyiqas_own(musiq: Path) -> None:
    theirs = pyiqa.create_metric("musiq", device=torch.device("cpu"), pretrained=False, **TINY)
    from safetensors.torch import load_file

    theirs.net.load_state_dict(load_file(musiq / "musiq.safetensors"))
    model = Musiq("pocket", "cpu")
    assert model.missing() is None
    pictures = [portrait(1), portrait(2).resize((96, 64)), portrait(3)]
    ours = model.compute([(str(i), picture) for i, picture in enumerate(pictures)])
    assert ours == pytest.approx([theirs(tensor(picture)).item() for picture in pictures], abs=1e-5)


def test_ibench_scores_bytes_where_the_network_expects_the_unit_interval(musiq: Path) -> None:
    network = Musiq("pocket", "cpu").metric.net
    picture = portrait(1)
    with torch.no_grad():
        as_published = network(tensor(picture) * 255.0).item()
        as_meant = network(tensor(picture)).item()
    (bug,) = IBenchMusiq("pocket", "cpu").compute([("a", picture)])
    (meant,) = Musiq("pocket", "cpu").compute([("a", picture)])
    assert bug == pytest.approx(as_published, abs=1e-5)
    assert meant == pytest.approx(as_meant, abs=1e-5)
    assert abs(bug - meant) > 1e-4


def test_musiq_spaq_is_a_hundredth_and_its_file_is_loaded_without_executing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    absent = Evaluator("iq", backbone_family="sd1")
    assert "musiq_spaq_ckpt-358bb6af.pth" in absent.unavailable["iq"]
    score = absent.score([sample(BLANK)])[0]["iq"]
    assert (score.value, score.status) == (None, "unavailable") and score.reason == absent.unavailable["iq"]

    file = tmp_path / "hub" / "pyiqa" / "musiq_spaq_ckpt-358bb6af.pth"
    file.parent.mkdir(parents=True)
    metric = create("musiq", "cpu", pretrained=False)
    torch.save({f"module.{name}": tensor for name, tensor in metric.net.state_dict().items()}, file)
    picture = portrait(1)
    (ours,) = Musiq("musiq-spaq", "cpu").compute([("a", picture)])
    assert ours == pytest.approx(metric(tensor(picture)).item() / 100, abs=1e-6)

    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(WeightsError, match="does not fit"):
        Musiq("musiq-spaq", "cpu").compute([("a", picture)])
    torch.save({"anything": Path}, file)
    with pytest.raises(WeightsError, match="more than tensors"):
        Musiq("musiq-spaq", "cpu").compute([("a", picture)])


def test_a_flat_picture_has_a_piqe_or_a_reason() -> None:
    flat = Image.new("RGB", (128, 128), (90, 90, 90))
    first, second = scores("piqe", sample(flat), sample(portrait()))
    assert first["piqe"].status in ("ok", "error")
    assert second["piqe"].value is not None


def test_the_pocket_model_sees_strong_blur() -> None:
    picture = portrait(1, scene="city")
    blurred = Image.fromarray(cv2.GaussianBlur(np.array(picture), (0, 0), 4.0))
    sharp, soft = (
        score["iq_pocket"].value for score in scores("iq_pocket", sample(picture), sample(blurred))
    )
    assert sharp is not None and soft is not None and sharp > soft


def test_shipped_quality_weights_are_small() -> None:
    assert (pocket_dir() / "quality" / "musiq.safetensors").stat().st_size < 5_000_000


# ------------------------------------------------------------------ training
def test_similarity_is_pyiqas_ssim() -> None:
    from scripts.pocket.quality_model import similarity

    ssim = pyiqa.create_metric("ssim", device=torch.device("cpu"))
    intact = np.array(portrait(1, scene="city"))
    for sigma in (0.8, 3.0):
        blurred = cv2.GaussianBlur(intact, (0, 0), sigma)
        theirs = ssim(tensor(Image.fromarray(blurred)), tensor(Image.fromarray(intact))).item()
        assert similarity(blurred, intact) == pytest.approx(theirs, abs=0.01)
    assert similarity(intact, intact) == 1.0


def test_every_damage_worsens_with_its_amount() -> None:
    from scripts.pocket.quality_model import DAMAGE, similarity

    intact = np.array(portrait(1, scene="city"))
    for kind in DAMAGE:
        mild, strong = (similarity(kind(intact, a, np.random.default_rng(0)), intact) for a in (0.05, 0.95))
        assert 1.0 > mild > strong, kind.__name__


def test_a_short_training_writes_what_the_metric_loads(tmp_path: Path) -> None:
    from scripts.pocket import quality_model
    from scripts.pocket.dataset import build

    build(tmp_path / "dataset", per_name=0, people=4, per_person=2, seed=1, workers=1)
    figures = quality_model.train(
        tmp_path / "dataset", tmp_path / "quality", tmp_path / "work",
        minutes=1, steps=2, resume=False, seed=1, batch_size=4, evaluated=4,
    )  # fmt: skip
    assert figures["steps"] == 2
    assert set(json.loads((tmp_path / "quality" / "musiq.json").read_text())) == {"metric", "options"}
    metric = quality_model.load_quality_model(tmp_path / "quality")
    again = quality_model.figures(metric, 4)
    assert again == {name: figures[name] for name in again}


def test_piqe_without_pyiqa_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.metrics.models.quality.find_spec", lambda name: None)
    assert "pip install 'spid[iqa]'" in str(Piqe("cpu").missing())
