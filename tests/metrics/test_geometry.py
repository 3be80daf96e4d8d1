"""Geometry of faces: exact answers on constructed landmarks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metric_samples import portrait, sample, scores, unit, view

from benchmarks.metrics.geometry import (
    FACE,
    FaceDiversity,
    LandmarkDiversity,
    PoseDiversity,
    edited,
    landmark_distance,
    pose,
)
from benchmarks.metrics.ibench import IBenchFaceDiv1, IBenchFaceDiv2, IBenchLandmarkDiff
from benchmarks.metrics.models.faces import FaceFound
from methods.faces import TEMPLATE


def turned(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """FACE seen at an angle, 50 pixels between the eyes; angles in degrees, signs as in `pose`."""
    y, p, r = -math.radians(yaw), math.radians(pitch), math.radians(roll)
    ry = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    rx = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    rz = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return 50.0 * (FACE @ (rz @ rx @ ry).T)[:, :2] + np.array([64.0, 70.0])


def face(landmarks: np.ndarray, embedding: np.ndarray | None = None) -> FaceFound:
    return FaceFound(np.zeros(4, np.float32), landmarks, unit(1.0) if embedding is None else embedding, 1)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (25, 0, 0), (-25, 0, 0), (0, 20, 0), (0, 0, -15), (20, -10, 30)]
)
def test_pose_is_recovered_exactly(angles: tuple[float, float, float]) -> None:
    assert pose(turned(*angles)) == pytest.approx(angles, abs=1e-6)


def test_signs_are_those_of_the_picture() -> None:
    yaw = turned(20, 0, 0)
    assert yaw[2, 0] - yaw[:2, 0].mean() > 5  # the nose to the right of the eyes' middle
    pitch = turned(0, 20, 0)
    assert pitch[2, 1] > turned(0, 0, 0)[2, 1]  # the nose lower
    roll = turned(0, 0, 20)
    assert roll[1, 1] > roll[0, 1]  # the right eye lower: clockwise


def test_insightfaces_template_looks_ahead() -> None:
    yaw, _, roll = pose(TEMPLATE)
    assert abs(yaw) < 3 and abs(roll) < 2


def test_pose_difference_is_the_mean_over_the_angles() -> None:
    one = view({"reference:face": face(turned(0, 0, 0)), "picture:face": face(turned(15, -6, 9))})
    assert PoseDiversity().score(one) == pytest.approx(10.0, abs=1e-6)


def test_landmarks_do_not_move_with_position_and_scale() -> None:
    points = turned(10, 5, 3)
    assert landmark_distance(points, 3 * points + 40) == pytest.approx(0.0, abs=1e-9)


def test_landmark_distance_by_hand() -> None:
    square = np.array([[0, 0], [4, 0], [2, 2], [0, 4], [4, 4]], float)  # mean (2,2), diagonal sqrt(32)
    wide = np.array([[0, 0], [8, 0], [4, 2], [0, 4], [8, 4]], float)  # mean (4,2), diagonal sqrt(80)
    a, b = (square - [2, 2]) / 32**0.5, (wide - [4, 2]) / 80**0.5
    by_hand = np.linalg.norm(a - b, axis=1).mean()
    one = {"reference:face": face(square), "picture:face": face(wide)}
    assert LandmarkDiversity().score(view(one)) == pytest.approx(by_hand)
    first = {need.replace("face", "face_first"): value for need, value in one.items()}
    assert IBenchLandmarkDiff().score(view(first)) == pytest.approx(by_hand)


def test_face_diversities_by_hand() -> None:
    a, b = turned(0, 0, 0), turned(30, 0, 0)
    d = landmark_distance(a, b)
    features = {
        "reference:face": face(a, unit(1.0, 0.0)),
        "picture:face": face(b, unit(3.0, 4.0)),
        "baseline:face": face(b, unit(4.0, 3.0)),
    }
    reward = math.exp(-((d - 0.2) ** 2) / 0.02)
    assert edited(0.2) == 1.0
    assert FaceDiversity().score(view(features)) == pytest.approx(0.6 * reward)
    first = {need.replace("face", "face_first"): value for need, value in features.items()}
    assert IBenchFaceDiv1().score(view(first)) == pytest.approx(0.6 / (0.8 + 1e-6) * reward)
    assert IBenchFaceDiv2().score(view(first)) == pytest.approx(0.6 / (0.8 + 1e-6) * (1 + d / 0.1))


def test_a_pasted_face_has_no_diversity_and_a_turned_one_has() -> None:
    names = "pose_diversity,landmark_diversity,expression_diversity"
    front, left = portrait(1), portrait(1, pose="left", expression="laughing")
    pasted, moved = scores(names, sample(front, reference=front), sample(left, reference=front))
    assert [pasted[name].value for name in names.split(",")] == [0.0, 0.0, 0.0]
    assert all((moved[name].value or 0.0) > 0.0 for name in names.split(","))
