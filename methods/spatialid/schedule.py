"""SpatialID's temporal-spatial schedule: which mask rules at which noise level, and the published presets.

Torch-free: the kernels are in `masks`, this file holds numbers and one comparison.

Time. The paper's t is FLUX's own: the flow-matching time of x_t = (1 - t) x_0 + t eps, after the resolution
shift. Divided by its signal weight, that is x_0 + (t / (1 - t)) eps, so t / (1 - t) is the k-diffusion noise
level sigma, and a DDPM-style backbone is at the same signal-to-noise ratio ((1 - t) / t)^2 when

    t = sigma / (1 + sigma),    sigma = sqrt((1 - abar) / abar).

`StepInfo.noise_level` is this t. A backbone's `timestep / 1000` is *not*: at timestep 500 of Stable Diffusion
sigma is 1.6 and t is .62. The published bounds .7 and .3 lie at sigma 2.33 and .43.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum

from methods.errors import UsageError, unknown_name


class Phase(StrEnum):
    """The part of the trajectory a step belongs to, and with it the mask that rules there."""

    EARLY = "early"
    MID = "mid"
    LATE = "late"


@dataclass(frozen=True)
class Schedule:
    """Numbers of the three phases; each in [0, 1] except `center_sigma`, which is positive.

    early:        t above it: the Gaussian prior
    late:         t at or below it: the attention mask lifted to a floor; between the two, the mask itself
    late_floor:   least weight in the late phase
    center_sigma: standard deviation of the prior, in half picture sides
    global_floor: least weight in every phase
    """

    early: float = 0.7
    late: float = 0.3
    late_floor: float = 0.5
    center_sigma: float = 0.3
    global_floor: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "center_sigma":
                if not value > 0:
                    raise UsageError(f"center_sigma is {value:g}.", hint="Give a positive number.")
            elif not 0 <= value <= 1:
                raise UsageError(f"{field.name} is {value:g}.", hint="Give a number from 0 to 1.")
        if self.late > self.early:
            raise UsageError(
                f"The late phase (t <= {self.late:g}) begins above the early one (t > {self.early:g}).",
                hint="Give late <= early.",
            )

    def phase(self, t: float) -> Phase:
        """Phase at a flow-matching time t in [0, 1], 1 being pure noise."""
        if t > self.early:
            return Phase.EARLY
        return Phase.MID if t > self.late else Phase.LATE


PRESETS: dict[str, Schedule | None] = {
    "A": None,
    "B": Schedule(),
    "C": Schedule(late_floor=0.7, center_sigma=0.5),
    "D": Schedule(global_floor=0.3),
    "E": Schedule(global_floor=0.5),
    "F": Schedule(late_floor=0.8, center_sigma=0.7, global_floor=0.3),
}
"""The published settings by letter. A is no mask at all; B is in README and app; C to E are the ablation
script's; F is the "best trade-off" that the IBench script uses. Which one printed the paper's table is not
stated; F is the likelier."""

ALIASES = {"uniform": "A", "readme": "B", "default": "B", "ibench": "F"}


def preset(name: str) -> Schedule | None:
    """A preset by letter or alias, in any case; None means no mask. Raises UsageError for an unknown name."""
    letter = ALIASES.get(name.lower(), name.upper())
    if letter not in PRESETS:
        raise unknown_name("preset of spatialid", name, [*PRESETS, *ALIASES])
    return PRESETS[letter]


def adjusted(name: str, **numbers: float | None) -> Schedule | None:
    """A preset with some of its numbers replaced; None keeps the preset's number.

    Raises UsageError for numbers out of range, or any number for the preset without a mask.
    """
    chosen = preset(name)
    given = {key: value for key, value in numbers.items() if value is not None}
    if chosen is None:
        if given:
            raise UsageError(
                f"The preset {name} of spatialid has no mask, so no {' or '.join(given)}.",
                hint="Leave it out, or choose a preset from B to F.",
            )
        return None
    return replace(chosen, **given)
