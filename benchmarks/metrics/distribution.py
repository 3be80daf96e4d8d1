"""Distances between sets of pictures, by torchmetrics' Frechet distance on features computed once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.base import MetricInfo, Score
from benchmarks.metrics.metric import NoScore, SetMetric, View

_FID = MetricInfo(
    name="fid",
    title="Frechet Inception distance to the plain backbone",
    direction="lower",
    range=(0.0, float("inf")),
    model="",
    preprocessing="",
    definition="Frechet distance of Gaussians fitted to the Inception features of the pictures with and "
    "without identity; both sets have the same prompts and seeds. Biased upwards for few pictures: compare "
    "equal numbers",
    source="Heusel et al. 2017, eq. 6; computed by torchmetrics",
    licence="",
)


class FrechetDistance:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^1/2) of two growing sets of features [D], by torchmetrics.

    Keeps sums only, not the features.
    """

    def __init__(self) -> None:
        self._metric: Any = None
        self.counts = [0, 0]
        self.width = 0

    def add(self, feature: NDArray[np.floating], *, real: bool) -> None:
        import torch

        row = torch.from_numpy(np.asarray(feature, np.float64))[None]
        if self._metric is None:
            self._metric, self.width = _torchmetrics(row.shape[1]), row.shape[1]
        self._metric.update(row, real=real)
        self.counts[real] += 1

    def result(self) -> Score:
        made, plain = self.counts
        if min(self.counts) < 2:
            return Score(
                None, "ok", f"{made} pictures with and {plain} without identity; two of each are needed"
            )
        value = max(0.0, float(self._metric.compute()))
        note = f"{made} pictures with and {plain} without identity, {self.width} features"
        if min(self.counts) <= self.width:
            note += "; fewer pictures than features: biased upwards"
        return Score(value, "ok", note)


def _torchmetrics(width: int) -> Any:
    from methods.compat import ensure_torchvision

    ensure_torchvision()
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        """The features are there already."""

        num_features = width

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    return FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)


class Fid(SetMetric):
    info = _FID
    needs = ("picture:inception", "baseline:inception")

    def begin(self) -> _Sets:
        return _Sets(*self.needs)


class FidClip(Fid):
    info = replace(
        _FID,
        name="fid_clip",
        title="Frechet distance of CLIP features to the plain backbone",
        definition="as fid on L2-normalised CLIP image features: not the Inception FID, and on its own scale",
        source="Kynkaanniemi et al. 2023 (FD with CLIP features); computed by torchmetrics",
    )
    needs = ("picture:clip", "baseline:clip")


class _Sets:
    def __init__(self, picture: str, baseline: str) -> None:
        self._needs = picture, baseline
        self._distance = FrechetDistance()
        self._plain: set[str] = set()

    def add(self, view: View) -> None:
        try:
            made, plain = (view[need] for need in self._needs)
        except NoScore:
            return
        self._distance.add(made, real=False)
        if (key := view.sample.baseline_id or view.sample.id) not in self._plain:  # methods share them
            self._plain.add(key)
            self._distance.add(plain, real=True)

    def result(self) -> Score:
        return self._distance.result()
