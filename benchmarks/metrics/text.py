"""Agreement with the prompt and with other pictures, as cosines of CLIP features."""

from __future__ import annotations

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.metric import UNRELATED, Metric, View, not_applicable


class ClipT(Metric):
    info = MetricInfo(
        name="clip_t",
        title="prompt adherence",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the CLIP features of the picture and of the prompt as the backbone read it; "
        "neither clamped nor multiplied by 100 (torchmetrics) or 2.5 (CLIPScore)",
        source="Radford et al. 2021; Hessel et al. 2021, eq. 1 without its factor",
        licence="",
    )
    needs = ("picture:clip", "text:clip_text")

    def score(self, view: View) -> float:
        return float(view["picture:clip"] @ view["text:clip_text"])


class ClipIScene(Metric):
    info = MetricInfo(
        name="clip_i_scene",
        title="scene consistency",
        direction="higher",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the CLIP features of the picture with identity and of the plain backbone's "
        "picture for the same prompt and seed: how little the identity disturbs (CLIP-I of IBench)",
        source="IBench, ibench/metrics/imageid/clipeval.py (class ClipI)",
        licence="",
    )
    needs = ("picture:clip", "baseline:clip")

    def score(self, view: View) -> float:
        return float(view["picture:clip"] @ view["baseline:clip"])


class ClipIRef(Metric):
    info = MetricInfo(
        name="clip_i_ref",
        title="similarity to the reference",
        direction="none",
        range=(-1.0, 1.0),
        model="",
        preprocessing="",
        definition="cosine of the CLIP features of the picture and of the reference picture (CLIP-I of "
        "DreamBooth); high for a copied background too, so that neither direction is better by itself",
        source="Ruiz et al. 2023 (DreamBooth), section 4.1",
        licence="",
    )
    needs = ("picture:clip", "reference:clip")

    def score(self, view: View) -> float:
        return float(view["picture:clip"] @ view["reference:clip"])


class Drift(Metric):
    info = MetricInfo(
        name="drift",
        title="drift on unrelated prompts",
        direction="lower",
        range=(0.0, 2.0),
        model="",
        preprocessing="",
        definition="1 - cosine of the CLIP features of the pictures with and without identity, on prompts of "
        "category Unrelated (no person in them): what the method changes where it has nothing to do",
        source="this project; after the drift measure of peft's image-generation comparison",
        licence="",
    )
    needs = ("picture:clip", "baseline:clip")

    def score(self, view: View) -> float:
        if view.sample.category.lower() != UNRELATED:
            raise not_applicable("the prompt is about a person")
        return max(0.0, 1.0 - float(view["picture:clip"] @ view["baseline:clip"]))
