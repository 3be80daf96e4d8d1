"""IBench's metrics as published, faults included: `--metrics compat:ibench`.

Definitions by the code of typemovie/IBench (2025-06), file by file. Every value is per picture and averaged
over those that have one, as there: a picture without a face leaves the mean.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.metrics import quality, text
from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.distribution import Fid
from benchmarks.metrics.geometry import edited, landmark_distance
from benchmarks.metrics.metric import Metric, View

_FACES = "ibench/metrics/imageid/"
_FACE = MetricInfo(
    name="ibench_facesim",
    title="IBench FaceSim",
    direction="higher",
    range=(-1.0, 1.0),
    model="",
    preprocessing="",
    definition="cosine of the embeddings of the first detected face (not the largest) of reference and "
    "picture; pictures without a face silently leave the mean, which flatters methods that lose faces",
    source=f"IBench, {_FACES}facesim.py",
    licence="",
    compat="ibench",
)


class IBenchClipT(Metric):
    info = replace(
        text.ClipT.info,
        name="ibench_clip_t",
        title="IBench CLIP-T",
        definition="cosine of the CLIP features of prompt and picture, by IBench's image transform",
        source=f"IBench, {_FACES}clipeval.py",
        compat="ibench",
    )
    needs = ("picture:clip_ibench", "text:clip_text")

    def score(self, view: View) -> float:
        return float(view["picture:clip_ibench"] @ view["text:clip_text"])


class IBenchClipI(Metric):
    info = replace(
        text.ClipIScene.info,
        name="ibench_clip_i",
        title="IBench CLIP-I",
        definition="cosine of the CLIP features of the pictures with and without identity, by IBench's image "
        "transform; despite its name no similarity to the reference",
        source=f"IBench, {_FACES}clipeval.py",
        compat="ibench",
    )
    needs = ("picture:clip_ibench", "baseline:clip_ibench")

    def score(self, view: View) -> float:
        return float(view["picture:clip_ibench"] @ view["baseline:clip_ibench"])


class IBenchFaceSim(Metric):
    info = _FACE
    needs = ("picture:face_first", "reference:face_first")

    def score(self, view: View) -> float:
        return view["reference:face_first"].cosine(view["picture:face_first"])


class IBenchAntiFaceSim(Metric):
    info = replace(
        _FACE,
        name="ibench_antifacesim",
        title="IBench AntiFaceSim",
        direction="lower",
        definition="as ibench_facesim between the reference and the picture without identity",
    )
    needs = ("baseline:face_first", "reference:face_first")

    def score(self, view: View) -> float:
        return view["reference:face_first"].cosine(view["baseline:face_first"])


class IqIBench(quality.Iq):
    info = replace(
        quality.Iq.info,
        name="iq_ibench",
        title="IBench IQ",
        range=(float("-inf"), float("inf")),
        definition="MUSIQ on pixels of 0 to 255 at full size although it expects [0, 1] at no more than 512: "
        "the code prepares a scaled batch and scores the unscaled one (divided by 100 for MUSIQ-SPAQ)",
        source="IBench, ibench/metrics/t2i/imaging_quality.py",
        compat="ibench",
    )
    needs = ("picture:musiq_ibench",)


class IBenchAesthetic(Metric):
    info = replace(
        quality.Aesthetic.info,
        name="ibench_aesthetic",
        title="IBench Aesthetic",
        range=(-1.0, 2.0),
        definition="LAION's linear aesthetic predictor divided by 10; IBench resizes without antialiasing, "
        "here the picture is seen as by the aesthetic metric",
        source="IBench, ibench/metrics/t2i/aesthetic.py",
        compat="ibench",
    )
    needs = ("picture:aesthetic",)

    def score(self, view: View) -> float:
        return float(view["picture:aesthetic"]) / 10.0


class IBenchFid(Fid):
    info = replace(
        Fid.info,
        name="ibench_fid",
        title="IBench FID",
        definition="as fid; IBench's folders keep the files of earlier runs, which is not reproduced",
        source="IBench, ibench/metrics/t2i/fid.py",
        compat="ibench",
    )


class IBenchLandmarkDiff(Metric):
    info = MetricInfo(
        name="ibench_landmarkdiff",
        title="IBench LandmarkDiff",
        direction="higher",
        range=(0.0, 2.0),
        model="",
        preprocessing="",
        definition="mean distance of five centred landmarks divided by their diagonal, reference and "
        "picture, first face; landmarks by this detector where IBench runs MTCNN",
        source=f"IBench, {_FACES}landmarkdiff.py",
        licence="",
        compat="ibench",
    )
    needs = ("picture:face_first", "reference:face_first")

    def score(self, view: View) -> float:
        return landmark_distance(view["reference:face_first"].landmarks, view["picture:face_first"].landmarks)


class IBenchFaceDiv1(Metric):
    info = MetricInfo(
        name="ibench_facediv1",
        title="IBench FaceDiv1",
        direction="higher",
        range=(float("-inf"), float("inf")),
        model="",
        preprocessing="",
        definition="s1 / (s2 + 1e-6) x exp(-(d - 0.2)^2 / (2 x 0.1^2)): s1 = ibench_facesim, s2 = "
        "ibench_antifacesim, d = ibench_landmarkdiff; unbounded where s2 is near 0",
        source=f"IBench, {_FACES}facediv.py",
        licence="",
        compat="ibench",
    )
    needs = ("picture:face_first", "baseline:face_first", "reference:face_first")

    def score(self, view: View) -> float:
        picture, baseline, reference = (view[need] for need in self.needs)
        distance = landmark_distance(reference.landmarks, picture.landmarks)
        return reference.cosine(picture) / (reference.cosine(baseline) + 1e-6) * self.reward(distance)

    def reward(self, distance: float) -> float:
        return edited(distance)


class IBenchFaceDiv2(IBenchFaceDiv1):
    info = replace(
        IBenchFaceDiv1.info,
        name="ibench_facediv2",
        title="IBench FaceDiv2",
        definition="s1 / (s2 + 1e-6) x (1 + d / 0.1), with s1, s2 and d as in ibench_facediv1",
    )

    def reward(self, distance: float) -> float:
        return 1.0 + distance / 0.1


class IBenchDino(Metric):
    info = MetricInfo(
        name="ibench_dino",
        title="IBench DINO",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the DINOv2 CLS features of reference and picture",
        source=f"IBench, {_FACES}dinoeval.py",
        licence="",
        compat="ibench",
    )
    needs = ("picture:dino", "reference:dino")

    def score(self, view: View) -> float:
        return float(view[self.needs[0]] @ view[self.needs[1]])


class IBenchFgis(IBenchDino):
    info = replace(
        IBenchDino.info,
        name="ibench_fgis",
        title="IBench FGIS",
        definition="cosine of the DINOv2 CLS features of the face crops (box and 30 pixels around it; the "
        "whole picture where no face is found); boxes by this detector where IBench runs MTCNN",
        source=f"IBench, {_FACES}fgis.py",
    )
    needs = ("picture:dino_face", "reference:dino_face")

    def score(self, view: View) -> float:
        return float(view[self.needs[0]].vector @ view[self.needs[1]].vector)


class _NotReproduced(Metric):
    """A published metric whose model no maintained library loads; it says so instead of being left out."""

    def score(self, view: View) -> Score:
        return Score(None, "unavailable", NOT_REPRODUCED[self.info.name])


class IBenchPoseDiv(_NotReproduced):
    info = replace(
        IBenchLandmarkDiff.info,
        name="ibench_posediv",
        title="IBench PoseDiv",
        range=(0.0, 198.0),
        definition="mean absolute difference of yaw, pitch and roll in degrees by Hopenet (66 bins of 3 "
        "degrees)",
        source=f"IBench, {_FACES}posediv.py",
    )


class IBenchExprDiv(_NotReproduced):
    info = replace(
        IBenchLandmarkDiff.info,
        name="ibench_exprdiv",
        title="IBench ExprDiv",
        range=(0.0, 1.0),
        definition="share of pictures whose FER2013 class (VGG19, raw colour crops fed to a grey 48-pixel "
        "net) differs from the reference's",
        source=f"IBench, {_FACES}exprdiv.py",
    )


NOT_REPRODUCED = {
    "ibench_posediv": "Hopenet (hopenet_robust_alpha1) is in no maintained library. Use pose_diversity.",
    "ibench_exprdiv": "IBench's VGG19 (PrivateTest_model.t7) is in no maintained library. Use "
    "expression_diversity.",
}
