"""Identity-tailored training in two stages; only tokens and blocks learn. A *reconstruction*.

    1 aligned   L = E || y - U(z_t, t, template, f) ||^2                aligned heads, template prompts
    2 wild      L = E [ (M + b (1 - M)) || y - y_w ||^2 ]               whole pictures, their own prompts
                  + l_loc mean_sites (1 - M) || block output ||^2       identity stays out of the background
                  + l_pre || (1 - M) (y_w - y_0) ||^2                   the background stays the backbone's
                  + l_face d(z_0, z_0^w)                                pocket, with a face reader: the person

with y the backbone's own prediction target, y_w its prediction with the identity, y_0 without (no gradient),
M the soft mask of the head. PIDiff's abstract names an identity-tailored fine-tuning against the
entanglement of identity and background that pictures in the wild teach; the two stages follow w-plus-
adapter's train_face and train_wild (drops, optimizer, W_q', W_k', W_v' from the U-Net's own), the weighting
and the localisation loss are ours. The mask is the ellipse in which the codes see the head, hair included:
with the skin of the face alone the preservation loss keeps everybody's hair the backbone's. w-plus-adapter
freezes the projection in its second stage, we train it on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from methods.adapters import export_adapter
from methods.backbone.device import seeded
from methods.backbone.vae import encode_picture
from methods.learning.likeness import face_grid, face_loss, with_face
from methods.learning.task import Batch, Example, Stage, TrainingTask, without_words
from methods.pidiff.adapter import StyleAdapter
from methods.pidiff.attention import Denoise, style_attention
from methods.pidiff.config import TaskConfig
from methods.pidiff.folder import facts_of, load_adapter
from methods.pidiff.info import INFO
from methods.pidiff.stylespace.align import aligned_head, head_region
from methods.pidiff.stylespace.load import load_style_space

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.learning.draws import SampleRng
    from methods.pidiff.stylespace.load import StyleSpace

TEMPLATES = (
    "a photo of a person",
    "a close-up photo of a person",
    "a portrait photo of a person",
    "a headshot of a person",
    "a close-up of the face of a person",
    "a picture of a person",
)
"""Prompts of aligned heads; w-plus-adapter has 13 of the kind, ours use words that all backbones know."""

ALIGNED, WILD = "aligned", "wild"


class PIDiffTask(TrainingTask):
    """Denoising with the identity at full weight, first in aligned heads, then in whole pictures."""

    module: StyleAdapter
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        self.space, adapter = _start(backbone, config)
        self._perceptual = face_loss(config.face_reader, backbone)
        self.module = adapter.float().to(backbone.device)
        steps = {ALIGNED: config.aligned_steps, WILD: config.wild_steps}
        self.stages = tuple(Stage(name, count) for name, count in steps.items() if count)
        self.same_share = config.same_share
        self.rates = {"gate": config.gate_rate}
        self._stage = self.stages[0].name
        self._denoise: Denoise

    def method_options(self) -> Mapping[str, Any]:
        encoder = self.config.style_encoder
        return {} if encoder is None else {"style_encoder": encoder}

    def features_key(self) -> Mapping[str, Any]:
        return {"style_space": self.space.fingerprint, "version": 4}

    def features(self, example: Example) -> dict[str, Tensor]:
        """Latents [C, h, w] of picture and aligned head, centred codes [rows, dim], mask [1, h, w], and
        where the face lies, [G, G, 2]."""
        rgb, landmarks = np.asarray(example.picture.convert("RGB")), example.face.landmarks
        head = aligned_head(rgb, landmarks, example.picture.width, surround="keep")
        latents = encode_picture(self.backbone, example.picture)
        return {
            "latents": latents,
            "aligned": encode_picture(self.backbone, Image.fromarray(head)),
            "codes": self.space.encode_picture(example.picture, landmarks) - self.space.average,
            "grid": face_grid(example.face, example.picture.width),
            "mask": soft_mask(head_region(landmarks, *rgb.shape[:2]), (latents.shape[-2], latents.shape[-1])),
        }

    def begin(self, stage: Stage) -> None:
        self._stage = stage.name

    @contextmanager
    def attached(self) -> Iterator[None]:
        with style_attention(self.backbone.denoiser, self.module) as self._denoise:
            yield

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        aligned = self._stage == ALIGNED
        faceless, wordless = rng.drops(self.config.drop)
        codes = batch.reference["codes"] * ~faceless[:, None, None]
        prompts = batch.prompts
        if aligned:
            prompts = [TEMPLATES[place] for place in rng.integers(len(TEMPLATES)).tolist()]
        text = self.backbone.text.encode_batch(without_words(prompts, wordless))
        clean = batch.target["aligned" if aligned else "latents"]
        noised = rng.noised(self.backbone.noise, clean)
        noisy = noised.latents.to(self.backbone.dtype)

        def predict(codes: Tensor | None, outside: Tensor | None = None) -> Tensor:
            return self._denoise(noisy, noised.time, text, codes, outside=outside).float()

        if aligned:
            return {"loss": F.mse_loss(predict(codes), noised.target)}
        mask = batch.target["mask"]
        with torch.no_grad():
            plain = predict(None)
        predicted = predict(codes, outside=1 - mask)
        leak = self._denoise.leak()
        terms = wild_losses(predicted, plain, noised.target, mask, leak, self.config)
        grid = batch.target["grid"]
        return with_face(terms, self._perceptual, self.config.likeness, predicted, noised, clean, grid)

    def export(self, folder: Path) -> None:
        facts = facts_of(self.space, folder)
        export_adapter(
            folder, self.module, method=INFO.name, backbone=self.backbone, config=self.config, facts=facts
        )


def _start(backbone: Backbone, config: TaskConfig) -> tuple[StyleSpace, StyleAdapter]:
    """The style space and the adapter to train: a fresh one, or `initial`'s."""
    if config.initial is not None:
        adapter, space, _ = load_adapter(config.initial, backbone, config.style_encoder)
        return space, adapter.requires_grad_(True)
    space = load_style_space(config.style_encoder)
    with seeded(config.seed):
        shape = space.shape
        return space, StyleAdapter.from_backbone(backbone.denoiser, rows=shape.rows, dim=shape.dim)


def wild_losses(
    predicted: Tensor, plain: Tensor, target: Tensor, mask: Tensor, leak: Tensor, config: TaskConfig
) -> dict[str, Tensor]:
    """The second stage's terms, scalars. y_w, y_0 and y [B, C, h, w], M [B, 1, h, w] in [0, 1]."""
    weight = mask + config.background * (1 - mask)
    reconstruction = (weight * (predicted - target).square()).mean()
    preservation = ((1 - mask) * (predicted - plain)).square().mean()
    loss = reconstruction + config.localisation * leak + config.preservation * preservation
    return {"loss": loss, "reconstruction": reconstruction, "leak": leak, "preservation": preservation}


def soft_mask(mask: np.ndarray, grid: tuple[int, int]) -> Tensor:
    """The share of head in every latent cell, blurred by one cell: [H, W] in [0, 1] -> float32 [1, h, w]."""
    share = F.adaptive_avg_pool2d(torch.from_numpy(mask).float()[None, None], grid)
    return F.avg_pool2d(F.pad(share, (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0]
