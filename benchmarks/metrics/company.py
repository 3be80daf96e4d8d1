"""Several people in one picture: is everybody there, and is nobody somebody else's double?

Reference people and faces of the picture make a matrix of similarities [P, F]. People are assigned to faces,
one to one, so that the sum of similarities is largest (Hungarian method).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.identity import COSINE
from benchmarks.metrics.metric import Metric, View, not_applicable


def assigned(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Similarity of each of P people to the face that is assigned to them: float64 [P], of [P, F].

    People for whom no face is left have 0, as a missing face has in `id_sim_zero`.
    """
    from scipy.optimize import linear_sum_assignment

    own = np.zeros(len(similarity))
    people, faces = linear_sum_assignment(similarity, maximize=True)
    own[people] = similarity[people, faces]
    return own


def confusion_margin(similarity: NDArray[np.floating]) -> float:
    """Mean over people of min(1, (s1 - s2) / s1), with s1 >= s2 the two faces most like each; [P, F], F >= 2.

    0 where s1 is not positive.
    """
    first, second = np.sort(similarity, axis=1)[:, :-3:-1].T
    margins = [min(1.0, (a - b) / a) if a > 0 else 0.0 for a, b in zip(first, second, strict=True)]
    return float(np.mean(margins))


class IdPeople(Metric):
    about_person = independent = True
    info = replace(
        COSINE,
        name="id_people",
        title="identity similarity of several people",
        definition="of a picture that shall show several people: the mean over them of the similarity to the "
        "face that is assigned to each, one to one and best in all; a person without a face counts 0",
        source="the assignment of multi-identity matching (UMO, arXiv 2509.06818)",
    )
    needs = ("people:company",)

    def score(self, view: View) -> float:
        (company,) = self.needs
        return float(assigned(view[company].similarity).mean())


class IdPeopleLeast(Metric):
    about_person = independent = True
    info = replace(
        COSINE,
        name="id_people_least",
        title="identity similarity of the person least alike",
        definition="as id_people, but of the person with the lowest similarity instead of the mean",
        source="FastComposer (Xiao et al. 2023), which assigns faces greedily",
    )
    needs = ("people:company",)

    def score(self, view: View) -> float:
        return float(assigned(view["people:company"].similarity).min())


class IdPeopleFloor(IdPeople):
    info = replace(
        COSINE,
        name="id_people_floor",
        title="identity similarity of several people without identity",
        direction="none",
        definition="as id_people between the references and the plain backbone's picture for the same prompt "
        "and seed: what id_people is when a method does nothing",
        source="id_floor, for several people",
    )
    needs = ("floor:company",)


class PeopleFound(Metric):
    about_person = True
    info = MetricInfo(
        name="people_found",
        title="faces for everybody",
        direction="higher",
        range=(0.0, 1.0),
        model="",
        preprocessing="",
        definition="of a picture that shall show several people: the share of them for whom there is a face "
        "of at least 24 pixels, whoever's it is; more faces than people are 1",
        source="face_found, for several people",
        licence="",
    )
    needs = ("people:company",)

    def score(self, view: View) -> Score:
        people, faces = view["people:company"].similarity.shape
        told = f"{faces} {'face' if faces == 1 else 'faces'} for {people} people"
        if faces < people:
            return Score(faces / people, "no_face_gen", told)
        return Score(1.0, "multi_face", told) if faces > people else Score(1.0)


class IdConf(Metric):
    about_person = independent = True
    info = MetricInfo(
        name="id_conf",
        title="identity confusion margin",
        direction="higher",
        range=(0.0, 1.0),
        model="",
        preprocessing="",
        definition="of a picture that shall show several people: the mean over them of "
        "min(1, (s1 - s2) / s1), s1 and s2 being the similarities of the two faces most like the person; 0 "
        "where s1 is not above 0. "
        "Low where two faces share an identity; only pictures with two faces or more",
        source="ID-Conf of UMO (arXiv 2509.06818), bytedance/UMO@d6a083f eval/id_conf_xversebench.py",
        licence="",
    )
    needs = ("people:company",)

    def score(self, view: View) -> float:
        similarity = view["people:company"].similarity
        if similarity.shape[1] < 2:
            raise not_applicable("fewer than two faces in the picture")
        return confusion_margin(similarity)
