"""From prompts and reference pictures to pictures: the one entry for the command line and for Python.

    from methods.generate import generate

    for made in generate(prompts="a {person} on a beach", references="face.png", methods=["none", "uniform"]):
        made.picture.save(f"{made.method}.png")

Everything that can be refused is refused before the first sampling step, cheapest first: prompts and
method names, then faces, then the backbone and the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from methods.backbone.backbone import Backbone, replaced_sampler
from methods.backbone.load import load_backbone
from methods.backbone.source import own_face_encoder
from methods.contract import Method, MethodInfo
from methods.errors import UsageError, unknown_name
from methods.fitting.method import FitMethod
from methods.hooks import Identity, Job, StepInfo
from methods.identify import identify
from methods.prompts import expand, group_name, literal
from methods.provenance import describe_picture, describe_run
from methods.registry import check_backbone, get_method, method_info
from methods.request import Request, request_of
from methods.sampling import Result, check_job, check_steps, iterate_samples
from methods.settings import configure
from methods.together import check_people

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
    request: Request | None = None,
    *,
    backbone: PathArgument | Backbone | None = None,
    face_encoder: PathArgument | FaceEncoder | None = None,
    progress: Progress | None = None,
    fit_progress: Callable[[str, int, int], object] | None = None,
    on_picture: Callable[[Generated], object] | None = None,
    note: Callable[[str], object] = lambda text: None,
    **settings: Any,
) -> list[Generated]:
    """Make every picture of method x identity x prompt x seed; ordered by identity, prompt, seed, method.

    request:      what is wanted; or give `settings`, the fields of `methods.request.Request`, where one
                  prompt, method or reference may stand for a list of them
    backbone:     a loaded one in the place of the request's, or its name
    face_encoder: a loaded one in the place of the request's, or its name
    progress:     called after every sampling step with (steps done, steps in all)
    fit_progress: called after every step of a per-identity fit with ("method to identity", done, in all)
    on_picture:   called with every picture as soon as it is made, method by method
    note:         told in a sentence what people should know, such as that the pipeline's sampler is replaced

    Raises UsageError (also FaceError, PictureError) or WeightsError before anything is sampled.
    """
    if request is None:
        if backbone is not None:
            settings["backbone"] = _name(backbone)
        if isinstance(face_encoder, str | PathLike):
            settings["face_encoder"] = str(face_encoder)
        request = request_of(settings)
    elif settings:
        raise TypeError(f"beside a request there is no {', '.join(settings)}")
    loaded = backbone if isinstance(backbone, Backbone) else None
    encoder = face_encoder if face_encoder is not None else request.face_encoder
    texts, names = list(request.prompts), list(request.methods)
    infos = {name: method_info(name) for name in names}
    for name in names:  # refused before anything heavy is loaded
        configure(get_method(name), request.method_options.get(name))
    adapters = request.adapter if isinstance(request.adapter, Mapping) else {}
    for name in [*request.method_options, *adapters]:
        if name not in names:
            raise unknown_name("method in the options or adapters", name, names)
    people = [_confined(one, request) for one in analyse_references(request, infos, loaded, encoder)]
    troupe = _Troupe(people, request)

    model = loaded or load_backbone(request.backbone, **request.backbone_options)
    sampler = request.scheduler or model.defaults.scheduler
    if request.scheduler is None and (said := replaced_sampler(model)) is not None:
        note(said)
    settings = _job_settings(request, model)
    check_steps(settings["steps"], sampler, model)
    seeds = range(request.seed, request.seed + request.num_images)
    plans: list[tuple[Method, Path | None, list[_Wish]]] = []
    for name in names:
        check_backbone(infos[name], model)
        weights = _adapter(request.adapter, name, infos[name])
        config = configure(get_method(name), request.method_options.get(name), family=model.family)
        method = get_method(name).load(weights, model, config)
        plans.append((method, weights, _wishes(method, model, troupe, texts, seeds, settings)))
    wanted = [method for method, _, _ in plans if request.id_weight or not isinstance(method, FitMethod)]
    _encode(model, wanted, people, fit_progress, request.refit)

    count = _Counter(progress, sum(wish.job.steps for _, _, wishes in plans for wish in wishes))
    pictures: list[Generated] = []
    for method, weights, wishes in plans:
        jobs = [wish.job for wish in wishes]
        about = describe_run(
            model,
            method,
            scheduler=sampler,
            face_select=request.face_select,
            batch_size=request.batch_size,
            adapter=weights,
        )
        for place, result in iterate_samples(
            model,
            jobs,
            method,
            scheduler=sampler,
            batch_size=request.batch_size,
            callback=count,
            record=request.keep_masks,
        ):
            wish = wishes[place]
            nobody = wish.job.identity is None and request.called(wish.prompt)
            description = describe_picture(about, result, literal(wish.job.prompt) if nobody else wish.prompt)
            shown = troupe.of(wish.prompt)
            for identity in shown if wish.job.identity is None else [wish.job.identity]:
                pictures.append(_generated(method, wish, result, description, identity))
                if on_picture is not None:
                    on_picture(pictures[-1])
    persons = [None, *(identity.name for identity in troupe.everybody)]

    def order(made: Generated) -> tuple[int, ...]:
        return persons.index(made.identity), texts.index(made.prompt), made.seed, names.index(made.method)

    return sorted(pictures, key=order)


def check_sizes(request: Request, backbone: Backbone) -> None:
    """Raise UsageError where the settings of a request cannot be sampled on a backbone, whoever is in it."""
    settings = _job_settings(request, backbone)
    check_steps(settings["steps"], request.scheduler or backbone.defaults.scheduler, backbone)
    for prompt in request.prompts:
        check_job(Job(expand(prompt, names=request.references), **_job_settings(request, backbone)), backbone)


def _job_settings(request: Request, model: Backbone) -> dict[str, Any]:
    """What all jobs share: the request's, and the backbone's defaults where it says nothing."""
    defaults = model.defaults
    width, height = model.default_size
    return {
        "negative_prompt": request.negative_prompt,
        "width": width if request.width is None else request.width,
        "height": height if request.height is None else request.height,
        "steps": defaults.steps if request.steps is None else request.steps,
        "guidance": defaults.guidance if request.guidance is None else request.guidance,
        "true_cfg": request.true_cfg,
        "id_weight": request.id_weight,
        "id_start": request.id_start,
        "id_end": request.id_end,
    }


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


class _Troupe:
    """The people of a request, and the groups that its prompts show together."""

    def __init__(self, people: Sequence[Identity], request: Request) -> None:
        self.people = {one.name: one for one in people}
        self._groups: dict[str, Identity] = {}
        self._request = request
        for called in map(request.called, request.prompts):
            if len(called) > 1:
                members = tuple(self.people[name] for name in called)
                self._groups.setdefault(group_name(called), Identity(group_name(called), members=members))

    @property
    def everybody(self) -> list[Identity]:
        return [*self.people.values(), *self._groups.values()]

    def of(self, text: str) -> list[Identity | None]:
        """Whom the pictures of a prompt show, one after the other; [None] where nobody is given."""
        known = self.people | self._groups
        called = self._request.called(text)
        return [known[group_name(called)]] if called else [*self.people.values()] or [None]


def _confined(person: Identity, request: Request) -> Identity:
    """A person with the region that is asked for. Raises PictureError or UsageError for a wrong mask."""
    from methods.regions import Region

    if person.name in request.masks:
        return replace(person, region=Region.drawn(request.masks[person.name]))
    box = request.regions.get(person.name)
    return person if box is None else replace(person, region=Region(box))


def _wishes(
    method: Method,
    backbone: Backbone,
    troupe: _Troupe,
    texts: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> list[_Wish]:
    """Jobs of one method; baselines make one picture for all people. Refuses what cannot be sampled."""
    who: Sequence[Identity | None] = troupe.everybody if method.info.identity else [None]
    wishes = []
    for identity, text, seed in product(who, texts, seeds):
        if identity not in troupe.of(text) and identity is not None:
            continue
        word = "person" if identity is None else method.word(identity)
        job = Job(expand(text, word, troupe.people), identity=identity, seed=seed, **settings)
        check_job(job, backbone)
        check_people(method, job)
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


def analyse_references(
    request: Request,
    infos: Mapping[str, MethodInfo],
    loaded: Backbone | None = None,
    face_encoder: PathArgument | FaceEncoder | None = None,
) -> list[Identity]:
    """Faces of all references, before anything heavy is loaded; [] when no method asks for any."""
    needy = [name for name, info in infos.items() if info.identity]
    if not needy:
        return [Identity(name, pictures=paths) for name, paths in request.references.items()]
    if not request.references:
        raise UsageError(
            f"The method {needy[0]!r} needs a reference picture.",
            hint="Give --reference face.png; spid render makes one.",
        )
    from methods.faces import FaceEncoder, load_encoder

    if face_encoder is None:
        face_encoder = own_face_encoder(loaded or request.backbone)
    encoder = face_encoder if isinstance(face_encoder, FaceEncoder) else load_encoder(face_encoder)
    return [identify(name, paths, encoder, request.face_select) for name, paths in request.references.items()]


def _adapter(
    adapter: Mapping[str, PathArgument] | PathArgument | None, name: str, info: MethodInfo
) -> Path | None:
    path = adapter.get(name) if isinstance(adapter, Mapping) else adapter if info.identity else None
    return None if path is None else Path(path)


def _name(backbone: PathArgument | Backbone) -> str:
    return backbone.name if isinstance(backbone, Backbone) else str(backbone)
