"""Reference pictures of pocket people, of suites and evaluations alike: what they show besides the person."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from methods.pocket.world import FACTORS, Context, render, sample_person

PLAIN = {
    "scene": "studio",
    "clothing": "t-shirt",
    "clothing_color": "white",
    "expression": "neutral",
    "accessory": "none",
    "action": "none",
    "pose": "front",
    "light": "daylight",
    "framing": "portrait",
    "style": "photo",
}
"""The plain reference: nothing hides or colours the face."""

VARIED = ("scene", "clothing", "clothing_color", "expression", "pose", "light")
"""Factors in which two counterfactual references of a person differ, all of them at once."""

REFERENCE_SIZE = 256
"""Pixels of a side."""


def noun(person: int) -> str:
    """woman or man, as the person is described by captions."""
    return sample_person(person).gender


def counterfactual(person: int, which: int) -> dict[str, str]:
    """The first (0) or second (1) of two contexts of a person that agree in no factor of VARIED.

    What a method takes from the reference besides the identity differs between the two, so a perfect method
    gives the same picture for both. Drawn from the person's number: over many people every value is as likely
    in the first as in the second context.
    """
    rng = np.random.default_rng([person, 4242])
    context = dict(PLAIN)
    for factor in VARIED:
        values = FACTORS[factor]
        context[factor] = values[int(rng.permutation(len(values))[which])]
    return context


def counterfactual_nuisance(person: int, which: int) -> int:
    """Another one in each context: position and details of a scene are no part of the identity either."""
    return person * 2 + which


def reference_png(person: int, context: Mapping[str, str], nuisance: int) -> bytes:
    """The PNG file of a reference, `REFERENCE_SIZE` pixels square; equal arguments give equal bytes."""
    shown = Context.from_dict({**context, "nuisance": nuisance})
    portrait = render(sample_person(person), shown, REFERENCE_SIZE)
    buffer = io.BytesIO()
    Image.fromarray(portrait.pixels).save(buffer, "PNG")
    return buffer.getvalue()
