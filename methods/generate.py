"""From prompts and reference pictures to pictures: the one entry for the command line and for Python.

    from methods.generate import generate

    for made in generate(prompts="a {person} on a beach", references="face.png", methods=["none", "uniform"]):
        made.picture.save(f"{made.method}.png")

Everything that can be refused is refused before the first sampling step, cheapest first: prompts and
method names, then faces, then the backbone and the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.backbone.noise import SCHEDULERS
from methods.backbone.source import check_there, is_pocket
from methods.config import build
from methods.contract import Method, MethodInfo
from methods.errors import UsageError, unknown_name
from methods.fitting.method import FitMethod
from methods.hooks import Identity, Job, StepInfo
from methods.prompts import expand
from methods.provenance import describe_picture, describe_run
from methods.registry import check_backbone, get_method, method_info
from methods.sampling import Result, check_job, iterate_samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from methods.faces import FaceEncoder

PathArgument = str | PathLike[str]
Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Generated:
    """One picture and all there is to know about it.

    picture:  RGB; None when status is `non_finite`
    job:      everything that reproduces the picture, as JSON-able values (see `methods.provenance`)
    prompt:   as given, with its placeholders
    identity: name of the person; also set for baselines, which were sampled once for all persons
    status:   `ok`, `non_finite` or `degenerate`
    extras:   what the method kept for `keep_masks`, by name
    """

    picture: Image | None
    job: dict[str, Any]
    method: str
    identity: str | None
    prompt: str
    seed: int
    status: str
    extras: dict[str, Any] = field(default_factory=dict)


def generate(
    *,
    prompts: str | Sequence[str],
    references: Mapping[str, PathArgument] | PathArgument | None = None,
    methods: Sequence[str] | str = "spatialid",
    backbone: PathArgument | Backbone = "pocket",
    backbone_options: Mapping[str, Any] | None = None,
    face_encoder: PathArgument | FaceEncoder | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    num_images: int = 1,
    steps: int | None = None,
    guidance: float | None = None,
    true_cfg: float = 1.0,
    width: int | None = None,
    height: int | None = None,
    id_weight: float = 1.0,
    id_start: float = 0.0,
    id_end: float = 1.0,
    scheduler: str | None = None,
    face_select: str = "largest",
    method_options: Mapping[str, Mapping[str, Any]] | None = None,
    adapter: Mapping[str, PathArgument] | PathArgument | None = None,
    progress: Progress | None = None,
    fit_progress: Callable[[str, int, int], object] | None = None,
    refit: bool = False,
    on_picture: Callable[[Generated], object] | None = None,
    keep_masks: bool = False,
    batch_size: int = 1,
) -> list[Generated]:
    """Make every picture of method x identity x prompt x seed; ordered by identity, prompt, seed, method.

    prompts:        may contain {person} or {id}
    references:     one picture, or name -> picture for several identities; None only for baselines
    backbone:       name for `load_backbone` with `backbone_options`, or a loaded one
    face_encoder:   name for `methods.faces.load_encoder`, or a loaded one; None is the backbone's own
    seed:           of the first of `num_images` pictures; the others count up. The same noise for all
                    methods, identities and prompts, so that pictures can be compared
    steps, guidance, width, height, scheduler: None for the backbone's defaults
    true_cfg:       above 1, FLUX takes a second pass with the negative prompt, beside its own guidance
    id_start, id_end: fractions of the steps between which the identity is injected
    method_options: method -> options of its `Config`
    adapter:        weights for every method that has some, or method -> weights; None for the shipped ones
    progress:       called after every sampling step with (steps done, steps in all)
    fit_progress:   called after every step of a per-identity fit with ("method to identity", done, in all)
    refit:          fit again although the cache knows the identity
    on_picture:     called with every picture as soon as it is made, method by method
    keep_masks:     let methods keep what they can show (`Generated.extras`)
    batch_size:     jobs per U-Net call; more is faster on an accelerator, but rounding then depends on the
                    company, and a picture can be reproduced to rounding only instead of bit for bit

    Raises UsageError (also FaceError, PictureError) or WeightsError before anything is sampled.
    """
    texts, names = _texts(prompts), _names(methods)
    infos = {name: method_info(name) for name in names}
    configs = {name: _config(name, method_options) for name in names}
    for name in [*(method_options or {}), *(adapter if isinstance(adapter, Mapping) else {})]:
        if name not in names:
            raise unknown_name("method in the options or adapters", name, names)
    _check_numbers(seed, num_images, id_weight, id_start, id_end, guidance, scheduler)
    for text in texts:
        expand(text)
    people = _analyse(_references(references), infos, backbone, face_encoder, face_select)

    options = backbone_options or {}
    model = backbone if isinstance(backbone, Backbone) else load_backbone(_name(backbone), **options)
    defaults = model.defaults
    sampler = scheduler or defaults.scheduler
    settings = {
        "negative_prompt": negative_prompt,
        "width": model.default_size[0] if width is None else width,
        "height": model.default_size[1] if height is None else height,
        "steps": defaults.steps if steps is None else steps,
        "guidance": defaults.guidance if guidance is None else guidance,
        "true_cfg": true_cfg,
        "id_weight": id_weight,
        "id_start": id_start,
        "id_end": id_end,
    }
    seeds = range(seed, seed + num_images)
    plans: list[tuple[Method, Path | None, list[_Wish]]] = []
    for name in names:
        check_backbone(infos[name], model)
        weights = _adapter(adapter, name, infos[name])
        method = get_method(name).load(weights, model, configs[name])
        plans.append((method, weights, _wishes(method, model, people, texts, seeds, settings)))
    wanted = [method for method, _, _ in plans if id_weight or not isinstance(method, FitMethod)]
    _encode(model, wanted, people, fit_progress, refit)

    count = _Counter(progress, sum(wish.job.steps for _, _, wishes in plans for wish in wishes))
    pictures: list[Generated] = []
    for method, weights, wishes in plans:
        jobs = [wish.job for wish in wishes]
        about = describe_run(
            model, method, scheduler=sampler, face_select=face_select, batch_size=batch_size, adapter=weights
        )
        for place, result in iterate_samples(
            model, jobs, method, scheduler=sampler, batch_size=batch_size, callback=count, record=keep_masks
        ):
            wish = wishes[place]
            description = describe_picture(about, result, wish.prompt)
            shown: Sequence[Identity | None] = people or [None]
            for identity in shown if wish.job.identity is None else [wish.job.identity]:
                pictures.append(_generated(method, wish, result, description, identity))
                if on_picture is not None:
                    on_picture(pictures[-1])
    persons = [None, *(identity.name for identity in people)]

    def order(made: Generated) -> tuple[int, ...]:
        return persons.index(made.identity), texts.index(made.prompt), made.seed, names.index(made.method)

    return sorted(pictures, key=order)


@dataclass(frozen=True)
class _Wish:
    """One job with the prompt as it was given."""

    prompt: str
    job: Job


class _Counter:
    """Counts sampling steps of jobs, whatever batches they come in."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, step: StepInfo, latents: torch.Tensor) -> None:
        self._done += step.rows.jobs
        if self._progress is not None:
            self._progress(self._done, self._total)


