"""Frechet distances of Gaussians whose moments are exactly known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from metric_samples import portrait, sample, unit, view

from benchmarks.metrics.distribution import FidClip, FrechetDistance
from benchmarks.metrics.evaluate import Evaluator


def gaussian(mean: np.ndarray, covariance: np.ndarray, n: int, seed: int) -> np.ndarray:
    """n rows [n,D] whose sample mean and (unbiased) sample covariance are exactly the given ones."""
    rows = np.random.default_rng(seed).normal(size=(n, len(mean)))
    rows -= rows.mean(0)
    white = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def distance(made: np.ndarray, plain: np.ndarray) -> float:
    frechet = FrechetDistance()
    for row in made:
        frechet.add(row, real=False)
    for row in plain:
        frechet.add(row, real=True)
    value = frechet.result().value
    assert value is not None
    return value


def test_distance_of_commuting_gaussians_is_the_closed_form() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 for diagonal covariances of deviations s1 and s2."""
    m1, m2 = np.array([1.0, 0.0, -2.0]), np.array([0.0, 2.0, -2.0])
    s1, s2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 1.0, 0.5])
    made, plain = gaussian(m1, np.diag(s1**2), 60, 0), gaussian(m2, np.diag(s2**2), 80, 1)
    assert distance(made, plain) == pytest.approx(5.0 + 5.0, abs=1e-5)


def test_distance_of_correlated_gaussians_is_the_closed_form() -> None:
    """Tr (C1 C2)^1/2 = sqrt(tr + 2 sqrt(det)) of C1 C2 for two dimensions."""
    c1, c2 = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    product = c1 @ c2
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = 1.0 + np.trace(c1 + c2) - 2 * cross
    made, plain = gaussian(np.array([0.0, 1.0]), c1, 50, 2), gaussian(np.zeros(2), c2, 50, 3)
    assert distance(made, plain) == pytest.approx(expected, abs=1e-5)


def test_equal_sets_are_at_no_distance() -> None:
    rows = np.random.default_rng(4).normal(size=(40, 4))
    assert distance(rows, rows) == pytest.approx(0.0, abs=1e-6)


def test_few_pictures_are_said_to_bias() -> None:
    state = FidClip().begin()
    for i in range(3):
        features = {"picture:clip": unit(1.0, i, 0.0), "baseline:clip": unit(1.0, 0.0, i)}
        state.add(view(features, baseline_id=f"b{i}"))
    score = state.result()
    assert score.value is not None and score.value > 0  # type: ignore[union-attr]
    assert "biased upwards" in score.reason  # type: ignore[union-attr]


def test_without_id_pictures_count_once() -> None:
    state = FidClip().begin()
    for i in range(4):
        state.add(view({"picture:clip": unit(1.0, i), "baseline:clip": unit(1.0, 0.0)}, baseline_id="b"))
    score = state.result()
    assert score.value is None and "4 pictures with and 1 without" in score.reason  # type: ignore[union-attr]


def test_sets_are_scored_from_a_stream() -> None:
    def stream() -> object:
        for i in range(5):
            scene = ("beach", "city", "forest", "desert", "garden")[i]
            baseline = portrait(5, scene=scene)
            yield sample(
                portrait(i, scene=scene), baseline=baseline, baseline_id=f"b{i}", reference_id=f"r{i}"
            )

    evaluator = Evaluator("fid_clip,counterfactual,clip_t", backbone_family="pocket", batch_size=2)
    found = evaluator.score_set(stream())  # type: ignore[arg-type]
    assert list(found) == ["counterfactual", "fid_clip"]
    assert found["fid_clip"].value is not None and 0 < found["fid_clip"].value < 2


def test_inception_is_unavailable_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    evaluator = Evaluator("fid,ibench_fid", backbone_family="sd1")
    assert set(evaluator.unavailable) == {"fid", "ibench_fid"}
    found = evaluator.score_set([sample(portrait())])
    assert {score.status for score in found.values()} == {"unavailable"}


@pytest.mark.slow
def test_inception_features_are_torch_fidelitys_own(tmp_path: Path) -> None:
    """Random weights in its file format; the real ones are a download of 95 MB."""
    pytest.importorskip("torch_fidelity")
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from benchmarks.metrics.models.vision import Inception

    torch.manual_seed(0)
    absent = Inception(str(tmp_path / "inception.pth"), "cpu")
    assert "No Inception weights" in str(absent.missing())
    stored = {}

    class Made(FeatureExtractorInceptionV3):
        """Built without a file: the state that a file would hold."""

        def load_state_dict(self, state: object, **_: object) -> object:
            stored.update(self.state_dict())
            return None

    torch.save({}, tmp_path / "empty.pth")
    own = Made("inception", ["2048"], feature_extractor_weights_path=str(tmp_path / "empty.pth")).eval()
    torch.save(stored, tmp_path / "inception.pth")
    picture = portrait()
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
    with torch.no_grad():
        theirs = own(pixels)[0].numpy()[0]
    (ours,) = Inception(str(tmp_path / "inception.pth"), "cpu").compute([("a", picture)])
    assert ours.shape == (2048,) and np.allclose(ours, theirs, atol=1e-4)
