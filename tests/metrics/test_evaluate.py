"""The evaluator: one analysis per picture, named statuses, nothing silent."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from metric_samples import BLANK, photograph, portrait, sample, scores, text, unit
from PIL import Image

from benchmarks.metrics.base import Score
from benchmarks.metrics.catalogue import SELECTIONS, metrics, select, weights_of
from benchmarks.metrics.evaluate import Evaluator, _checked
from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.models.zoo import ROLES, check_models, zoo
from methods.errors import UsageError, WeightsError
from methods.paths import pocket_dir
from methods.weights import load_weights, save_weights


class Counted(Extractor):
    """Another extractor, counting what it is asked for."""

    tag, preprocessing, licence = "counted", "", ""

    def __init__(self, inner: Extractor) -> None:
        self.inner, self.keys, self.calls = inner, Counter[str](), 0

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        self.keys.update(key for key, _ in items)
        self.calls += 1
        return self.inner.compute(items)


def test_a_card_tells_weights_apart_that_have_the_same_name(tmp_path: Path) -> None:
    for name in ("probes.json", "probes.safetensors"):
        shutil.copy(pocket_dir() / "probes" / name, tmp_path / name)

    def digests() -> dict[str, str | None]:
        return weights_of(["attr", "id_sim", "piqe"], "pocket", {"probes": str(tmp_path)})

    shipped, first = weights_of(["attr", "id_sim", "piqe"], "pocket"), digests()
    assert first == shipped and first["piqe"] is None and first["id_sim"] != first["attr"]
    state = load_weights(tmp_path / "probes.safetensors")
    state["heads.scene.bias"] = state["heads.scene.bias"] + 1
    save_weights(tmp_path / "probes.safetensors", state)
    changed = digests()
    assert changed["attr"] != first["attr"] and changed["id_sim"] == first["id_sim"]


@pytest.mark.parametrize("feature", ["clip", "clip_text", "face", "face_first", "musiq_pocket", "probes"])
def test_every_model_of_the_pocket_zoo_names_its_files(feature: str) -> None:
    files = zoo("pocket")[feature].files()
    assert files and all(path.is_file() for path in files)
    assert any(path.suffix in (".safetensors", ".onnx") for path in files)


def some(n: int = 4) -> list[Any]:
    """Pictures of two people by one prompt, sharing references and without-ID pictures."""
    return [
        sample(
            portrait(i, scene="beach"),
            prompt=text(0, scene="beach"),
            identity=f"p{i % 2}",
            reference=portrait(i % 2),
            reference_id=f"r{i % 2}",
            baseline=portrait(9, scene="beach"),
            baseline_id="b",
        )
        for i in range(n)
    ]


def test_every_picture_passes_each_model_once() -> None:
    names = "clip_t,clip_i_scene,clip_i_ref,drift,counterfactual,fid_clip,id_sim,id_sim_zero,face_found"
    evaluator = Evaluator(names, backbone_family="pocket")
    for feature in ("clip", "clip_text", "face"):
        evaluator._extractors[feature] = Counted(evaluator._extractors[feature])
    evaluator.score(some(4))
    evaluator.score(some(4))
    evaluator.score_set(some(4))
    for feature, pictures in (("clip", 4 + 2 + 1), ("clip_text", 1), ("face", 4 + 2)):
        counted = evaluator._extractors[feature]
        assert isinstance(counted, Counted)
        assert len(counted.keys) == pictures, feature
        assert set(counted.keys.values()) == {1}, feature
        assert counted.calls == 1, feature  # all pictures of a block in one batch


def test_one_detection_serves_both_recognisers() -> None:
    evaluator = Evaluator("id_sim,id_sim_same,background_leakage", backbone_family="pocket")
    evaluator.score(some(2))
    detector = evaluator._extractors["face"].detector  # type: ignore[attr-defined]
    assert detector is evaluator._extractors["face_same"].detector  # type: ignore[attr-defined]
    assert len(detector._seen) == 2 + 2 + 1


def test_values_do_not_depend_on_the_batch() -> None:
    names = "clip_t,id_sim,piqe,background_leakage,clip_i_scene"
    together = scores(names, *some(3))
    for place, one in enumerate(some(3)):
        alone = scores(names, one)[0]
        for name, score in alone.items():
            assert score.value == pytest.approx(together[place][name].value, abs=1e-5), name


def test_scores_come_in_the_order_of_the_cards() -> None:
    evaluator = Evaluator("id_sim,clip_t,attr", backbone_family="pocket")
    assert [info.name for info in evaluator.infos] == ["clip_t", "id_sim", "attr"]
    assert list(evaluator.score([sample(portrait())])[0]) == ["clip_t", "id_sim", "attr"]


def test_a_sample_without_reference_or_baseline_is_scored_where_that_makes_sense() -> None:
    one = scores("clip_t,clip_i_scene,id_sim,background_leakage,leak", sample(portrait(), prompt=text()))[0]
    assert one["clip_t"].value is not None
    for name in ("clip_i_scene", "id_sim", "background_leakage", "leak"):
        assert (one[name].value, one[name].status) == (None, "ok"), name
        assert one[name].reason


def test_nothing_to_score_is_no_error() -> None:
    evaluator = Evaluator("clip_t,fid_clip", backbone_family="pocket")
    assert evaluator.score([]) == []
    assert evaluator.score_set([])["fid_clip"].value is None


class Damaged(Extractor):
    """Fails on one picture, as a model does on an odd one."""

    tag, preprocessing, licence = "damaged", "", ""
    bad: ClassVar[str] = ""

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        if any(key == self.bad for key, _ in items):
            raise RuntimeError("odd picture")
        return [unit(1.0, 0.0)] * len(items)


def test_one_bad_picture_does_not_take_the_batch_with_it() -> None:
    evaluator = Evaluator("clip_i_ref,face_found", backbone_family="pocket")
    evaluator._extractors["clip"] = Damaged()
    given = some(3)
    Damaged.bad = given[1].id
    found = evaluator.score(given)
    assert [one["clip_i_ref"].status for one in found] == ["ok", "error", "ok"]
    assert "odd picture" in found[1]["clip_i_ref"].reason
    assert [one["face_found"].value for one in found] == [1.0, 1.0, 1.0]


class Absent(Extractor):
    tag, preprocessing, licence = "absent", "", ""

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        raise WeightsError("The file is torn.", hint="Copy it again.")


def test_a_model_that_does_not_load_makes_its_metrics_unavailable() -> None:
    evaluator = Evaluator("clip_t,clip_i_ref,face_found", backbone_family="pocket")
    evaluator._extractors["clip"] = Absent()
    assert evaluator.unavailable == {}
    one = evaluator.score(some(1))[0]
    assert one["clip_i_ref"] == Score(None, "unavailable", "The file is torn. Copy it again.")
    assert one["face_found"].value == 1.0
    assert set(evaluator.unavailable) == {"clip_t", "clip_i_ref"}


def test_a_model_that_does_not_load_is_known_before_anything_is_scored() -> None:
    evaluator = Evaluator("clip_t,face_found", backbone_family="pocket")
    evaluator._extractors["clip"] = Absent()
    assert evaluator.load() == {"clip_t": "The file is torn. Copy it again."}
    assert evaluator.load() == {} and set(evaluator.unavailable) == {"clip_t"}


def test_values_outside_their_range_or_not_finite_are_errors() -> None:
    info = metrics()["clip_t"].card
    assert _checked(1.00005, info) == Score(1.0)
    assert _checked(1.5, info).status == "error" and _checked(1.5, info).value is None
    assert _checked(math.nan, info).status == "error"


def test_missing_weights_are_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    evaluator = Evaluator("default", backbone_family="sdxl")
    absent = evaluator.unavailable
    assert {"id_sim", "iq", "aesthetic", "fid"} <= set(absent)
    assert "antelopev2" in absent["id_sim"] and "Unpack" in absent["id_sim"]
    assert all(reason.endswith((".", "`.")) and len(reason) > 20 for reason in absent.values())
    one = evaluator.score([sample(BLANK, reference=BLANK)])[0]
    assert set(one) == {info.name for info in evaluator.infos if info.level == "sample"}
    assert one["id_sim"].status == "unavailable"


def test_models_are_chosen_by_role() -> None:
    swapped = Evaluator("id_sim_same", backbone_family="pocket", models={"face-conditioning": "dlib"})
    assert swapped.infos[0].model == "insightface, pocket-scoring; dlib"
    with pytest.raises(UsageError, match="clap"):
        Evaluator("id_sim", backbone_family="pocket", models={"clap": "x"})
    for role in ROLES:
        Evaluator("clip_t", backbone_family="pocket", models={role: "nowhere"})  # loads nothing


def test_a_chosen_model_must_be_there() -> None:
    check_models("pocket", {"clip": "pocket", "face": "pocket", "face-conditioning": "pocket-scoring"})
    for role in ROLES:
        with pytest.raises(UsageError, match=f"--model {role}=nowhere: "):
            check_models("pocket", {role: "nowhere"})
    with pytest.raises(UsageError, match="clap"):
        check_models("pocket", {"clap": "x"})


def test_a_chosen_recogniser_is_not_blamed_for_the_detector_that_nobody_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no insightface packs
    check_models("sd1", {"face-conditioning": "pocket"})
    with pytest.raises(UsageError, match="--model face=insightface:antelopev2: "):
        check_models("sd1", {"face": "insightface:antelopev2"})


def test_selections() -> None:
    for family in ("pocket", "sd1"):
        names = {selection: {m.card.name for m in select(selection, family)} for selection in SELECTIONS}
        assert names["all"] == set(metrics(family))
        assert all(name.startswith("ibench_") or name == "iq_ibench" for name in names["compat:ibench"])
        assert not names["default"] & names["compat:ibench"]
    assert "attr_scene" in {m.card.name for m in select("default", "pocket")}
    assert not any(m.card.name.startswith("attr") for m in select("default", "sd1"))
    assert [m.card.name for m in select("compat:ibench, clip_t")][0] == "clip_t"
    with pytest.raises(UsageError, match="'clipt'"):
        select("clipt")


def test_every_card_is_complete_and_in_its_terms() -> None:
    for info in Evaluator("all", backbone_family="pocket").infos:
        assert info.title and info.definition and info.source, info.name
        assert info.range[0] < info.range[1], info.name
        assert info.model or info.name in ("ibench_posediv", "ibench_exprdiv"), info.name
        assert "{" not in info.definition, info.name
        assert bool(info.compat) == ("ibench" in info.name), info.name


def test_dino_is_transformers_own(tmp_path: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    model = Dinov2Model(config).eval()
    processor = BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    picture, reference = portrait(1), portrait(2, scene="forest")
    with torch.no_grad():
        a, b = (
            model(**processor(images=p, return_tensors="pt")).last_hidden_state[0, 0]
            for p in (picture, reference)
        )
    by_hand = torch.nn.functional.cosine_similarity(a, b, dim=0).item()
    one = sample(picture, reference=reference, baseline=picture, baseline_id="b")
    found = scores("dino,dino_scene,ibench_dino,ibench_fgis", one, dino=str(tmp_path))[0]
    assert found["dino"].value == pytest.approx(by_hand, abs=1e-5) == found["ibench_dino"].value
    assert found["dino_scene"].value == pytest.approx(1.0, abs=1e-5)
    faceless = sample(BLANK, reference=BLANK)  # FGIS falls back to the whole picture
    whole = scores("ibench_fgis", faceless, dino=str(tmp_path))[0]["ibench_fgis"]
    assert whole.value == pytest.approx(1.0, abs=1e-5)
    for photographed in (sample(picture, reference=photograph()), sample(photograph(), reference=picture)):
        refused = scores("ibench_fgis", photographed, dino=str(tmp_path))[0]["ibench_fgis"]
        assert refused.value is None and refused.status == "unavailable" and "photograph" in refused.reason
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    torn = scores("dino", one, dino=str(tmp_path))[0]["dino"]
    assert torn.status == "unavailable" and f"{tmp_path} cannot be loaded as DINOv2" in torn.reason


def test_fgis_crops_the_face(tmp_path: Path) -> None:
    from benchmarks.metrics.models.faces import Detector, Pack
    from benchmarks.metrics.models.vision import Dino, DinoFace

    pack = Pack("pocket-scoring")
    crop = DinoFace(Dino(str(tmp_path), "cpu"), Detector(pack))._shown("a", portrait(1))
    box = pack.encoder.detect(np.asarray(portrait(1)))[0].box.astype(int)
    assert crop.size == (box[2] - box[0] + 60, box[3] - box[1] + 60)
    assert isinstance(crop, Image.Image)