def _wishes(
    method: Method,
    backbone: Backbone,
    people: Sequence[Identity],
    texts: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> list[_Wish]:
    """Jobs of one method; baselines make one picture for all people. Refuses what cannot be sampled."""
    who: Sequence[Identity | None] = people if method.info.identity else [None]
    wishes = []
    for identity, text, seed in product(who, texts, seeds):
        word = "person" if identity is None else method.word(identity)
        job = Job(expand(text, word), identity=identity, seed=seed, **settings)
        check_job(job, backbone)
        if identity is not None:
            method.check_prompt(job.prompt, backbone)
        wishes.append(_Wish(text, job))
    return wishes


def _encode(
    backbone: Backbone,
    methods: Sequence[Method],
    people: Sequence[Identity],
    fit_progress: Callable[[str, int, int], object] | None,
    refit: bool,
) -> None:
    """Everybody's tokens by every method; fits, which take minutes, after all that can be refused at once."""
    for method in sorted(methods, key=lambda one: one.info.kind == "fit"):
        if not method.info.identity:
            continue
        if isinstance(method, FitMethod):
            method.refit = refit
            if fit_progress is not None:
                method.progress = partial(_tell_of_fit, fit_progress, method.info.name)
        for identity in people:
            method.tokens(identity, backbone)


def _tell_of_fit(
    tell: Callable[[str, int, int], object], method: str, identity: str, done: int, total: int
) -> None:
    tell(f"{method} to {identity}", done, total)


def _generated(
    method: Method, wish: _Wish, result: Result, description: dict[str, Any], shown: Identity | None
) -> Generated:
    return Generated(
        picture=result.picture,
        job=description,
        method=method.info.name,
        identity=None if shown is None else shown.name,
        prompt=wish.prompt,
        seed=wish.job.seed,
        status=result.status,
        extras=result.records,
    )


def _analyse(
    references: Mapping[str, Path],
    infos: Mapping[str, MethodInfo],
    backbone: PathArgument | Backbone,
    face_encoder: PathArgument | FaceEncoder | None,
    select: str,
) -> list[Identity]:
    """Faces of all references, before anything heavy is loaded; [] when no method asks for any."""
    needy = [name for name, info in infos.items() if info.identity]
    if not needy:
        return [Identity(name, pictures=(str(path),)) for name, path in references.items()]
    if not references:
        raise UsageError(
            f"The method {needy[0]!r} needs a reference picture.",
            hint="Give --reference face.png; spid render makes one.",
        )
    from methods.faces import FaceEncoder, load_encoder

    if face_encoder is None:
        pocket = backbone.family == "pocket" if isinstance(backbone, Backbone) else is_pocket(_name(backbone))
        if not pocket:
            check_there(_name(backbone))
            raise UsageError(
                f"The backbone {_name(backbone)} has no face encoder of its own.",
                hint="Give --face-encoder, for instance insightface:buffalo_l.",
            )
        face_encoder = "pocket"
    encoder = face_encoder if isinstance(face_encoder, FaceEncoder) else load_encoder(face_encoder)
    return [identify(name, path, encoder, select) for name, path in references.items()]


def identify(name: str, path: PathArgument, encoder: FaceEncoder, select: str = "largest") -> Identity:
    """The person in a reference picture; raises FaceError or PictureError as `methods.faces.analyse`."""
    from methods.faces import analyse

    face = analyse(path, encoder, select=select)
    return Identity(name, torch.from_numpy(face.embedding), (str(path),), face, encoder)


def _config(name: str, options: Mapping[str, Mapping[str, Any]] | None) -> Any:
    return build(get_method(name).Config, (options or {}).get(name), where=f"method {name}")


def _adapter(
    adapter: Mapping[str, PathArgument] | PathArgument | None, name: str, info: MethodInfo
) -> Path | None:
    path = adapter.get(name) if isinstance(adapter, Mapping) else adapter if info.identity else None
    return None if path is None else Path(path)


def _check_numbers(
    seed: int,
    num_images: int,
    id_weight: float,
    id_start: float,
    id_end: float,
    guidance: float | None,
    scheduler: str | None,
) -> None:
    if not 0 <= seed < 2**63 - num_images:
        raise UsageError(f"The seed {seed} is out of range.", hint="Give one from 0 to 2^63.")
    if num_images < 1:
        raise UsageError(f"{num_images} images cannot be made.", hint="Give --num-images 1 or more.")
    if not (math.isfinite(id_weight) and id_weight >= 0):
        raise UsageError(
            f"The identity weight {id_weight} is out of range.", hint="Give 0 or more; 1 is full."
        )
    if not 0 <= id_start <= id_end <= 1:
        raise UsageError(
            f"The identity cannot be active from {id_start} to {id_end} of the steps.",
            hint="Give 0 <= id-start <= id-end <= 1.",
        )
    if guidance is not None and not math.isfinite(guidance):
        raise UsageError(f"The guidance {guidance} is no number.", hint="Give 1 for none, 3 to 8 as usual.")
    if scheduler is not None and scheduler not in SCHEDULERS:
        raise unknown_name("scheduler", scheduler, SCHEDULERS)


def _texts(prompts: str | Sequence[str]) -> list[str]:
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise UsageError("There is no prompt.", hint="Give --prompt or --prompt-file.")
    return texts


def _names(methods: Sequence[str] | str) -> list[str]:
    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    if not names:
        raise UsageError("There is no method.", hint="Give --method; spid methods lists them.")
    return names


def _references(references: Mapping[str, PathArgument] | PathArgument | None) -> dict[str, Path]:
    if references is None:
        return {}
    if isinstance(references, Mapping):
        return {name: Path(path) for name, path in references.items()}
    return {Path(references).stem: Path(references)}


def _name(backbone: PathArgument | Backbone) -> str:
    return backbone.name if isinstance(backbone, Backbone) else str(backbone)
