"""The parts of the perception trainings with known answers, and short trainings of the real networks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from methods.errors import WeightsError
from methods.faces.geometry import TEMPLATE, similarity_transform, similarity_transforms
from methods.pocket.probes import HEADS
from methods.pocket.world import FACTORS
from scripts.pocket import detector, probes, recogniser
from scripts.pocket.dataset import build
from scripts.pocket.detector_pictures import scene
from scripts.pocket.face_figures import embed_crops, iou, pair_figures
from scripts.pocket.perception_loop import degrade, identity_targets, open_dataset, prefetch


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders")
    build(folder, per_name=0, people=16, per_person=2, seed=5, workers=1)
    return folder


def test_crops_use_the_least_squares_similarity_of_the_face_encoders() -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(20, 100, (4, 5, 2)).astype(np.float32)
    expected = [similarity_transform(points, TEMPLATE) for points in landmarks]
    np.testing.assert_allclose(similarity_transforms(landmarks, TEMPLATE), expected, atol=1e-4)


def test_identity_targets_are_standardised_parameters_and_one_hot_words() -> None:
    targets = identity_targets(np.array([0, 1, 2, 1000, 1001, 1500]))
    assert targets.shape[0] == 6
    one_hot = [column for column in targets.T if set(column) <= {0.0, 1.0}]
    assert len(one_hot) > 10
    assert np.isfinite(targets).all()


def test_a_resumed_training_sees_the_batches_it_would_have_seen() -> None:
    whole = [next_ for next_, _ in zip(prefetch(lambda i: i * i, 0), range(6), strict=False)]
    later = [next_ for next_, _ in zip(prefetch(lambda i: i * i, 3), range(3), strict=False)]
    assert later == whole[3:]


def test_an_error_while_a_batch_is_made_reaches_the_training() -> None:
    def fail(index: int) -> int:
        raise ValueError("no batch")

    with pytest.raises(ValueError, match="no batch"):
        next(prefetch(fail, 0))


def test_damage_keeps_size_and_type() -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    for seed in range(20):
        damaged = degrade(picture, np.random.default_rng(seed))
        assert damaged.shape == picture.shape and damaged.dtype == np.uint8


def test_pair_figures_of_perfect_and_random_embeddings() -> None:
    person = np.repeat(np.arange(40), 3)
    perfect = np.eye(40, dtype=np.float32)[person]
    figures = pair_figures(perfect, person)
    assert figures["tar_at_far_1e-3"] == 1.0
    assert figures["genuine_mean"] == 1.0 and figures["impostor_mean"] == 0.0
    noise = np.random.default_rng(0).normal(size=(120, 64)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert pair_figures(noise, person)["tar_at_far_1e-3"] < 0.05


def test_iou_of_boxes() -> None:
    a = np.array([0.0, 0, 10, 10])
    assert iou(a, a) == 1.0
    assert iou(a, np.array([5.0, 0, 15, 10])) == pytest.approx(1 / 3)
    assert iou(a, np.array([20.0, 20, 30, 30])) == 0.0


def test_anchors_follow_the_order_of_insightfaces_decoder() -> None:
    assert detector.PLACES.shape == (2 * (16 * 16 + 8 * 8 + 4 * 4), 2)
    np.testing.assert_array_equal(detector.PLACES[:6], [[0, 0], [0, 0], [8, 0], [8, 0], [16, 0], [16, 0]])
    np.testing.assert_array_equal(detector.PLACES[512:516], [[0, 0], [0, 0], [16, 0], [16, 0]])


@pytest.mark.parametrize("size", [16, 24, 36, 55, 70, 90, 125])
def test_every_size_of_face_has_an_anchor(size: int) -> None:
    for centre in ((64.0, 64.0), (50.3, 71.9)):
        x, y = centre
        state, face = detector.assign(
            np.array([[x - size / 2, y - size / 2, x + size / 2, y + size / 2]], np.float32)
        )
        assert (state == 1).any()
        assert (face == 0).all()


def test_training_pictures_hold_the_faces_they_claim(renders: Path) -> None:
    dataset = open_dataset(renders)
    rng = np.random.default_rng(1)
    counts = set()
    for _ in range(60):
        made = scene(dataset, rng)
        assert made.pixels.shape == (128, 128, 3) and made.pixels.dtype == np.uint8
        assert len(made.boxes) == len(made.landmarks)
        counts.add(len(made.boxes))
        for box, points in zip(made.boxes, made.landmarks, strict=True):
            assert (points >= box[:2] - 6).all() and (points <= box[2:] + 6).all()
    assert {0, 1} <= counts


def test_the_loss_of_perfect_detections_is_nearly_nothing(renders: Path) -> None:
    batch = detector.make_batch(open_dataset(renders), seed=0, step=0, size=4)
    anchors = batch.state.shape[1]
    score = torch.where(batch.where, 12.0, -12.0)[..., None]
    boxes, points = torch.zeros(4, anchors, 4), torch.zeros(4, anchors, 10)
    boxes[batch.where], points[batch.where] = batch.boxes, batch.landmarks
    loss, figures = detector.detection_loss(
        (
            score,
            score[:, :0],
            score[:, :0],
            boxes,
            boxes[:, :0],
            boxes[:, :0],
            points,
            points[:, :0],
            points[:, :0],
        ),
        batch,
    )
    assert figures["iou"] == pytest.approx(1.0, abs=1e-3)
    assert loss.item() < 0.01


def test_exported_detector_decodes_in_insightface_to_what_was_trained(tmp_path: Path) -> None:
    from insightface.model_zoo import get_model

    torch.manual_seed(0)
    network = detector.Detector(32).eval()
    detector.export(network, tmp_path)
    scrfd = get_model(str(tmp_path / "det.onnx"), providers=["CPUExecutionProvider"])
    scrfd.prepare(-1, input_size=(128, 128), det_thresh=0.0, nms_thresh=1.1)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    boxes, points = scrfd.detect(picture[..., ::-1].copy())
    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float().sub(127.5).div(128)
    with torch.inference_mode():
        maps = network(tensor)
    score = torch.sigmoid(torch.cat(maps[:3], 1))[0, :, 0].numpy()
    best = int(score.argmax())
    distance = torch.cat(maps[3:6], 1)[0, best].numpy() * detector.STRIDE[best]
    expected = np.concatenate([detector.PLACES[best] - distance[:2], detector.PLACES[best] + distance[2:]])
    assert boxes[0, 4] == pytest.approx(score[best], abs=2e-3)
    np.testing.assert_allclose(boxes[0, :4], expected, atol=0.5)
    offset = torch.cat(maps[6:], 1)[0, best].numpy().reshape(5, 2) * detector.STRIDE[best]
    np.testing.assert_allclose(points[0], detector.PLACES[best] + offset, atol=0.5)


@pytest.mark.parametrize("network", [recogniser.ResidualRecogniser, recogniser.PlainRecogniser])
def test_exported_recogniser_equals_the_network(network: type[torch.nn.Module], tmp_path: Path) -> None:
    from scripts.pocket.perception_loop import export_onnx

    torch.manual_seed(0)
    model = network().eval()
    path = tmp_path / "rec.onnx"
    example = torch.zeros(1, 3, 112, 112)
    export_onnx(
        model,
        example,
        path,
        input_name="data",
        output_names=["embedding"],
        dynamic={"data": {0: "batch"}, "embedding": {0: "batch"}},
    )
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    with torch.inference_mode():
        tensor = torch.from_numpy(crops).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
        expected = torch.nn.functional.normalize(model(tensor), dim=-1).numpy()
    np.testing.assert_allclose((embed_crops(path, crops) * expected).sum(1), 1.0, atol=1e-3)
    half = sum(p.numel() for p in model.parameters()) * 2
    assert path.stat().st_size < 1.1 * half
    assert onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape[1:] == [3, 112, 112]


def test_supervised_contrastive_prefers_people_together() -> None:
    label = torch.tensor([0, 0, 1, 1])
    together = torch.eye(2)[label]
    apart = torch.eye(2)[torch.tensor([0, 1, 0, 1])]
    good, _ = recogniser.supervised_contrastive(together, label, 0.1)
    bad, _ = recogniser.supervised_contrastive(apart, label, 0.1)
    assert good < 0.01 < 5 < bad


@pytest.mark.parametrize("angular", [True, False])
def test_a_margin_makes_the_softmax_harder(angular: bool) -> None:
    torch.manual_seed(0)
    loss = recogniser.ParametricMargin(
        np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32), angular=angular
    )
    embedding, label = torch.randn(8, 512), torch.arange(8)
    plain, _ = loss(embedding, label, 0.0)
    hard, _ = loss(embedding, label, 0.3)
    assert hard > plain


def test_the_probe_of_expression_is_told_where_mouth_and_brows_are() -> None:
    face = np.array([[[52, 52], [76, 52], [64, 64], [56, 76], [72, 76]]], np.float32)
    mouth, brows = probes.where_to_look(face)[0].reshape(2, 16, 16)
    assert mouth[9, 7] == mouth[9, 8] == 1 and mouth[6].sum() == 0 and mouth[12].sum() == 0
    assert brows[6, 6] == brows[6, 9] == 1 and brows[9].sum() == 0
    assert 4 <= mouth.sum() <= 16 and 4 <= brows.sum() <= 24


def test_probes_learn_and_load_again(renders: Path, tmp_path: Path) -> None:
    figures = probes.train(
        renders,
        tmp_path / "probes",
        tmp_path / "work",
        minutes=5,
        steps=2,
        resume=False,
        seed=0,
        batch_size=16,
        width=16,
        evaluated=8,
    )
    assert figures["steps"] == 2
    assert set(FACTORS) <= set(figures)
    loaded = probes.load_probes(tmp_path / "probes")
    found = loaded.predict(np.asarray(open_dataset(renders).pictures[:5]))
    assert all(len(found[name]) == 5 and found[name].max() < len(values) for name, values in HEADS.items())
    with pytest.raises(WeightsError):
        probes.load_probes(tmp_path)


def test_resumed_probes_go_on_where_they_stopped(renders: Path, tmp_path: Path) -> None:
    options = {"minutes": 5, "seed": 0, "batch_size": 8, "width": 16, "evaluated": 4}
    probes.train(renders, tmp_path / "a", tmp_path / "work", steps=1, resume=False, **options)
    figures = probes.train(renders, tmp_path / "a", tmp_path / "work", steps=3, resume=True, **options)
    assert figures["steps"] == 3


def test_open_dataset_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no rendered data set"):
        open_dataset(tmp_path)


def test_opencv_crops_equal_the_face_encoders(renders: Path) -> None:
    from methods.faces.geometry import align

    dataset = open_dataset(renders)
    picture, points = np.asarray(dataset.pictures[0]), dataset.meta["landmarks"][0]
    ours = recogniser.crop(picture, similarity_transforms(points[None], TEMPLATE)[0])
    assert np.abs(ours.astype(int) - align(picture, points).astype(int)).max() <= 2
    assert cv2.__version__
