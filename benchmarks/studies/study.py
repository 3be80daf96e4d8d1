"""What fits must show, and what all methods do, measured on pocket people nobody trained on.

Where the learned word looks is known exactly: renders come with the true face region. What a picture shows is
read by the probes, who it shows by the scoring recogniser, which no method conditions on. Every unit of work
leaves a record, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.studies.attention import TIMESTEPS, face_share
from benchmarks.studies.figures import every, mean_interval, ratio_interval
from benchmarks.studies.free_features import FreeFeatures
from benchmarks.studies.people import FIRST_PERSON, held_out
from methods.config import read_setting
from methods.contract import Method
from methods.errors import FaceError, UsageError
from methods.faces import analyse
from methods.files import save_json
from methods.fitting.method import FitMethod
from methods.fitting.templates import templates_for
from methods.fitting.words import place
from methods.hooks import Identity, Job
from methods.pocket.models import PocketModels
from methods.pocket.probes import JUDGED
from methods.pocket.world import (
    FACTORS,
    Context,
    Portrait,
    caption,
    render,
    sample_context,
    sample_person,
)
from methods.pocket.world.captions import UNSAID
from methods.prompts import expand
from methods.registry import get_method
from methods.sampling import sample
from methods.settings import configure

STRANGERS = 250_000
"""How far a person's stranger is from the person, in numbers of people."""


