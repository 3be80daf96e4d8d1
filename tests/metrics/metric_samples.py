"""Samples made of renders, whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.metrics.base import SampleView, Score
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.metric import View
from methods.pocket.world import Context, caption, render, sample_person

PLAIN = Context(
    "studio", "t-shirt", "blue", "neutral", "none", "none", "front", "daylight", "portrait", "photo", 1
)
FIRST = 10_000_000
BLANK = Image.new("RGB", (128, 128), (90, 140, 200))


@cache
def portrait(person: int = 0, **factors: Any) -> Image.Image:
    """A render of a person nobody trained on; plain but for `factors`."""
    return Image.fromarray(render(sample_person(FIRST + person), replace(PLAIN, **factors)).pixels)


@cache
def photograph() -> Image.Image:
    """A real one, of a face."""
    from skimage import data

    return Image.fromarray(data.astronaut()).crop((100, 0, 350, 250))


def truth(**factors: Any) -> dict[str, str]:
    """Every factor of the plain context with `factors` in it."""
    values = replace(PLAIN, **factors).to_dict()
    return {name: value for name, value in values.items() if name != "nuisance"}


def text(person: int = 0, **factors: Any) -> str:
    return caption(sample_person(FIRST + person), replace(PLAIN, **factors))


def sample(picture: Image.Image, **fields: Any) -> SampleView:
    """A sample around a picture; its id is that of its pixels."""
    from methods.images import pixels_hash

    given = {
        "id": pixels_hash(picture)[:16],
        "method": "m",
        "identity": "someone",
        "prompt": text(),
        "category": "Style",
        "picture": picture,
        **fields,
    }
    return SampleView(**given)


def scores(names: str, *samples: SampleView, family: str = "pocket", **models: str) -> list[dict[str, Score]]:
    return Evaluator(names, backbone_family=family, models=models).score(samples)


def value(name: str, one: SampleView, **models: str) -> float:
    """The value of one metric that must have one."""
    score = scores(name, one, **models)[0][name]
    assert score.value is not None, score
    return score.value


def view(features: dict[str, Any], **fields: Any) -> View:
    """A sample with the given features, for formulas that need no model."""
    return View(sample(BLANK, **fields), features)


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)
