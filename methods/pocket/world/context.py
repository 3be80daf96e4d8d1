"""What is in the picture besides the person: factors that are independent of identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

FACTORS: dict[str, tuple[str, ...]] = {
    "scene": (
        "beach", "city", "forest", "desert", "mountains",
        "living room", "library", "garden", "night sky", "studio",
    ),
    "clothing": ("t-shirt", "sweater", "suit", "hoodie"),
    "clothing_color": (
        "red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown",
    ),
    "expression": ("neutral", "smiling", "laughing", "sad", "angry", "surprised"),
    "accessory": ("none", "glasses", "sunglasses", "hat", "crown", "headphones", "scarf"),
    "action": ("none", "waving", "balloon", "book", "coffee", "flowers"),
    "pose": ("front", "left", "right"),
    "light": ("daylight", "golden hour", "moonlight", "neon"),
    "framing": ("close-up", "portrait", "wide"),
    "style": ("photo", "sketch", "watercolor", "comic", "oil painting"),
}  # fmt: skip

# share of the first value of a factor; the other values are equally likely
_FIRST_SHARE = {"style": 0.6, "accessory": 0.25, "action": 0.45}


@dataclass(frozen=True)
class Context:
    """One value per factor, and `nuisance`: position, scale, tilt and scene details no caption mentions.

    `pose` 'left' means turned towards the left edge of the picture.
    """

    scene: str
    clothing: str
    clothing_color: str
    expression: str
    accessory: str
    action: str
    pose: str
    light: str
    framing: str
    style: str
    nuisance: int = 0

    def __post_init__(self) -> None:
        for name, values in FACTORS.items():
            value = getattr(self, name)
            if value not in values:
                raise ValueError(f"{name}: {value!r} is none of {', '.join(values)}")

    def to_dict(self) -> dict[str, Any]:
        """The factors as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Context:
        """Inverse of :meth:`to_dict`; raises ValueError for a missing, unknown or invalid factor."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise ValueError(f"context factors differ: {sorted(names ^ set(values))}")
        return cls(**values)


def sample_context(rng: np.random.Generator, **fixed: Any) -> Context:
    """Draw every factor from `rng`; values in `fixed` replace the drawn ones without shifting the others."""
    drawn: dict[str, Any] = {}
    for name, values in FACTORS.items():
        u, i = rng.random(), int(rng.integers(len(values) * (len(values) - 1)))
        share = _FIRST_SHARE.get(name)
        if share is None:
            drawn[name] = values[i % len(values)]
        else:
            drawn[name] = values[0] if u < share else values[1 + i % (len(values) - 1)]
    drawn["nuisance"] = int(rng.integers(2**31))
    return Context(**(drawn | fixed))
