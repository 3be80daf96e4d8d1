"""Faces as geometry: how far pose, landmarks and expression of the picture leave those of the reference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.metric import Metric, View

FACE = np.array(
    [[-0.5, -0.48, 0.0], [0.5, -0.48, 0.0], [0.0, 0.09, -0.45], [-0.41, 0.68, -0.1], [0.41, 0.68, -0.1]]
)
"""A mean face in interocular distances, insightface's order; x right, y down, z away from the camera. The
plane is insightface's alignment template, the depths of nose and mouth are anthropometric round numbers."""


def pose(landmarks: NDArray[np.floating]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of five landmarks [5,2] in pixels, by a weak-perspective fit of FACE.

    The affine least-squares camera A [2,3] (landmarks ~ FACE A' + shift) is brought to the nearest scaled
    rotation; R = Rz(roll) Rx(pitch) Ry(yaw). Positive yaw turns the nose to the right of the picture,
    positive pitch down, positive roll is clockwise. An estimate: face shape and pose are not told apart.
    """
    points = FACE - FACE.mean(0)
    seen = np.asarray(landmarks, np.float64)
    camera = np.linalg.lstsq(points, seen - seen.mean(0), rcond=None)[0].T  # [2,3]
    u, _, vt = np.linalg.svd(camera, full_matrices=False)
    first, second = u @ vt
    third = np.cross(first, second)
    rotation = np.stack([first, second, third])
    # R = Rz Rx Ry has the third row (-cp sy, sp, cp cy) and the second column (-sr cp, cr cp, sp)
    pitch = math.asin(float(np.clip(rotation[2, 1], -1.0, 1.0)))
    yaw = math.atan2(-rotation[2, 0], rotation[2, 2])
    roll = math.atan2(-rotation[0, 1], rotation[1, 1])
    return -math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def landmark_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Mean distance of corresponding landmarks [5,2], each set centred on its mean and divided by the
    diagonal of its bounding box (IBench, landmarkdiff.py)."""
    return float(np.linalg.norm(_normalised(a) - _normalised(b), axis=1).mean())


def _normalised(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    points = np.asarray(landmarks, np.float64)
    diagonal = float(np.linalg.norm(points.max(0) - points.min(0)))
    return np.asarray((points - points.mean(0)) / (diagonal or 1.0))


def edited(distance: float) -> float:
    """IBench's preference for landmarks that moved by 0.2 of the face: exp(-(d - 0.2)^2 / (2 * 0.1^2))."""
    return math.exp(-((distance - 0.2) ** 2) / (2 * 0.1**2))


class PoseDiversity(Metric):
    about_person = True
    info = MetricInfo(
        name="pose_diversity",
        title="pose change against the reference",
        direction="none",
        range=(0.0, 180.0),
        model="",
        preprocessing="",
        definition="mean of the absolute differences of yaw, pitch and roll, in degrees, between picture and "
        "reference, from five landmarks by a weak-perspective fit of a mean face; 0 for a pasted face",
        source="after IBench PoseDiv, which uses Hopenet",
        licence="",
    )
    needs = ("picture:face", "reference:face")

    def score(self, view: View) -> float:
        a, b = pose(view["reference:face"].landmarks), pose(view["picture:face"].landmarks)
        turns = [abs(x - y) for x, y in zip(a, b, strict=True)]
        return sum(min(turn, 360.0 - turn) for turn in turns) / 3


class LandmarkDiversity(Metric):
    about_person = True
    info = MetricInfo(
        name="landmark_diversity",
        title="landmark change against the reference",
        direction="none",
        range=(0.0, 2.0),
        model="",
        preprocessing="",
        definition="mean distance of the five landmarks of picture and reference, each set centred and "
        "divided by its diagonal; 0 for a pasted face, large for a broken one too",
        source="IBench LandmarkDiff, with this detector's landmarks",
        licence="",
    )
    needs = ("picture:face", "reference:face")

    def score(self, view: View) -> float:
        return landmark_distance(view["reference:face"].landmarks, view["picture:face"].landmarks)


class FaceDiversity(Metric):
    about_person = True
    info = MetricInfo(
        name="face_diversity",
        title="identity kept under change",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="id_sim x exp(-(d - 0.2)^2 / (2 x 0.1^2)), d being landmark_diversity: identity, rewarded "
        "where the face moved as much as IBench wishes",
        source="IBench FaceDiv1 without its division by the similarity of the without-ID face, which is "
        "unbounded where that is near 0",
        licence="",
    )
    needs = ("picture:face", "reference:face")

    def score(self, view: View) -> float:
        reference, picture = view["reference:face"], view["picture:face"]
        return reference.similarity(picture) * edited(
            landmark_distance(reference.landmarks, picture.landmarks)
        )


class ExpressionDiversity(Metric):
    about_person = True
    info = MetricInfo(
        name="expression_diversity",
        title="expression differs from the reference's",
        direction="none",
        range=(0.0, 1.0),
        model="",
        preprocessing="",
        definition="1 where the probe names another expression in the picture than in the reference",
        source="after IBench ExprDiv, which uses a VGG19 trained on FER2013",
        licence="",
    )
    needs = ("picture:probes", "reference:probes")

    def score(self, view: View) -> float:
        return float(view["picture:probes"]["expression"] != view["reference:probes"]["expression"])
