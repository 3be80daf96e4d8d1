"""Who is in the picture: the identity parameters of a rendered person, and the named celebrities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

GENDERS = ("man", "woman")
HAIR_STYLES = (
    "bald", "buzz", "short", "side part", "quiff", "spiky", "curly",
    "afro", "bob", "long straight", "long wavy", "bun", "ponytail",
)  # fmt: skip
HAIR_COLOURS = (
    "black", "dark brown", "brown", "auburn", "ginger", "blond", "platinum", "grey", "white",
    "blue", "pink", "green", "purple",
)  # fmt: skip
IRIS_COLOURS = ("dark", "brown", "amber", "green", "blue", "grey", "violet")
NOSE_SHAPES = ("button", "straight", "broad", "pointed", "hooked")
LIP_COLOURS = ("natural", "rose", "red", "plum", "pale")
BEARDS = ("none", "stubble", "moustache", "goatee", "full", "long")
MARKS = (
    "none", "freckles", "mole left cheek", "mole right cheek", "mole chin",
    "scar left cheek", "scar right cheek", "rosy cheeks", "birthmark left", "birthmark right",
)  # fmt: skip
MAKEUPS = ("none", "smoky", "blue", "rose", "green")

_CATEGORIES: dict[str, tuple[str, ...]] = {
    "gender": GENDERS,
    "hair_style": HAIR_STYLES,
    "hair_colour": HAIR_COLOURS,
    "iris": IRIS_COLOURS,
    "nose_shape": NOSE_SHAPES,
    "lip_colour": LIP_COLOURS,
    "beard": BEARDS,
    "mark": MARKS,
    "makeup": MAKEUPS,
}
_WEIGHTS = {"skin": 3.0, "hair_style": 1.5, "hair_colour": 2.0, "gender": 1.0, "beard": 1.5, "mark": 1.0}

HELD_OUT = 10_000_000
"""Identity numbers from here on are of people whom no pocket model has seen in training."""


@dataclass(frozen=True)
class Person:
    """Identity parameters; every float lies in [0, 1] and every word in the tuple of its kind above."""

    gender: str
    skin: float
    undertone: float
    face_width: float
    face_length: float
    jaw: float
    chin: float
    forehead: float
    ears: float
    eye_size: float
    eye_openness: float
    eye_spacing: float
    eye_tilt: float
    iris: str
    brow_thickness: float
    brow_arch: float
    brow_angle: float
    brow_height: float
    nose_shape: str
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    lip_fullness: float
    lip_colour: str
    hair_style: str
    hair_colour: str
    beard: str
    mark: str
    makeup: str
    age: float

    def to_dict(self) -> dict[str, Any]:
        """The parameters as JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Person:
        """Inverse of :meth:`to_dict`; raises ValueError for a missing, unknown or out-of-range parameter."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise ValueError(f"person parameters differ: {sorted(names ^ set(values))}")
        for name, value in values.items():
            if name in _CATEGORIES:
                if value not in _CATEGORIES[name]:
                    raise ValueError(f"{name}: {value!r} is none of {', '.join(_CATEGORIES[name])}")
            elif not 0.0 <= float(value) <= 1.0:
                raise ValueError(f"{name}: {value!r} is outside [0, 1]")
        return cls(**values)


def _pick(rng: np.random.Generator, values: tuple[str, ...], weights: list[float]) -> str:
    share = np.asarray(weights, dtype=np.float64)
    return values[int(rng.choice(len(values), p=share / share.sum()))]


def sample_person(seed: int) -> Person:
    """The person with identity number `seed` (any int >= 0); the same seed always gives the same person."""
    rng = np.random.default_rng([seed, 7919])

    def wide(centre: float = 0.5) -> float:
        """A value in [0, 1], flat or U-shaped rather than bell-shaped, pulled a little towards `centre`."""
        value = float(rng.beta(0.8, 0.8))
        return round(min(1.0, max(0.0, value + 0.3 * (centre - 0.5))), 4)

    woman = bool(rng.random() < 0.5)
    age = float(rng.beta(0.9, 1.5))
    hair_style = _pick(
        rng,
        HAIR_STYLES,
        [0.2, 0.5, 1, 1, 0.4, 0.6, 1.2, 1, 1.5, 1.6, 1.6, 1.4, 1.4]
        if woman
        else [1.2, 1.1, 1.4, 1.3, 1.3, 1.2, 1.1, 1, 0.3, 0.5, 0.6, 0.4, 0.4],
    )
    hair_colour = _pick(
        rng,
        HAIR_COLOURS,
        [1.6, 1.3, 1.3, 1, 1, 1.2, 0.6, 0.4 + 1.5 * age, 0.3 + 1.2 * age, 0.5, 0.5, 0.4, 0.4],
    )
    beard = "none" if woman else _pick(rng, BEARDS, [2.2, 1, 1, 1, 1.2, 0.7])
    return Person(
        gender="woman" if woman else "man",
        skin=round(float(rng.random()), 4),
        undertone=wide(),
        face_width=wide(0.4 if woman else 0.6),
        face_length=wide(),
        jaw=wide(0.25 if woman else 0.75),
        chin=wide(0.3 if woman else 0.65),
        forehead=wide(),
        ears=wide(),
        eye_size=wide(0.65 if woman else 0.4),
        eye_openness=wide(0.6 if woman else 0.45),
        eye_spacing=wide(),
        eye_tilt=wide(),
        iris=_pick(rng, IRIS_COLOURS, [1, 1.2, 1, 1, 1.2, 1, 0.5]),
        brow_thickness=wide(0.25 if woman else 0.7),
        brow_arch=wide(0.65 if woman else 0.4),
        brow_angle=wide(),
        brow_height=wide(),
        nose_shape=_pick(rng, NOSE_SHAPES, [1, 1, 1, 1, 1]),
        nose_width=wide(),
        nose_length=wide(),
        mouth_width=wide(),
        mouth_height=wide(),
        lip_fullness=wide(0.7 if woman else 0.35),
        lip_colour=_pick(rng, LIP_COLOURS, [1, 1, 1.2, 0.8, 0.5] if woman else [3, 0.6, 0, 0.2, 1]),
        hair_style=hair_style,
        hair_colour=hair_colour,
        beard=beard,
        mark=_pick(rng, MARKS, [3.5, 1.2, 0.7, 0.7, 0.7, 0.6, 0.6, 1, 0.6, 0.6]),
        makeup=_pick(rng, MAKEUPS, [1.6, 0.8, 0.7, 0.7, 0.5]) if woman else "none",
        age=round(age, 4),
    )


def _vector(person: Person) -> np.ndarray:
    parts: list[float] = []
    for field in fields(Person):
        weight = _WEIGHTS.get(field.name, 0.6)
        value = getattr(person, field.name)
        if field.name in _CATEGORIES:
            # two different words are `weight` apart, whichever they are
            parts += [weight / np.sqrt(2.0) * float(value == word) for word in _CATEGORIES[field.name]]
        else:
            parts.append(weight * value)
    return np.asarray(parts)


_SPAN = float(np.sqrt(sum(_WEIGHTS.get(f.name, 0.6) ** 2 for f in fields(Person))))


def person_distance(a: Person, b: Person) -> float:
    """Normalised distance of the parameters of two people: 0 same, 1 everything different."""
    return float(np.linalg.norm(_vector(a) - _vector(b)) / _SPAN)


_FIRST_NAMES = (
    "mira anton celia dorian elena felix greta hugo iris jonas kira leon maya nico olga pavel quinn "
    "rosa silas tessa ulric vera walt xenia yuri zelda amara boris clara dmitri esme fabio gwen hector "
    "ingrid jasper keiko lars marta noah odette percy rhea stefan tamsin umar violet wendel yara zane "
    "astrid bruno coral darius edith flynn gaia harvey imani jules kofi luna milo nadia oscar petra "
    "raul sonia tariq una viktor willa yosef zora alma basil chiara dexter elio freya "
).split()
_LAST_NAMES = (
    "solano brook castell dunmore everhart falk gallow hartwell ilves jarrow kestrel lindqvist marlow "
    "norrin orsini pell quill ravenel stroud thorne usher valdez winslow yarrow zabel arden birch "
    "calder drake ember fenwick grove holt inkwell joyner knox lark moreau nash oakley pike rook sable "
    "tarn upton voss wilder yates zimmer ash bellamy crane dove elm frost glass harbor ivory juniper "
    "keene lowell mercer north onyx palmer reed sterling tidewell vance wren york zeller ames barlow "
    "cove delgado ellison finch linden rowe "
).split()


# farthest_apart(80, range(1_000_000, 1_001_500)), kept as a result because it takes a third of a second
_CELEBRITY_SEEDS = (
    1_000_000, 1_000_568, 1_000_978, 1_000_069, 1_000_725, 1_001_048, 1_001_356, 1_001_105, 1_000_152,
    1_001_109, 1_000_201, 1_000_722, 1_000_552, 1_001_042, 1_001_025, 1_001_341, 1_001_287, 1_000_182,
    1_000_541, 1_001_183, 1_000_171, 1_000_870, 1_001_059, 1_000_356, 1_000_349, 1_000_799, 1_000_691,
    1_000_486, 1_001_307, 1_001_253, 1_001_204, 1_001_447, 1_000_956, 1_000_222, 1_000_374, 1_001_107,
    1_000_436, 1_000_318, 1_000_803, 1_001_459, 1_001_159, 1_000_416, 1_000_524, 1_000_728, 1_000_510,
    1_001_394, 1_001_362, 1_000_716, 1_000_736, 1_000_637, 1_000_149, 1_001_448, 1_000_589, 1_001_055,
    1_001_417, 1_001_250, 1_000_110, 1_000_105, 1_000_974, 1_000_460, 1_000_572, 1_001_408, 1_001_057,
    1_000_786, 1_000_107, 1_000_520, 1_000_310, 1_000_851, 1_001_373, 1_000_899, 1_000_739, 1_000_914,
    1_000_535, 1_001_116, 1_001_416, 1_000_102, 1_001_265, 1_000_884, 1_000_187, 1_000_860,
)  # fmt: skip


def farthest_apart(count: int, seeds: Sequence[int]) -> list[int]:
    """`count` identity numbers out of `seeds` by farthest-point sampling, starting from the first."""
    vectors = np.stack([_vector(sample_person(seed)) for seed in seeds])
    chosen = [0]
    distance = np.linalg.norm(vectors - vectors[0], axis=1)
    while len(chosen) < count:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return [seeds[i] for i in chosen]


# a name says nothing about the gender or the looks of the person behind it
CELEBRITIES: dict[str, Person] = {
    f"{first} {last}": sample_person(seed)
    for first, last, seed in zip(_FIRST_NAMES, _LAST_NAMES, _CELEBRITY_SEEDS, strict=True)
}
