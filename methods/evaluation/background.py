"""What PIDiff must show, measured: a background closer to the plain backbone's, at no lower identity.

Both adapters, the full one and the one of the first stage alone, make the same pictures from the same noise;
differences are paired by person. The background is what lies outside the heads' ellipses of the picture and
of its plain counterpart; identity is the cosine of a scoring encoder that no method conditions on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from methods.backbone.sampling import sample
from methods.contract import Method
from methods.errors import FaceError
from methods.hooks import Identity, Job
from methods.pidiff.method import reference_image
from methods.stylespace.align import head_region

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.faces import Face, FaceEncoder


@dataclass(frozen=True)
class Measured:
    """One picture: whom it should show, cosine to the reference, distance of the background.

    None where no face was found.
    """

    person: str
    prompt: str
    similarity: float | None
    background: float | None


def background_distance(
    one: NDArray[np.uint8], other: NDArray[np.uint8], heads: Sequence[NDArray[np.floating]]
) -> float:
    """Mean absolute difference of two pictures [H, W, 3] outside all heads (their landmarks), in [0, 1]."""
    outside = np.ones(one.shape[:2], dtype=np.bool_)
    for landmarks in heads:
        outside &= head_region(landmarks, *one.shape[:2]) < 0.5
    if not outside.any():
        return float("nan")
    return float(np.abs(one[outside].astype(np.float64) - other[outside]).mean() / 255)


@dataclass(frozen=True, eq=False)
class Plain:
    """What the plain backbone makes of one prompt: pixels [H, W, 3], and the face in it if there is one."""

    prompt: str
    pixels: NDArray[np.uint8]
    face: Face | None


def plain_pictures(
    backbone: Backbone, prompts: Sequence[str], scorer: FaceEncoder, *, steps: int
) -> list[Plain]:
    """Every prompt without anybody, with the noise of its number."""
    made = sample(backbone, _jobs(backbone, prompts, steps, None), batch_size=len(prompts))
    return [
        Plain(prompt, _pixels(result.picture), _face(result.picture, scorer))
        for prompt, result in zip(prompts, made, strict=True)
    ]


def measure(
    backbone: Backbone,
    method: Method,
    person: Identity,
    plain: Sequence[Plain],
    scorer: FaceEncoder,
    *,
    steps: int,
    id_weight: float = 1.0,
) -> list[Measured]:
    """A person in every prompt, with the same noise as `plain`."""
    reference = _face(reference_image(person), scorer)
    jobs = _jobs(backbone, [one.prompt for one in plain], steps, person, id_weight)
    rows = []
    for before, result in zip(plain, sample(backbone, jobs, method, batch_size=len(jobs)), strict=True):
        face = _face(result.picture, scorer)
        similarity = None if face is None or reference is None else scorer.similarity(face, reference)
        heads = [one.landmarks for one in (face, before.face) if one is not None]
        distance = background_distance(_pixels(result.picture), before.pixels, heads) if heads else None
        rows.append(Measured(person.name, before.prompt, similarity, distance))
    return rows


def compare(full: Sequence[Measured], stage_one: Sequence[Measured]) -> dict[str, Any]:
    """Means of both, and paired differences full - stage one with bootstrap 95 % intervals over people."""
    found: dict[str, Any] = {"pictures": len(full)}
    for name in ("similarity", "background"):
        pairs: dict[str, list[tuple[float, float]]] = {}
        for one, other in zip(full, stage_one, strict=True):
            a, b = getattr(one, name), getattr(other, name)
            if a is not None and b is not None and np.isfinite([a, b]).all():
                pairs.setdefault(one.person, []).append((a, b))
        if not pairs:
            found[name] = None
            continue
        means = np.array([np.mean(values, axis=0) for values in pairs.values()])  # [people, 2]
        difference = means[:, 0] - means[:, 1]
        draws = np.random.default_rng(0).integers(0, len(means), (2000, len(means)))
        low, high = np.quantile(difference[draws].mean(1), (0.025, 0.975))
        found[name] = {
            "full": round(float(means[:, 0].mean()), 4),
            "stage one": round(float(means[:, 1].mean()), 4),
            "difference": round(float(difference.mean()), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
            "people": len(means),
            "pictures": sum(map(len, pairs.values())),
        }
    return found


def verdict(found: Mapping[str, Any]) -> bool | None:
    """Whether the background is closer and identity not lower, by their intervals; None when unmeasured."""
    background, similarity = found.get("background"), found.get("similarity")
    if background is None or similarity is None:
        return None
    return bool(background["interval"][1] < 0 and similarity["interval"][1] >= 0)


def _jobs(
    backbone: Backbone,
    prompts: Sequence[str],
    steps: int,
    person: Identity | None,
    id_weight: float = 1.0,
) -> list[Job]:
    width, height = backbone.default_size
    guidance = backbone.defaults.guidance
    return [
        Job(prompt, width, height, guidance, identity=person, id_weight=id_weight, seed=seed, steps=steps)
        for seed, prompt in enumerate(prompts)
    ]


def _pixels(picture: Image.Image | None) -> NDArray[np.uint8]:
    if picture is None:
        raise FaceError("a picture was not finite.", hint="Measure other weights.")
    return np.asarray(picture.convert("RGB"))


def _face(picture: Image.Image | None, scorer: FaceEncoder) -> Face | None:
    from methods.faces import analyse

    if picture is None:
        return None
    try:
        return analyse(picture, scorer, cache=False, check_domain=False)
    except FaceError:
        return None
