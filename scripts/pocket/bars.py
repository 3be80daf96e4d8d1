"""What the pocket models are asked to reach, and how a measured figure is judged."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.pocket.probes import JUDGED

TARGETS: dict[str, float] = {
    "autoencoder.position": 0.95,
    "autoencoder.l1": 0.030,
    "autoencoder.iris": 0.95,
    "autoencoder.mark": 0.95,
    "text.scene": 0.98,
    "text.clothing_color": 0.97,
    "text.style": 0.95,
    "text.accessory": 0.97,
    "text.expression": 0.95,
    "looks.hair_colour": 0.90,
    "looks.hair_length": 0.90,
    "looks.beard": 0.90,
    "looks.glasses": 0.90,
    "celebrity.top1": 0.85,
    "faces.recall": 0.99,
    "faces.landmark_error": 0.05,
    "faces.tar": 0.95,
    "clip.caption_to_picture": 0.80,
    "uniform.position": 0.75,
    "pulid.position": 0.60,
} | {f"probes.{factor}": 0.98 for factor in JUDGED}
AT_MOST = ("faces.landmark_error", "autoencoder.l1")


def share(right: NDArray[np.bool_]) -> dict[str, Any]:
    """A proportion with its Wilson 95 % interval."""
    n, p, z = len(right), float(np.mean(right)) if len(right) else float("nan"), 1.96
    if n == 0:
        return {"value": None, "interval": None, "n": 0}
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return {"value": round(p, 4), "interval": [round(max(low, 0.0), 4), round(min(high, 1.0), 4)], "n": n}


def verdicts(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every target whose figure was measured: its value, the target, and whether it is reached."""
    found = {}
    for name, target in TARGETS.items():
        part, _, figure = name.partition(".")
        value = figures.get(part, {}).get(figure, {}).get("value")
        if value is not None:
            reached = value <= target if name in AT_MOST else value >= target
            found[name] = {"value": value, "target": target, "reached": reached}
    return found
