"""What a method changes that it should not: the background, and whatever the reference happened to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.base import MetricInfo
from benchmarks.metrics.metric import Metric, View, not_applicable

HEAD = (0.5, 0.8, 0.5, 0.4)
"""By how much of its own size a face box grows to hold the head: left, top, right, bottom."""
LEAST_BACKGROUND = 0.05


def head_mask(boxes: Iterable[NDArray[np.floating]], height: int, width: int) -> NDArray[np.bool_]:
    """True [H,W] where one of the face boxes, grown to the head by HEAD, lies."""
    mask = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes:
        w, h = x2 - x1, y2 - y1
        left, top = max(0, int(np.floor(x1 - HEAD[0] * w))), max(0, int(np.floor(y1 - HEAD[1] * h)))
        right, bottom = int(np.ceil(x2 + HEAD[2] * w)), int(np.ceil(y2 + HEAD[3] * h))
        mask[top : max(bottom, 0), left : max(right, 0)] = True
    return mask


def background_mask(
    boxes: Iterable[NDArray[np.floating]], height: int, width: int
) -> NDArray[np.bool_] | None:
    """True [H, W] outside the heads of face boxes; None where that is less than LEAST_BACKGROUND."""
    outside = ~head_mask(boxes, height, width)
    return None if outside.mean() < LEAST_BACKGROUND else outside


def background_change(
    picture: NDArray[np.uint8], baseline: NDArray[np.uint8], boxes: Iterable[NDArray[np.floating]]
) -> float | None:
    """Mean absolute RGB difference of two pictures [H, W, 3], in [0, 1], outside the heads of face boxes.

    None where the heads leave less than LEAST_BACKGROUND of the picture.
    """
    outside = background_mask(boxes, *picture.shape[:2])
    if outside is None:
        return None
    a, b = (one.astype(np.float32) / 255.0 for one in (picture, baseline))
    return float(np.abs(a - b)[outside].mean())


class BackgroundLeakage(Metric):
    one_person = True
    info = MetricInfo(
        name="background_leakage",
        title="background changed by the identity",
        direction="lower",
        range=(0.0, 1.0),
        model="",
        preprocessing="",
        definition="mean absolute RGB difference, in [0, 1], between the pictures with and without identity "
        "outside the heads of both (face boxes grown by half their width to the sides, 0.8 of their height "
        "upwards, 0.4 downwards); the whole picture where neither shows a face",
        source="this project; SpatialID (arXiv 2602.13994) claims the effect without stating a measure",
        licence="",
    )
    needs: tuple[str, ...] = ("picture:face", "baseline:face")

    def score(self, view: View) -> float:
        sample = view.sample
        if sample.baseline is None:
            raise not_applicable("there is no picture without identity")
        if sample.picture.size != sample.baseline.size:
            raise not_applicable("the pictures with and without identity differ in size")
        faces = ("picture:face", "baseline:face")
        boxes = [view[need].box for need in faces if not view.failed(need, "no_face")]
        changed = self.measure(view, boxes)
        if changed is None:
            raise not_applicable("the head fills the picture")
        return changed

    def measure(self, view: View, boxes: Sequence[NDArray[np.floating]]) -> float | None:
        """The difference outside the heads, None where there is hardly anything."""
        return background_change(np.asarray(view.sample.picture), np.asarray(view.sample.baseline), boxes)


class BackgroundLpips(BackgroundLeakage):
    info = MetricInfo(
        name="background_lpips",
        title="background changed by the identity, LPIPS",
        direction="lower",
        range=(0.0, float("inf")),
        model="",
        preprocessing="",
        definition="LPIPS between the pictures with and without identity, averaged over the pixels outside "
        "the heads of both (as background_leakage)",
        source="Zhang et al. 2018 (LPIPS); its restriction to the background is this project's",
        licence="",
    )
    needs = ("picture:face", "baseline:face", "picture:lpips")

    def measure(self, view: View, boxes: Sequence[NDArray[np.floating]]) -> float | None:
        sample = view.sample
        assert sample.baseline is not None
        outside = background_mask(boxes, sample.picture.height, sample.picture.width)
        if outside is None:
            return None
        return float(view["picture:lpips"].distance(sample.picture, sample.baseline)[outside].mean())


def leaked(picture: Any, baseline: Any, factor: str, shown: str) -> int:
    """Whether the picture shows the reference's value, minus whether the picture without identity does."""
    return int(picture[factor] == shown) - int(baseline[factor] == shown)


_LEAK = MetricInfo(
    name="leak",
    title="leakage of the reference's context",
    direction="lower",
    range=(-1.0, 1.0),
    model="",
    preprocessing="",
    definition="mean of leak_<factor> over the factors in which the reference differs from the prompt",
    source="this project: the ground truth of the pocket world",
    licence="",
)


def differing(view: View, factors: Iterable[str]) -> list[str]:
    """Factors whose value in the reference is known and not what the prompt asks for."""
    reference, wanted = view.sample.reference_truth, view.sample.truth
    return [factor for factor in factors if factor in reference and reference[factor] != wanted.get(factor)]


class Leak(Metric):
    """Over all factors of the reference's context."""

    one_person = True
    info = _LEAK
    needs = ("picture:probes", "baseline:probes")

    def __init__(self, factors: tuple[str, ...]) -> None:
        self.factors = factors

    def score(self, view: View) -> float:
        factors = differing(view, self.factors)
        if not factors:
            raise not_applicable("the reference's context is unknown or what the prompt asks for")
        picture, baseline, shown = (
            view["picture:probes"],
            view["baseline:probes"],
            view.sample.reference_truth,
        )
        return sum(leaked(picture, baseline, factor, shown[factor]) for factor in factors) / len(factors)


class LeakFactor(Leak):
    """Of one factor."""

    def __init__(self, factor: str) -> None:
        super().__init__((factor,))
        word = factor.replace("_", " ")
        self._card = replace(
            _LEAK,
            name=f"leak_{factor}",
            title=f"leakage of the reference's {word}",
            definition=f"1 where the probe sees the reference's {word} in the picture, minus 1 where it sees "
            "it in the picture without identity; only where the prompt asks for another one or for none. The "
            "mean is the share of pictures into which it leaked, chance taken off",
        )

    @property
    def card(self) -> MetricInfo:
        return self._card
