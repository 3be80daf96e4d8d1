"""How good the pocket models are: every figure measured on people, captions and seeds nobody trained on.

Shares carry a Wilson 95 % interval and their number of pictures, means a bootstrap 95 % interval; every
part says what it measured. Pictures in which no face is found count as failures, never as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.studies.figures import ratio_interval
from methods.contract import Method
from methods.errors import FaceError, UsageError
from methods.faces import analyse
from methods.hooks import Identity, Job
from methods.pocket.models import PocketModels
from methods.pocket.probes import IDENTITY, attribute
from methods.pocket.world import (
    FACTORS,
    HELD_OUT,
    Context,
    Person,
    caption,
    render,
    sample_context,
    sample_person,
)
from methods.pocket.world.captions import UNSAID
from methods.pocket.world.looks import listed, look
from methods.pocket.world.names import NAMED
from methods.registry import get_method
from methods.sampling import iterate_samples
from scripts.pocket.bars import share, verdicts


# ------------------------------------------------------------------ the instrument
@dataclass(frozen=True)
class Instrument:
    """What is measured and with what; parts are methods of the same name.

    count: pictures per generated part. seed: of contexts and noise.
    steps: sampling steps. batch_size: pictures per U-Net call. report: called with a line of progress.
    vae: folder of another VAE than the models' own.
    """

    models: PocketModels
    count: int = 512
    seed: int = 0
    steps: int = 25
    batch_size: int = 32
    report: Callable[[str], object] = lambda line: None
    vae: Path | None = None

    def autoencoder(self) -> dict[str, Any]:
        """What the VAE keeps of held-out people: pixels, identity, eye colour and marks."""
        from scripts.pocket.details import load_details
        from scripts.pocket.vae_figures import vae_figures

        people = max(16, self.count // 4)
        found = vae_figures(
            self.vae or self.models.folder / "sd" / "vae",
            self.models.scorer,
            load_details(self.models.folder / "probes" / "details.safetensors"),
            people=people,
            seed=self.seed,
        )
        definition = f"{people} held-out people x 2 photos through the VAE and back; see `vae_figures`"
        return {"definition": definition, **found}

    def looks(self) -> dict[str, Any]:
        """Share of pictures by `none` in which the probes see what the prompt says about the person."""
        probes = self.models.probes
        rng = np.random.default_rng([self.seed, 4])
        people = [sample_person(HELD_OUT + 900_000 + number) for number in range(self.count)]
        jobs, glasses = [], []
        for number, person in enumerate(people):
            glasses.append(bool(rng.random() < 0.5))
            worn = "glasses" if glasses[-1] else "none"
            context = sample_context(rng, style="photo", accessory=worn, light="daylight")
            said = listed([phrase for name in ("hair", "beard") if (phrase := look(person, name))])
            jobs.append(self._job(caption(person, context, looks=said), number))
        seen = probes.predict(self._pictures(jobs, None, "looks"))
        bald = np.array([person.hair_style == "bald" for person in people])
        figures: dict[str, Any] = {
            "definition": "pictures of `none` from 'a photo of a man with HAIR and BEARD ...' of held-out "
            "people; share whose probe names what is described; glasses: seen where asked for, only there"
        }
        for name in ("hair_colour", "hair_length", "beard"):
            true = np.array([IDENTITY[name].index(attribute(person, name)) for person in people])
            figures[name] = share((seen[name] == true)[~bald if name == "hair_colour" else slice(None)])
        worn_glasses = seen["accessory"] == FACTORS["accessory"].index("glasses")
        figures["glasses"] = share(worn_glasses == np.array(glasses))
        return figures

    def text(self) -> dict[str, Any]:
        """Share of pictures by `none` in which the probe sees what the prompt says, per factor."""
        rng = np.random.default_rng([self.seed, 1])
        contexts = [sample_context(rng) for _ in range(self.count)]
        prompts = [caption(sample_person(HELD_OUT + i), context) for i, context in enumerate(contexts)]
        pictures = self._pictures([self._job(prompt, i) for i, prompt in enumerate(prompts)], None, "text")
        seen = self.models.probes.predict(pictures)
        figures: dict[str, Any] = {
            "definition": "pictures of `none` from canonical captions of held-out people and contexts; "
            "share whose probe names the captioned value, over the captions that mention the factor"
        }
        for factor, values in FACTORS.items():
            said = np.array([getattr(c, factor) != UNSAID.get(factor) for c in contexts])
            wanted = np.array([values.index(getattr(c, factor)) for c in contexts])
            figures[factor] = share((seen[factor] == wanted)[said])
        return figures

    def realism(self) -> dict[str, Any]:
        """How far pictures of `none` are from renders, and whether faces are drawn too hard."""
        from benchmarks.metrics.models.clip import OpenClip
        from scripts.pocket.realism import clipped, features, frechet

        rng = np.random.default_rng([self.seed, 5])
        contexts = [sample_context(rng) for _ in range(self.count)]
        people, strangers = (
            [sample_person(HELD_OUT + first + i) for i in range(self.count)] for first in (800_000, 850_000)
        )
        renders, others = (
            np.stack([render(*one).pixels for one in zip(who, contexts, strict=True)])
            for who in (people, strangers)
        )
        said = [caption(*one) for one in zip(people, contexts, strict=True)]
        pictures = self._pictures([self._job(prompt, i) for i, prompt in enumerate(said)], None, "realism")
        clip = OpenClip(str(self.models.folder / "clip"), "cpu")
        shown = features(clip, renders)
        scorer = self.models.scorer
        return {
            "definition": f"{self.count} pictures of `none` from canonical captions, and their renders; "
            "fid: Frechet distance of CLIP features, between renders of other people beside it; clipped: "
            "share of the pixels of faces with a channel at 0 or 255",
            "fid": frechet(features(clip, pictures), shown),
            "fid_of_renders": frechet(features(clip, others), shown),
            "clipped": clipped(scorer, pictures),
            "clipped_in_renders": clipped(scorer, renders),
        }

    def celebrity(self) -> dict[str, Any]:
        """Top-1 identification of generated named people among all whom the text encoder knows."""
        rng = np.random.default_rng([self.seed, 2])
        known = known_names(self.models.folder / "sd" / "tokenizer")
        names = list(known)
        gallery = []
        for person in known.values():
            renders = [render(person, sample_context(rng, style="photo")) for _ in range(12)]
            mean = np.mean([unit(self.models.scorer.embed(p.pixels, p.landmarks)) for p in renders], axis=0)
            gallery.append(unit(mean))
        each = max(1, round(self.count / 2 / len(names)))
        jobs: list[Job] = []
        truth: list[int] = []
        for number, (name, person) in enumerate(known.items()):
            for _ in range(each):
                prompt = caption(person, sample_context(rng, style="photo"), name=name)
                jobs.append(self._job(prompt, len(jobs)))
                truth.append(number)
        pictures = self._pictures(jobs, None, "celebrity")
        found = [self._score(picture) for picture in pictures]
        ranks = [-1 if e is None else int(np.argmax(np.stack(gallery) @ e)) for e in found]
        return {
            "definition": f"`none` on 'a photo of NAME ...', held-out contexts; the nearest of {len(names)} "
            "gallery means (12 renders each, scoring recogniser) is the named one; undetected is wrong",
            "top1": share(np.array(ranks) == np.array(truth)),
            "undetected": ranks.count(-1),
        }

    def faces(self) -> dict[str, Any]:
        """Detection, landmarks and verification of the face packs on rendered photos of held-out people."""
        from scripts.pocket.face_figures import pack_figures, verification

        people = max(20, round(300 * min(1.0, self.count / 512)))
        figures = pack_figures(self.models.folder / "face", people=people)
        every_style = pack_figures(self.models.folder / "face", people=people // 4, style=None)
        pairs = figures["verification"]
        scoring = verification(self.models.folder / "face-scoring" / "rec.onnx", people=people)
        return {
            "definition": f"{people} held-out people x 8 photos, scene, pose, light, expression, accessory "
            "at random, through insightface; landmark error by inter-ocular distance; TAR at FAR 1e-3",
            "recall": {"value": figures["recall"], "n": figures["pictures"]},
            "landmark_error": {"value": figures["landmark_error"], "p95": figures["landmark_error_p95"]},
            "tar": {"value": pairs["tar_at_far_1e-3"], **pairs},
            "scoring_tar": {"value": scoring["tar_at_far_1e-3"], **scoring},
            "false_per_picture": figures["false_per_picture"],
            "every_style": every_style,
        }

    def clip(self) -> dict[str, Any]:
        """Retrieval by the dual encoder among 100 held-out pairs with distinct captions."""
        from scripts.pocket.dual_encoder import retrieval

        figures = retrieval(self.models.folder / "clip")
        return {
            "definition": "R@1 among 100 held-out pairs with distinct canonical captions, mean of 10 draws",
            "caption_to_picture": {"value": figures["caption_to_picture_r@1"]},
            "picture_to_caption": {"value": figures["picture_to_caption_r@1"]},
            "worst_draw": figures["caption_to_picture_r@1_worst_draw"],
        }

    def uniform(self) -> dict[str, Any]:
        """Where `uniform` at id-weight 1 puts identity between impostor (0) and genuine (1) renders."""
        return self._position("uniform")

    def pulid(self) -> dict[str, Any]:
        """The same of `pulid` on the twin."""
        return self._twin._position("pulid")

    def twin_text(self) -> dict[str, Any]:
        """The part `text` of the twin."""
        return self._twin.text()

    @cached_property
    def _twin(self) -> Instrument:
        """The instrument around the FLUX-shaped twin."""
        return replace(self, models=replace(self.models, family="pocket-flux"))

    def _position(self, name: str) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, 3])
        method = get_method(name).load(self.models.folder / name, self.models.backbone)
        plain = Context(
            "studio", "t-shirt", "blue", "neutral", "none", "none", "front", "daylight", "portrait", "photo"
        )
        people = max(8, self.count // 8)
        jobs: list[Job] = []
        references: list[NDArray[np.float32]] = []
        same: list[float] = []
        other: list[float] = []
        for number in range(people):
            person, stranger = sample_person(HELD_OUT + number), sample_person(HELD_OUT + 500_000 + number)
            portrait = render(person, replace(plain, nuisance=int(rng.integers(2**31))))
            reference = unit(self.models.scorer.embed(portrait.pixels, portrait.landmarks))
            identity = self._identity(f"person {number}", portrait.pixels)
            for _ in range(4):
                context = sample_context(rng, style="photo")
                jobs.append(replace(self._job(caption(person, context), len(jobs)), identity=identity))
                references.append(reference)
                for who, similarities in ((person, same), (stranger, other)):
                    twin = render(who, context)
                    similarities.append(
                        float(reference @ unit(self.models.scorer.embed(twin.pixels, twin.landmarks)))
                    )
        genuine, impostor = (np.array(values).reshape(people, 4) for values in (same, other))
        figures: dict[str, Any] = {
            "definition": f"{people} held-out people x 4 photo captions; mean scoring similarity to a plain "
            "reference render: (generated - impostor) / (genuine - impostor), with renders of the person and "
            "of a stranger in the captioned context; an undetected face counts as impostor",
            "genuine_mean": round(float(genuine.mean()), 4),
            "impostor_mean": round(float(impostor.mean()), 4),
        }
        for figure, way in (("position", method), ("position_of_none", None)):
            found = [self._score(picture) for picture in self._pictures(jobs, way, name)]
            pairs = zip(references, found, strict=True)
            generated = np.array([np.nan if e is None else float(r @ e) for r, e in pairs])
            lost = np.isnan(generated)
            generated = np.where(lost, impostor.mean(), generated).reshape(people, 4)
            below = impostor.mean(axis=1)  # people, not pictures, are drawn
            figures[figure] = {
                **ratio_interval(generated.mean(axis=1) - below, genuine.mean(axis=1) - below),
                "n": len(jobs),
                "mean_similarity": round(float(generated.mean()), 4),
                "undetected": int(lost.sum()),
            }
        return figures

    def probes(self) -> dict[str, Any]:
        """Accuracy of every probe on held-out renders of every style."""
        from scripts.pocket.probes import accuracies

        n = max(200, 4 * self.count)
        found = accuracies(self.models.probes, n)
        definition = {"definition": f"share of {n} held-out renders that the probe names rightly"}
        return definition | {name: {"value": value, "n": n} for name, value in found.items()}

    def quality(self) -> dict[str, Any]:
        """How the quality model ranks damaged renders of held-out people."""
        from scripts.pocket.quality_model import figures, load_quality_model

        n = max(100, self.count)
        found = figures(load_quality_model(self.models.folder / "quality"), n)
        return {
            "definition": f"{n} held-out renders with none, one or two kinds of damage of any strength; the "
            "model's estimate against the SSIM to the intact render: Spearman, Pearson, mean absolute error",
            **{name: {"value": value, "n": n} for name, value in found.items()},
        }

    def _job(self, prompt: str, number: int) -> Job:
        width, height = self.models.backbone.default_size
        guidance = self.models.backbone.defaults.guidance
        seed = 1_000_000 * (self.seed + 1) + number
        return Job(prompt=prompt, width=width, height=height, guidance=guidance, seed=seed, steps=self.steps)

    def _pictures(self, jobs: Sequence[Job], method: Method | None, part: str) -> NDArray[np.uint8]:
        """uint8 [N,H,W,3]; a picture that did not come out is black."""
        width, height = self.models.backbone.default_size
        pictures = np.zeros((len(jobs), height, width, 3), np.uint8)
        for done, (place, result) in enumerate(
            iterate_samples(self.models.backbone, jobs, method, batch_size=self.batch_size), start=1
        ):
            if result.picture is not None:
                pictures[place] = np.asarray(result.picture)
            if done % 64 == 0 or done == len(jobs):
                self.report(f"{part}: {done} of {len(jobs)} pictures")
        return pictures

    def _score(self, picture: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Scoring embedding of the best detected face, L2-normalised; None without one."""
        found = self.models.scorer.detect(picture)
        return unit(self.models.scorer.embed(picture, found[0].landmarks)) if found else None

    def _identity(self, name: str, picture: NDArray[np.uint8]) -> Identity:
        import torch

        encoder, image = self.models.conditioner, Image.fromarray(picture)
        try:
            face = analyse(image, encoder, cache=False, check_domain=False)
        except FaceError as error:
            raise UsageError(
                f"The face pack finds no face in the reference render of {name}.",
                hint="Train the detector further, or give other --weights.",
            ) from error
        return Identity(name, torch.from_numpy(face.embedding), face=face, encoder=encoder, image=image)


