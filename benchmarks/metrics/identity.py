"""Identity: how much the generated face is the reference's, and what happens where there is no face."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.metric import Metric, View, not_applicable

COSINE = MetricInfo(
    name="id_sim",
    title="identity similarity",
    direction="higher",
    range=(-1.0, 1.0),
    model="",
    preprocessing="",
    definition="similarity of the faces in picture and reference (cosine of insightface embeddings; for dlib "
    "1 - distance) by a recogniser that did not condition the generation; only where a face was found in "
    "both (see face_found and id_sim_zero)",
    source="Deng et al. 2019 (ArcFace); IBench FaceSim with the faults of its face selection removed",
    licence="",
)


def judged(view: View, value: float) -> Score:
    """The value, with the status that says when there were several faces to choose from."""
    count = view["picture:face"].count
    if count > 1:
        return Score(value, "multi_face", f"{count} faces; the largest was scored")
    return Score(value)


class IdSim(Metric):
    about_person = independent = True
    info = COSINE
    needs = ("picture:face", "reference:face")

    def score(self, view: View) -> Score:
        return judged(view, view["reference:face"].similarity(view["picture:face"]))


class IdSimZero(Metric):
    about_person = independent = True
    info = replace(
        COSINE,
        name="id_sim_zero",
        title="identity similarity, a miss counts 0",
        definition="as id_sim, but a picture in which no face is found scores 0 instead of leaving the mean",
        source="FastComposer (Xiao et al. 2023) scores misses so; dropping them favours methods that lose "
        "faces",
    )
    needs = ("picture:face", "reference:face")

    def score(self, view: View) -> Score:
        reference = view["reference:face"]
        if view.failed("picture:face", "no_face"):
            return Score(0.0, "no_face_gen", "no face found in the picture: scored 0")
        return judged(view, reference.similarity(view["picture:face"]))


class IdSimSame(Metric):
    about_person = True
    info = replace(
        COSINE,
        name="id_sim_same",
        title="identity similarity, conditioning recogniser",
        definition="as id_sim by the recogniser that conditioned the generation: what methods are optimised "
        "for, hence flattering; for comparison only",
        source="Deng et al. 2019 (ArcFace)",
    )
    needs = ("picture:face", "picture:face_same", "reference:face_same")

    def score(self, view: View) -> Score:
        return judged(view, view["reference:face_same"].similarity(view["picture:face_same"]))


class IdSecond(Metric):
    about_person = independent = True
    info = replace(
        COSINE,
        name="id_second",
        title="identity similarity, second recogniser",
        definition="as id_sim by a second recogniser that neither conditioned the generation nor is that of "
        "id_sim; what only one of two recognisers sees is not identity",
        source="ConsisID and OpenS2V report two recognisers (FaceSim-Arc, FaceSim-Cur)",
    )
    needs = ("picture:face", "picture:face_second", "reference:face_second")

    def score(self, view: View) -> Score:
        return judged(view, view["reference:face_second"].similarity(view["picture:face_second"]))


class IdFloor(Metric):
    about_person = independent = True
    info = replace(
        COSINE,
        name="id_floor",
        title="identity similarity without identity",
        direction="none",
        definition="as id_sim between the reference and the plain backbone's picture for the same prompt and "
        "seed: what id_sim is when a method does nothing",
        source="IBench AntiFaceSim",
    )
    needs = ("baseline:face", "reference:face")

    def score(self, view: View) -> Score:
        reference = view["reference:face"]
        if view.failed("baseline:face", "no_face"):  # says nothing about the picture of this sample
            raise not_applicable("no face in the picture without identity")
        return Score(reference.similarity(view["baseline:face"]))


class FaceFoundRate(Metric):
    about_person = True
    info = MetricInfo(
        name="face_found",
        title="face detected",
        direction="higher",
        range=(0.0, 1.0),
        model="",
        preprocessing="",
        definition="1 where a face of at least 24 pixels is found in the picture, else 0; its mean is 1 - "
        "FDFR, the face-detection failure rate",
        source="FDFR: Le et al. 2023 (Anti-DreamBooth), section 4.1",
        licence="",
    )
    needs = ("picture:face",)

    def score(self, view: View) -> float | Score:
        if view.failed("picture:face", "no_face"):
            return Score(0.0, "no_face_gen", "no face found in the picture")
        return float(view["picture:face"].count > 0)


class Followed(Protocol):
    """Whether a picture follows its prompt."""

    words: str
    needs: tuple[str, ...]

    def __call__(self, view: View) -> bool: ...


class FollowedByClip:
    """0.23 is where user acceptance jumps in SeFi-IDE's figure (0.23 to 0.25), for OpenAI's ViT-L/14."""

    threshold = 0.23
    words = f"CLIP-T reaches {threshold}"
    needs: tuple[str, ...] = ("picture:clip", "text:clip_text")

    def __call__(self, view: View) -> bool:
        return float(view["picture:clip"] @ view["text:clip_text"]) >= self.threshold


class FollowedByProbes:
    """The pocket world knows what a prompt asks for, and its CLIP hears little of short prompts."""

    words = "the probes see every factor that the prompt names"
    needs: tuple[str, ...] = ("picture:probes",)

    def __call__(self, view: View) -> bool:
        if not view.sample.truth:
            raise not_applicable("the prompt's factors are unknown")
        seen = view["picture:probes"]
        return all(seen[factor] == value for factor, value in view.sample.truth.items())


class IdP(Metric):
    """followed: how the prompt is judged; it belongs to the backbone's world."""

    about_person = independent = True
    info = replace(
        COSINE,
        name="id_p",
        title="ID(P): identity where the prompt is followed",
        definition="id_sim_zero where {followed}, else 0: the mean of ID_i [prompt_i followed]",
        source="SeFi-IDE (arXiv 2402.00631) names ID(P) without a definition; this one is a reconstruction",
    )

    def __init__(self, followed: Followed) -> None:
        self.followed = followed
        self.needs = ("picture:face", "reference:face", *followed.needs)

    @property
    def card(self) -> MetricInfo:
        return replace(self.info, definition=self.info.definition.format(followed=self.followed.words))

    def score(self, view: View) -> Score:
        reference = view["reference:face"]
        if not self.followed(view):
            return Score(0.0, "ok", "the prompt is not followed: scored 0")
        if view.failed("picture:face", "no_face"):
            return Score(0.0, "no_face_gen", "no face found in the picture: scored 0")
        return judged(view, reference.similarity(view["picture:face"]))


class IdFollowed(IdP):
    info = replace(
        COSINE,
        name="id_followed",
        title="identity among pictures that follow the prompt",
        definition="id_sim of the pictures where {followed}; the others leave the mean",
        source="the conditional mean beside ID(P), see id_p",
    )

    def score(self, view: View) -> Score:
        if not self.followed(view):
            raise not_applicable("the prompt is not followed")
        return judged(view, view["reference:face"].similarity(view["picture:face"]))
