"""What fits must show, measured on pocket people nobody trained on.

Where the learned word looks is known exactly: renders come with the true face region. What a picture shows is
read by the probes, who it shows by the scoring recogniser, which no method conditions on. Every unit of work
leaves a record, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from methods.backbone.attention import AttentionSession, ColumnCapture
from methods.backbone.load import load_backbone
from methods.backbone.sampling import sample
from methods.backbone.schedulers import make_scheduler
from methods.config import build
from methods.contract import Attachment, Conditioning, Identity, Job, Method, RowLayout, StepInfo
from methods.errors import FaceError
from methods.faces import analyse, load_encoder
from methods.files import save_json
from methods.fitting.attachment import stage_of
from methods.fitting.method import FitMethod
from methods.fitting.photo import encode_pixels
from methods.fitting.templates import templates_for
from methods.fitting.words import place
from methods.paths import pocket_dir
from methods.pocket.quality import HELD_OUT, JUDGED, UNSAID, bootstrap, unit
from methods.pocket.world import FACTORS, Portrait, caption, render, sample_context, sample_person
from methods.prompts import expand
from methods.registry import get_method

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.faces import FaceEncoder
    from methods.pocket.training.probes import ProbeSet

FIRST_PERSON = HELD_OUT + 500_000
PLAIN = {"style": "photo", "framing": "portrait", "pose": "front", "accessory": "none", "action": "none"}
"""Of reference photographs: a face to be seen."""
TIMESTEPS = (100, 300, 500, 700, 900)


@dataclass(frozen=True)
class Variant:
    """A method with options, under a name of its own."""

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Measurements on `people` held-out people; each unit of work is kept in the folder `work`.

    weights: folder of the pocket models. prompts: pictures per person. renders: other photographs of a person
    on which attention is measured. steps, batch_size: of sampling. report: called with a line of progress.
    """

    work: Path
    weights: Path = field(default_factory=pocket_dir)
    people: int = 8
    prompts: int = 8
    renders: int = 4
    steps: int = 25
    batch_size: int = 8
    report: Callable[[str], object] = lambda line: None

    @cached_property
    def backbone(self) -> Backbone:
        return load_backbone(str(self.weights / "sd"))

    @cached_property
    def encoder(self) -> FaceEncoder:
        return load_encoder(self.weights / "face")

    @cached_property
    def scorer(self) -> FaceEncoder:
        return load_encoder(self.weights / "face-scoring")

    @cached_property
    def probes(self) -> ProbeSet:
        from methods.pocket.training.probes import load_probes

        return load_probes(self.weights / "probes")

    # -------------------------------------------------------------- units of work
    def fit_seconds(self, variant: Variant, person: int) -> dict[str, Any]:
        """Wall and processor seconds of one fit, made now unless its record exists, and its last losses."""

        def make() -> dict[str, Any]:
            method = self._method(variant)
            assert isinstance(method, FitMethod)
            method.refit = True
            identity = self._identity(person)
            wall, cpu = time.perf_counter(), time.process_time()
            fitted = method.tokens(identity, self.backbone)
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
            masks = torch.from_numpy(np.stack([one.face_mask for one in portraits])).float()
            learned = self._share(method, self._identity(person), portraits, masks)
            return {
                "word": learned,
                "noun": self._share(None, None, portraits, masks),
                "area": float(masks.mean()),
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
            contexts = [sample_context(np.random.default_rng([person, 2, i])) for i in range(self.prompts)]
            plain = sample_person(FIRST_PERSON + person)
            jobs = []
            for number, context in enumerate(contexts):
                prompt = re.sub(r"\b(man|woman)\b", "person", caption(plain, context), count=1)
                jobs.append(self._job(prompt, identity, 1000 * person + number))
            made = sample(self.backbone, jobs, method, batch_size=self.batch_size)
            pictures = [one.picture or Image.new("RGB", (128, 128)) for one in made]
            seen = self.probes.predict(np.stack([np.asarray(one) for one in pictures]))
            followed = []
            for number, context in enumerate(contexts):
                said = [f for f in JUDGED if getattr(context, f) != UNSAID.get(f)]
                right = [FACTORS[f].index(getattr(context, f)) == seen[f][number] for f in said]
                followed.append(float(np.mean(right)))
            own = self._score(Image.open(identity.pictures[0]))
            scores = [self._score(picture) for picture in pictures]
            similarity = [None if own is None or one is None else float(own @ one) for one in scores]
            return {"followed": followed, "similarity": similarity}

        return self._unit("pictures", variant, person, {"prompts": self.prompts, "steps": self.steps}, make)

    # -------------------------------------------------------------- figures
    def shares(self, variants: Sequence[Variant]) -> dict[str, Any]:
        """Attention shares of variants, mean over people with intervals, and ratios to the first variant."""
        found = {
            one.name: np.array([self.attention(one, person)["word"] for person in range(self.people)])
            for one in variants
        }
        others = [self.attention(variants[0], person) for person in range(self.people)]
        return {
            "definition": "mean share of a word's cross-attention inside the true face region: "
            f"{self.people} held-out people, {self.renders} other photographs each, timesteps "
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

    def comparison(self, variants: Sequence[Variant]) -> dict[str, Any]:
        """Prompt following and identity of variants, and paired differences from the first one."""
        figures: dict[str, Any] = {
            "definition": f"{self.people} held-out people x {self.prompts} prompts, the same noise for all; "
            "followed: share of captioned factors that the probes see; similarity: to the reference by the "
            "scoring recogniser, 0 without a face; differences are paired, intervals resample people"
        }
        per_person: dict[str, dict[str, NDArray[np.float64]]] = {}
        for one in variants:
            rows = [self.pictures(one, person) for person in range(self.people)]
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

    def seconds(self, variants: Sequence[Variant]) -> dict[str, Any]:
        """Medians of fit times, and how many times longer each takes than the first variant."""
        rows = {one.name: [self.fit_seconds(one, p) for p in range(self.people)] for one in variants}
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
            "backbone": self.backbone.fingerprint,
            **settings,
        }
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        path = self.work / kind / f"{name}.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8"))["value"])
        self.report(f"{kind}: {variant.name}, person {person + 1} of {self.people}")
        value = make()
        save_json(path, {"key": key, "value": value})
        return value

    def _config(self, variant: Variant) -> Any:
        return build(get_method(variant.method).Config, variant.options, where=f"variant {variant.name}")

    def _method(self, variant: Variant) -> Method:
        return get_method(variant.method).load(None, self.backbone, self._config(variant))

    def _identity(self, person: int) -> Identity:
        """A held-out person by one rendered photograph, analysed by the conditioning face pack."""
        path = self.work / "people" / f"{FIRST_PERSON + person}.png"
        if not path.is_file():
            from methods.images import save_png

            context = sample_context(np.random.default_rng([person, 0]), **PLAIN)
            portrait = render(sample_person(FIRST_PERSON + person), context)
            save_png(path, Image.fromarray(portrait.pixels))
        face = analyse(path, self.encoder)
        embedding = torch.from_numpy(face.embedding)
        return Identity(f"person {person}", embedding, (str(path),), face, self.encoder)

    def _portraits(self, person: int) -> list[Portrait]:
        contexts = [
            sample_context(np.random.default_rng([person, 1, i]), style="photo") for i in range(self.renders)
        ]
        return [render(sample_person(FIRST_PERSON + person), context) for context in contexts]

    @torch.inference_mode()
    def _share(
        self,
        method: FitMethod | None,
        identity: Identity | None,
        portraits: Sequence[Portrait],
        masks: Tensor,
    ) -> float:
        """Attention inside the mask, averaged over portraits, timesteps and sites; None: by the noun."""
        backbone, text = self.backbone, self.backbone.text
        prompt = expand(templates_for(backbone.family)[0])
        if method is None or identity is None:
            hidden = text.encode(prompt).hidden[None]
            key = value = hidden
            columns = text.token_positions(prompt, "person")
        else:
            spoken = method.speak(prompt, method.tokens(identity, backbone), backbone)
            placed = place(text, prompt, method.rows, keep_noun=method.keep_noun)
            assert spoken is not None and placed is not None
            key, value, columns = spoken.key, spoken.value, placed.at.tolist()
        pixels = torch.from_numpy(np.stack([one.pixels for one in portraits])).permute(0, 3, 1, 2)
        latents = encode_pixels(backbone, pixels.float() / 127.5 - 1.0)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
        scheduler = make_scheduler("ddim", backbone.scheduler_config)
        count, _, height, width = latents.shape
        shares = []
        for timestep in TIMESTEPS:
            stage = stage_of(float(timestep), len(key))
            capture = ColumnCapture(torch.tensor([columns] * count, device=backbone.device))
            rows = RowLayout(jobs=count, guided=False)
            step = StepInfo(0, 1, float(timestep), float("nan"), float("nan"), rows, (height, width))
            with AttentionSession(backbone.unet, backbone.sites, Attachment(), capture) as session:
                of_stage = [one[stage].expand(count, -1, -1).to(backbone.dtype) for one in (key, value)]
                session.begin(step, Conditioning(*of_stage))
                times = torch.full((count,), timestep, device=backbone.device)
                noisy = scheduler.add_noise(latents, noise, times).to(backbone.dtype)
                backbone.unet(noisy, times, of_stage[0])
            for place_of in range(count):
                for site in backbone.cross_sites:
                    column = capture.maps(place_of)[site.name].sum(dim=-1)
                    shares.append(inside(column, masks[place_of], site.grid(height, width)))
        return float(np.mean(shares))

    def _job(self, prompt: str, identity: Identity, seed: int) -> Job:
        defaults = self.backbone.defaults
        width, height = self.backbone.default_size
        return Job(prompt, width, height, defaults.guidance, identity=identity, seed=seed, steps=self.steps)

    def _score(self, picture: Image.Image) -> NDArray[np.float32] | None:
        """Unit embedding of the face in a picture by the scoring recogniser, None without a face."""
        try:
            found = analyse(picture.convert("RGB"), self.scorer, cache=False, check_domain=False)
        except FaceError:
            return None
        return unit(found.embedding)


def inside(column: Tensor, mask: Tensor, grid: tuple[int, int]) -> float:
    """Share of an attention column [N] (rows of a grid) that lies inside a mask float32 [H, W] in [0, 1]."""
    small = F.adaptive_avg_pool2d(mask[None, None], grid).flatten().to(column)
    return float((column * small).sum() / column.sum())


def mean_interval(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean and 95 % interval, people resampled."""
    interval = bootstrap(lambda chosen: float(values[chosen].mean()), len(values))
    return {"value": round(float(values.mean()), 4), "interval": interval, "n": len(values)}


def ratio_interval(values: NDArray[np.float64], base: NDArray[np.float64]) -> dict[str, Any]:
    """Ratio of means and 95 % interval, people resampled in pairs."""
    interval = bootstrap(lambda chosen: float(values[chosen].mean() / base[chosen].mean()), len(values))
    return {"value": round(float(values.mean() / base.mean()), 4), "interval": interval, "n": len(values)}