PARTS = (
    "text", "looks", "celebrity", "realism", "faces", "clip", "uniform", "probes", "quality", "autoencoder",
)  # fmt: skip
TWIN = ("twin_text", "pulid")
"""Parts of the FLUX-shaped twin."""


def known_names(tokenizer: Path) -> dict[str, Person]:
    """The named people whose names the tokenizer in this folder knows as words."""
    from transformers import CLIPTokenizer

    read = CLIPTokenizer.from_pretrained(tokenizer)
    lengths = [len(ids) for ids in read(list(NAMED), add_special_tokens=False).input_ids]
    pairs = zip(NAMED.items(), lengths, strict=True)
    return {name: person for (name, person), length in pairs if length == len(name.split())}


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised, float32."""
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def measure(
    parts: Sequence[str] = PARTS,
    *,
    weights: Path | None = None,
    count: int = 512,
    seed: int = 0,
    steps: int = 25,
    batch_size: int = 32,
    report: Callable[[str], object] = lambda line: None,
    vae: Path | None = None,
) -> dict[str, Any]:
    """Measure parts of the pocket models.

    Returns a JSON-able dict: one entry per part, `targets` with the verdict on every figure that has one,
    and `settings`. Raises UsageError for an unknown part, WeightsError for missing weights.
    """
    unknown = [part for part in parts if part not in (*PARTS, *TWIN)]
    if unknown:
        raise UsageError(f"There is no part {unknown[0]!r}.", hint=f"Parts: {', '.join((*PARTS, *TWIN))}.")
    if count < 1:
        raise UsageError(f"count is {count}.", hint="Give at least 1.")
    models = PocketModels() if weights is None else PocketModels(weights)
    instrument = Instrument(models, count, seed, steps, batch_size, report, vae)
    figures: dict[str, Any] = {}
    for part in parts:
        report(f"measuring {part}")
        figures[part] = getattr(instrument, part)()
    settings = {"count": count, "seed": seed, "steps": steps, "batch_size": batch_size}
    return {**figures, "targets": verdicts(figures), "settings": settings}
