"""Picture quality without a reference, each metric named for the model that judges."""

from __future__ import annotations

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.metric import Metric, View


class _OneModel(Metric):
    def score(self, view: View) -> float:
        return float(view[self.needs[0]])


class Iq(_OneModel):
    info = MetricInfo(
        name="iq",
        title="picture quality, MUSIQ-SPAQ",
        direction="higher",
        range=(-1.0, 2.0),
        model="",
        preprocessing="",
        definition="MUSIQ trained on SPAQ, divided by 100, on pixels in [0, 1] (about 0 to 1; the network's "
        "output is not bounded)",
        source="Ke et al. 2021 (MUSIQ); Fang et al. 2020 (SPAQ)",
        licence="",
    )
    needs = ("picture:musiq",)


class IqPocket(_OneModel):
    info = MetricInfo(
        name="iq_pocket",
        title="picture quality, pocket MUSIQ",
        direction="higher",
        range=(-1.0, 2.0),
        model="",
        preprocessing="",
        definition="the structural similarity (SSIM) to its undamaged original that the picture is estimated "
        "to have, 1 for intact; a small MUSIQ trained on pocket renders with known damage, valid for those "
        "only",
        source="architecture: Ke et al. 2021; target: Wang et al. 2004 (SSIM); training: this project",
        licence="",
    )
    needs = ("picture:musiq_pocket",)


class Piqe(_OneModel):
    info = MetricInfo(
        name="piqe",
        title="perceptual quality, PIQE",
        direction="lower",
        range=(0.0, 100.0),
        model="",
        preprocessing="",
        definition="block-wise distortion of the picture, 0 intact to 100; no training, made for photographs",
        source="Venkatanath et al. 2015 (PIQE)",
        licence="",
    )
    needs = ("picture:piqe",)


class Aesthetic(_OneModel):
    info = MetricInfo(
        name="aesthetic",
        title="aesthetic score, LAION",
        direction="higher",
        range=(-10.0, 20.0),
        model="",
        preprocessing="",
        definition="LAION's linear aesthetic predictor on the normalised ViT-L/14 feature, about 1 to 10",
        source="LAION-AI/aesthetic-predictor",
        licence="",
    )
    needs = ("picture:aesthetic",)


class PickScore(Metric):
    info = MetricInfo(
        name="pickscore",
        title="preference, PickScore",
        direction="higher",
        range=(-100.0, 100.0),
        model="",
        preprocessing="",
        definition="exp(logit_scale) times the cosine of picture and prompt by a CLIP trained on people's "
        "choices between two pictures (about 15 to 25)",
        source="Kirstain et al. 2023 (Pick-a-Pic, arXiv 2305.01569)",
        licence="",
    )
    needs = ("picture:pick_image", "text:pick_text")

    def score(self, view: View) -> float:
        return float(view["picture:pick_image"] @ view["text:pick_text"])
