"""What PIDiff must show, measured: a background closer to the plain backbone's, at no lower identity.

Both adapters, the full one and the one of the first stage alone, make the same pictures from the same noise;
differences are paired by person. The background changed is that of the metric `background_leakage`; identity
is the cosine of a scoring encoder that no method conditions on. The verdict is the ledger's
(`configs/claims/pidiff.yaml`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.metrics.leakage import background_change
from benchmarks.studies.figures import Figures, Remaining, mean_interval
from methods.contract import Method
from methods.errors import FaceError
from methods.files import save_json
from methods.hooks import Identity, Job
from methods.images import contact_sheet
from methods.pidiff.config import Config
from methods.pidiff.method import PIDiff, reference_image
from methods.pocket.models import PocketModels
from methods.sampling import sample

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.faces import Face, FaceEncoder


PROMPTS = (
    "a photo of a person in a red sweater, on a beach",
    "a photo of a smiling person in a blue suit, in a city",
    "a photo of a person in a green hoodie, in a forest",
    "a photo of a person in a white t-shirt, in a library",
)


@dataclass(frozen=True)
class Measured:
    """One picture: whom it should show, cosine to the reference, how much the background changed.

    None where no face was found.
    """

    person: str
    prompt: str
    similarity: float | None
    background: float | None


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
        boxes = [one.box for one in (face, before.face) if one is not None]
        changed = background_change(_pixels(result.picture), before.pixels, boxes)
        rows.append(Measured(person.name, before.prompt, similarity, changed))
    return rows


def compare(full: Sequence[Measured], stage_one: Sequence[Measured]) -> dict[str, Any]:
    """Means of both, and paired differences full - stage one with intervals over people."""
    found: dict[str, Any] = {"pictures": len(full)}
    for name in ("similarity", "background"):
        pairs: dict[str, list[tuple[float, float]]] = {}
        for one, other in zip(full, stage_one, strict=True):
            a, b = getattr(one, name), getattr(other, name)
            if a is not None and b is not None:
                pairs.setdefault(one.person, []).append((a, b))
        if not pairs:
            found[name] = None
            continue
        means = np.array([np.mean(values, axis=0) for values in pairs.values()])  # [people, 2]
        found[name] = {
            "full": mean_interval(means[:, 0]),
            "stage one": mean_interval(means[:, 1]),
            "difference": mean_interval(means[:, 0] - means[:, 1]),
            "pictures": sum(map(len, pairs.values())),
        }
    return found


def background(
    adapters: dict[str, Path],
    people: list[Identity],
    prompts: list[str],
    models: PocketModels,
    steps: int,
    id_weights: list[float],
    figures: Figures,
    work: Path,
    report: Callable[[str], object],
) -> None:
    """Both adapters, person by person; a record for each, and the figures over the people so far.

    id_weights: of the full training; the first stage is always at 1
    """
    backbone, scorer = models.backbone, models.scorer
    methods = {name: PIDiff.load(folder, backbone) for name, folder in adapters.items()}
    plain = plain_pictures(backbone, prompts, scorer, steps=steps)
    cases = [("stage one", 1.0), *(("full", weight) for weight in id_weights)]
    measured: dict[tuple[str, float], list[Measured]] = {case: [] for case in cases}
    remaining = Remaining()
    for done, person in enumerate(people, start=1):
        fresh = False
        for name, weight in cases:
            method = methods[name]
            used = [backbone.fingerprint, models.conditioner.fingerprint, scorer.fingerprint]
            key = [method.weights_fingerprint(), *used, prompts, steps, weight]
            digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
            path = work / digest / f"{person.name}.json"
            if not path.is_file():
                made = measure(backbone, method, person, plain, scorer, steps=steps, id_weight=weight)
                save_json(path, [asdict(row) for row in made])
                fresh = True
            stored = json.loads(path.read_text(encoding="utf-8"))
            measured[name, weight] += [Measured(**row) for row in stored]
        for weight in id_weights:
            found = compare(measured["full", weight], measured["stage one", 1.0])
            part = "background" if weight == 1 else f"background at id-weight {weight:g}"
            figures.keep(part, found)
        left = remaining.after(len(people) - done, fresh=fresh)
        report(f"background: {done} of {len(people)} people{left}")


def style_sheet(
    backbone: Backbone,
    folder: Path,
    people: list[Identity],
    steps: int,
    levels: str,
    report: Callable[[str], object],
) -> Image.Image:
    """Person r with the style rows of person c, all from one noise."""
    width, height = backbone.default_size
    columns = []
    for giver in people:
        method = PIDiff.load(folder, backbone, Config(style_from=giver.pictures[0], style_levels=levels))
        jobs = [
            Job(PROMPTS[0], width, height, backbone.defaults.guidance, identity=person, steps=steps)
            for person in people
        ]
        columns.append([result.picture for result in sample(backbone, jobs, method, batch_size=len(jobs))])
        report(f"{levels}: {len(columns)} of {len(people)} columns")
    shown = [reference_image(person) for person in people]
    rows = [[one, *made] for one, made in zip(shown, zip(*columns, strict=True), strict=True)]
    givers: list[Image.Image | None] = [None, *shown]
    titles = ["person", *(f"{levels} rows of {n}" for n in range(len(people)))]
    return contact_sheet([givers, *rows], titles, cell=128)


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
