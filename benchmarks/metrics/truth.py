"""Metrics that know more than the reference: the asked-for picture of this person, and their look-alikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.identity import COSINE, judged
from benchmarks.metrics.metric import Metric, View, not_applicable
from benchmarks.metrics.models.faces import FaceFound
from benchmarks.metrics.models.gallery import LOOK_ALIKES

SAME_ANGLE = 1e-3
"""Radians below which two embeddings are the same: float32 tells no more apart."""


def angle(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Radians in [0, pi] between two unit vectors [D], exact also where they nearly agree."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def copied(
    generated: NDArray[np.floating], truth: NDArray[np.floating], reference: NDArray[np.floating]
) -> float:
    """(angle(generated, truth) - angle(generated, reference)) / angle(truth, reference), in [-1, 1].

    1: the reference itself; -1: the truth itself; 0 also where truth and reference are the same. The bounds
    are the triangle inequality of angles.
    """
    apart = angle(truth, reference)
    if apart < SAME_ANGLE:
        return 0.0
    return (angle(generated, truth) - angle(generated, reference)) / apart


def target_face(view: View) -> FaceFound:
    """The face of the asked-for picture. Raises NoScore where there is none to compare with."""
    if view.failed("target:face", "no_face"):  # says nothing about the picture that was made
        raise not_applicable("no face is found in the asked-for picture")
    return view["target:face"]


_TRUTH = (
    "the asked-for picture of this very person: on the pocket world the render with the prompt's factors, "
    "those it leaves open as in the plain reference; elsewhere the picture that the data give"
)


class SimGt(Metric):
    about_person = independent = one_person = True
    info = replace(
        COSINE,
        name="sim_gt",
        title="identity similarity to the truth",
        definition=f"as id_sim, but to {_TRUTH}",
        source="MultiID-Bench (WithAnyone, arXiv 2510.14975), Sim(GT)",
    )
    needs = ("picture:face", "target:face")

    def score(self, view: View) -> Score:
        return judged(view, target_face(view).similarity(view["picture:face"]))


class CopyPaste(Metric):
    about_person = independent = True
    info = MetricInfo(
        name="copy_paste",
        title="copy-paste",
        direction="lower",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="(angle to the truth - angle to the reference) / angle between truth and reference, of "
        "face embeddings; 1 is a copy of the reference, -1 the truth, 0 also where both are the same. The "
        f"truth is {_TRUTH}",
        source="MultiID-Bench (WithAnyone, arXiv 2510.14975), its metrics file",
        licence="",
    )
    needs = ("picture:face", "target:face", "reference:face")

    def score(self, view: View) -> Score:
        truth, reference = target_face(view), view["reference:face"]
        return judged(view, copied(view["picture:face"].embedding, truth.embedding, reference.embedding))


class IdRank(Metric):
    about_person = independent = True
    info = MetricInfo(
        name="id_rank",
        title="rank among look-alikes",
        direction="lower",
        range=(1.0, LOOK_ALIKES + 1.0),
        model="",
        preprocessing="",
        definition=f"place of the reference's face, 1 to {LOOK_ALIKES + 1}, when it and its {LOOK_ALIKES} "
        "nearest faces of a gallery of other people are ordered by similarity to the picture's face; 1 where "
        "nobody of them is more like the picture",
        source="identity as retrieval: Finer-Personalization Rank (arXiv 2512.19026); the gallery is this "
        "project's",
        licence="",
    )
    needs = ("picture:face", "reference:face", "reference:look_alikes")

    def score(self, view: View) -> Score:
        face, reference = view["picture:face"], view["reference:face"]
        own = face.similarity(reference)
        return judged(view, 1.0 + sum(face.similarity(one) > own for one in view["reference:look_alikes"]))
