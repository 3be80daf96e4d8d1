"""The metrics on a device that is not the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from device.pretend import DEVICE, pretend_device
from metrics.metric_samples import portrait, sample, text, truth

from benchmarks.metrics.evaluate import Evaluator


def test_metrics(pocket_weights: Path) -> None:
    names = "clip_t,attr,iq_pocket,id_sim"
    one = sample(portrait(), prompt=text(), truth=truth(), reference=portrait(1))
    [expected] = Evaluator(names, backbone_family="pocket").score([one])
    with pretend_device():
        [found] = Evaluator(names, backbone_family="pocket", device=str(DEVICE)).score([one])
    for name, score in expected.items():
        assert found[name].value == pytest.approx(score.value, abs=1e-3)
