"""Similarity to the reference by vision models that know no text."""

from __future__ import annotations

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.metric import Metric, View


class DinoSimilarity(Metric):
    info = MetricInfo(
        name="dino",
        title="similarity to the reference, DINOv2",
        direction="none",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the DINOv2 CLS features of picture and reference; as clip_i_ref it also rises "
        "when the background is copied",
        source="Ruiz et al. 2023 (DreamBooth), section 4.1, with DINOv2 for DINO",
        licence="",
    )
    needs = ("picture:dino", "reference:dino")

    def score(self, view: View) -> float:
        return float(view[self.needs[0]] @ view[self.needs[1]])


class DinoScene(DinoSimilarity):
    info = MetricInfo(
        name="dino_scene",
        title="scene consistency, DINOv2",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the DINOv2 CLS features of the pictures with and without identity",
        source="this project: clip_i_scene by another model",
        licence="",
    )
    needs = ("picture:dino", "baseline:dino")


class DreamSimDistance(Metric):
    info = MetricInfo(
        name="dreamsim",
        title="distance to the reference, DreamSim",
        direction="none",
        range=(0.0, 2.0),
        model="",
        preprocessing="",
        definition="1 - cosine of the DreamSim embeddings of picture and reference",
        source="Fu et al. 2023 (DreamSim)",
        licence="",
    )
    needs = ("picture:dreamsim", "reference:dreamsim")

    def score(self, view: View) -> float:
        return max(0.0, 1.0 - float(view["picture:dreamsim"] @ view["reference:dreamsim"]))
