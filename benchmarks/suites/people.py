"""Pocket people of the suites: who they are, and what their reference pictures show besides them."""

from __future__ import annotations

from methods.pocket.world import FACTORS, sample_person

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


def noun(person: int) -> str:
    """woman or man, as the person is described by captions."""
    return sample_person(person).gender


def counterfactual(person: int, which: int) -> dict[str, str]:
    """The first (0) or second (1) of two contexts of a person that agree in no factor of VARIED.

    What a method takes from the reference besides the identity differs between the two, so a perfect method
    gives the same picture for both. Drawn from the person's number: over many people every value is as likely
    in the first as in the second context.
    """
    import numpy as np

    rng = np.random.default_rng([person, 4242])
    context = dict(PLAIN)
    for factor in VARIED:
        values = FACTORS[factor]
        context[factor] = values[int(rng.permutation(len(values))[which])]
    return context