@dataclass(frozen=True)
class Variant:
    """A method with options, under a name of its own."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)


def options_by_method(settings: Sequence[str], measured: Collection[str]) -> dict[str, dict[str, Any]]:
    """Options of each method from `method.key=value`, as `--set` gives them.

    Raises UsageError for a text of another form, and for a method that is not `measured`.
    """
    options: dict[str, dict[str, Any]] = {}
    for text in settings:
        name, value = read_setting(text, where=f"--set {text!r}", example="--set facewise.steps=200")
        method, _, key = name.rpartition(".")
        if method not in measured:
            raise UsageError(
                f"--set {text!r} is for no method that is measured.",
                hint=f"Measured: {', '.join(measured)}; for example --set facewise.steps=200",
            )
        options.setdefault(method, {})[key] = value
    return options


@dataclass(frozen=True)
class Study:
    """Measurements on `people` held-out people; each unit of work is kept in the folder `work`.

    prompts: pictures per person. renders: other photographs of a person on which attention is measured.
    steps, batch_size: of sampling. pictured: what all prompts say, such as the style; the rest is drawn.
    adapters: folders of weights by method, instead of those beside the models or the shipped ones. report:
    called with a line of progress.
    """

    work: Path
    models: PocketModels = field(default_factory=PocketModels)
    people: int = 8
    prompts: int = 8
    renders: int = 4
    steps: int = 25
    batch_size: int = 8
    pictured: Mapping[str, str] = field(default_factory=dict)
    adapters: Mapping[str, Path] = field(default_factory=dict)
    report: Callable[[str], object] = lambda line: None

    @cached_property
    def made(self) -> list[Path]:
        """Records that were written just now, not found."""
        return []

    # -------------------------------------------------------------- units of work
    def fit_seconds(self, variant: Variant, person: int) -> dict[str, Any]:
        """Wall and processor seconds of one fit, made now unless its record exists, and its last losses."""

        def make() -> dict[str, Any]:
            method = self._method(variant)
            assert isinstance(method, FitMethod)
            method.refit = True
            method.progress = every(15.0, self.report, f"  {variant.name}")
            identity = self._identity(person)
            wall, cpu = time.perf_counter(), time.process_time()
            fitted = method.tokens(identity, self.models.backbone)
            found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            last = {name: float(fitted[name][-50:].mean()) for name in fitted if name.startswith("log.")}
            return {"threads": torch.get_num_threads(), **found, **last}

        return self._unit("fit", variant, person, {}, make)

    def attention(self, variant: Variant, person: int) -> dict[str, Any]:
        """Share of the word's attention inside the true face region, on other photographs of the person.

        `word`: by the learned word; `noun`: by "person" itself; `area`: of the picture that is face.
        """

        def make() -> dict[str, Any]:
            self.fit_seconds(variant, person)
            method = self._method(variant)
            assert isinstance(method, FitMethod)
            portraits = self._portraits(person)
            return {
                "word": self._share(method, self._identity(person), portraits),
                "noun": self._share(None, None, portraits),
                "area": float(np.mean([one.face_mask for one in portraits])),
            }

        return self._unit("attention", variant, person, {"renders": self.renders}, make)

    def pictures(self, variant: Variant, person: int) -> dict[str, Any]:
        """Prompt following and identity of pictures of one person, one number per picture.

        `followed`: share of the captioned factors that the probes see; `similarity`: to the reference by the
        scoring recogniser, None where no face was found.
        """

        def make() -> dict[str, Any]:
            method = self._method(variant)
            identity = self._identity(person)
            if isinstance(method, FitMethod):
                self.fit_seconds(variant, person)
            contexts = self._contexts(person)
            plain = sample_person(FIRST_PERSON + person)
            jobs = []
            for number, context in enumerate(contexts):
                prompt = re.sub(r"\b(man|woman)\b", "person", caption(plain, context), count=1)
                jobs.append(self._job(prompt, identity, 1000 * person + number))
            made = sample(self.models.backbone, jobs, method, batch_size=self.batch_size)
            pictures = [one.picture or Image.new("RGB", (128, 128)) for one in made]
            seen = self.models.probes.predict(np.stack([np.asarray(one) for one in pictures]))
            followed = []
            for number, context in enumerate(contexts):
                said = [f for f in JUDGED if getattr(context, f) != UNSAID.get(f)]
                right = [FACTORS[f].index(getattr(context, f)) == seen[f][number] for f in said]
                followed.append(float(np.mean(right)))
            own = self._score(Image.open(identity.pictures[0]))
            scores = [self._score(picture) for picture in pictures]
            similarity = [None if own is None or one is None else float(own @ one) for one in scores]
            return {"followed": followed, "similarity": similarity}

        settings = {
            "prompts": self.prompts,
            "steps": self.steps,
            "probes": self.models.probes.fingerprint,
            **self._pictured(),
        }
        weights = self._weights(variant.method)
        if weights is not None:
            settings["weights"] = weights
        return self._unit("pictures", variant, person, settings, make)

    def renders_of(self, person: int) -> dict[str, Any]:
        """What similarity to the reference renders have in the contexts of `pictures`, one number each.

        `genuine`: of the person; `impostor`: of a stranger; None where no face was found.
        """

        def make() -> dict[str, Any]:
            own = self._score(Image.open(self._identity(person).pictures[0]))
            found: dict[str, list[float | None]] = {}
            for name, who in (("genuine", person), ("impostor", person + STRANGERS)):
                shown = [render(sample_person(FIRST_PERSON + who), one) for one in self._contexts(person)]
                scores = [self._score(Image.fromarray(one.pixels)) for one in shown]
                found[name] = [None if own is None or s is None else float(own @ s) for s in scores]
            return found

        settings = {"prompts": self.prompts, **self._pictured()}
        return self._unit("renders", Variant("renders", "none"), person, settings, make)

    # -------------------------------------------------------------- figures
    def shares(self, variants: Sequence[Variant], people: int | None = None) -> dict[str, Any]:
        """Attention shares of variants, mean over people with intervals, and ratios to the first variant.

        people: how many of them, all if None
        """
        people = people or self.people
        found = {
            one.name: np.array([self.attention(one, person)["word"] for person in range(people)])
            for one in variants
        }
        others = [self.attention(variants[0], person) for person in range(people)]
        return {
            "definition": "mean share of a word's cross-attention inside the true face region: "
            f"{people} held-out people, {self.renders} other photographs each, timesteps "
            f"{list(TIMESTEPS)}, all sites",
            "share": {name: mean_interval(values) for name, values in found.items()},
            "share_of_noun": mean_interval(np.array([one["noun"] for one in others])),
            "area_of_face": mean_interval(np.array([one["area"] for one in others])),
            f"ratio_to_{variants[0].name}": {
                name: ratio_interval(values, found[variants[0].name])
                for name, values in found.items()
                if name != variants[0].name
            },
        }

    def comparison(self, variants: Sequence[Variant], people: int | None = None) -> dict[str, Any]:
        """Prompt following and identity of variants, and paired differences from the first one."""
        people = people or self.people
        figures: dict[str, Any] = {
            "definition": f"{people} held-out people x {self.prompts} prompts, the same noise for all; "
            "followed: share of captioned factors that the probes see; similarity: to the reference by the "
            "scoring recogniser, 0 without a face; differences are paired, intervals resample people"
        }
        per_person: dict[str, dict[str, NDArray[np.float64]]] = {}
        for one in variants:
            rows = [self.pictures(one, person) for person in range(people)]
            similarity = [[s or 0.0 for s in row["similarity"]] for row in rows]
            per_person[one.name] = {
                "followed": np.array([np.mean(row["followed"]) for row in rows]),
                "similarity": np.array([np.mean(row) for row in similarity]),
            }
            missed = sum(s is None for row in rows for s in row["similarity"])
            figures[one.name] = {
                **{name: mean_interval(values) for name, values in per_person[one.name].items()},
                "faces_not_found": missed,
            }
        first = variants[0].name
        figures[f"minus_{first}"] = {
            name: {kind: mean_interval(values[kind] - per_person[first][kind]) for kind in values}
            for name, values in per_person.items()
            if name != first
        }
        return figures

    def seconds(self, variants: Sequence[Variant], people: int | None = None) -> dict[str, Any]:
        """Medians of fit times, and how many times longer each takes than the first variant."""
        people = people or self.people
        rows = {one.name: [self.fit_seconds(one, p) for p in range(people)] for one in variants}
        median = {
            name: {clock: float(np.median([row[clock] for row in of])) for clock in ("wall", "cpu")}
            for name, of in rows.items()
        }
        first = median[variants[0].name]
        return {
            "threads": rows[variants[0].name][0]["threads"],
            "median_seconds": median,
            f"ratio_to_{variants[0].name}": {
                name: {clock: round(of[clock] / first[clock], 2) for clock in of}
                for name, of in median.items()
            },
        }

    def losses(self, variants: Sequence[Variant], people: int | None = None) -> dict[str, Any]:
        """Squared error over the last 50 steps of fits, mean over people."""
        people = people or self.people
        return {
            one.name: mean_interval(
                np.array([self.fit_seconds(one, person)["log.denoising"] for person in range(people)])
            )
            for one in variants
        }

    # -------------------------------------------------------------- parts
    def _unit(
        self,
        kind: str,
        variant: Variant,
        person: int,
        settings: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
    ) -> dict[str, Any]:
        """The record of a unit of work, made now unless it exists."""
        key = {
            "kind": kind,
            "method": variant.method,
            "config": asdict(self._config(variant)),
            "person": FIRST_PERSON + person,
            "backbone": self.models.backbone.fingerprint,
            "encoders": [self.models.conditioner.fingerprint, self.models.scorer.fingerprint],
            **settings,
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        path = self.work / kind / f"{name}.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8"))["value"])
        self.report(f"{kind}: {variant.name}, person {person + 1} of {self.people}")
        value = make()
        save_json(path, {"key": key, "value": value})
        self.made.append(path)
        return value

    def _config(self, variant: Variant) -> Any:
        where = f"variant {variant.name}"
        kind = _measured(variant.method)
        return configure(kind, variant.options, family=self.models.backbone.family, where=where)

    def _method(self, variant: Variant) -> Method:
        folder = self.adapters.get(variant.method)
        if folder is None:
            own = self.models.folder / ("uniform" if variant.method == "spatialid" else variant.method)
            folder = own if own.is_dir() else None
        return _measured(variant.method).load(folder, self.models.backbone, self._config(variant))

    def _weights(self, method: str) -> str | None:
        """Fingerprint of a method's weights; None for methods without, as fits are."""
        if method not in self._fingerprints:
            self._fingerprints[method] = self._method(Variant(method, method)).weights_fingerprint()
        return self._fingerprints[method]

    @cached_property
    def _fingerprints(self) -> dict[str, str | None]:
        return {}

    def _contexts(self, person: int) -> list[Context]:
        """What is asked for in the pictures of a person."""
        return [
            sample_context(np.random.default_rng([person, 2, i]), **self.pictured)
            for i in range(self.prompts)
        ]

    def _pictured(self) -> dict[str, Any]:
        return {"pictured": dict(self.pictured)} if self.pictured else {}

    def _identity(self, person: int) -> Identity:
        """A held-out person by one rendered photograph, analysed by the conditioning face pack."""
        return held_out(person, self.work / "people", self.models.conditioner)

    def _portraits(self, person: int) -> list[Portrait]:
        contexts = [
            sample_context(np.random.default_rng([person, 1, i]), style="photo") for i in range(self.renders)
        ]
        return [render(sample_person(FIRST_PERSON + person), context) for context in contexts]

    @torch.inference_mode()
    def _share(
        self, method: FitMethod | None, identity: Identity | None, portraits: Sequence[Portrait]
    ) -> float:
        """Share of attention inside the face by the word that a method learned; None: by the noun."""
        backbone, text = self.models.backbone, self.models.backbone.text
        prompt = expand(templates_for(backbone.family)[0])
        if method is None or identity is None:
            hidden = text.encode(prompt).hidden[None]
            return face_share(backbone, hidden, hidden, text.token_positions(prompt, "person"), portraits)
        spoken = method.speak(prompt, method.tokens(identity, backbone), backbone)
        placed = place(text, prompt, method.rows, keep_noun=method.keep_noun)
        assert spoken is not None and placed is not None
        return face_share(backbone, spoken.key, spoken.value, placed.at.tolist(), portraits)

    def _job(self, prompt: str, identity: Identity, seed: int) -> Job:
        defaults = self.models.backbone.defaults
        width, height = self.models.backbone.default_size
        return Job(prompt, width, height, defaults.guidance, identity=identity, seed=seed, steps=self.steps)

    def _score(self, picture: Image.Image) -> NDArray[np.float32] | None:
        """Unit embedding of the face in a picture by the scoring recogniser, None without a face."""
        try:
            found = analyse(picture.convert("RGB"), self.models.scorer, cache=False, check_domain=False)
        except FaceError:
            return None
        return found.embedding / np.linalg.norm(found.embedding)


def _measured(name: str) -> type[Method]:
    """A method by name, or the bound that is none."""
    return FreeFeatures if name == FreeFeatures.info.name else get_method(name)
