"""Identity-enhanced training: what the mappers and the image attention learn, on a frozen network.

    L = E || y - U(z_t, t, c_id) ||^2,    every cross-attention h = Attn(Q, c_id W_k', c_id W_v')

with y the backbone's own prediction target. The text attention is switched off and there is no prompt, so
that all the picture says of the person has to come from c_id; the reference is another photo of the person
than the target (arXiv 2403.11781, by readers' notes). Reconstruction: c_id is dropped (zeros) in some
samples, so that unconditional rows have an unknown identity to see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.adapters import export_adapter
from methods.backbone.device import seeded
from methods.backbone.vae import encode_picture
from methods.errors import UsageError
from methods.faces import align
from methods.hooks import Conditioning
from methods.infinite_id.adapter import Eyes, InfiniteAdapter, facts_of, load_adapter
from methods.infinite_id.clip import POCKET, StatesEncoder, load_states_encoder
from methods.infinite_id.config import TaskConfig
from methods.infinite_id.info import INFO
from methods.learning.likeness import face_grid, face_loss, with_face
from methods.learning.task import Batch, Example, Stage, TrainingTask, check_embedding
from methods.shipped import is_pocket
from methods.site_adapter import TrainingAttention

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.learning.draws import SampleRng


class InfiniteTask(TrainingTask):
    """Denoising by the identity alone."""

    module: InfiniteAdapter
    hooks: TrainingAttention[InfiniteAdapter]
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        if config.clip is None and not is_pocket(backbone.family):
            raise UsageError(
                f"Infinite-ID needs a CLIP image encoder for {backbone.family} backbones.",
                hint="Give options.clip, a folder or ViT-H-14:FILE (the paper's).",
            )
        self._perceptual = face_loss(config.face_reader, backbone)
        adapter, self._clip = _start(backbone, config)
        self.module = adapter.float().to(backbone.device)
        self.stages = (Stage("train", config.steps),)
        self.same_share = config.same_share
        self.hooks = TrainingAttention(self.module, reads_text=not config.identity_enhanced)

    def method_options(self) -> Mapping[str, Any]:
        return {} if self.config.clip is None else {"clip": self.config.clip}

    def features_key(self) -> dict[str, str]:
        return {"clip": self._clip.fingerprint, "version": "2"}

    def features(self, example: Example) -> dict[str, Tensor]:
        """latents float32 [C, h, w], embedding float32 [D], states float16 [T, S] of the aligned face, the
        share of the face in every latent cell, float32 [h, w], and where it lies, float32 [G, G, 2]."""
        face = example.face
        check_embedding(example, self.module.embedding_dim)
        upright = align(np.asarray(example.picture), face.landmarks, self._clip.size)
        latents = encode_picture(self.backbone, example.picture)
        mask = torch.from_numpy(example.mask)[None].float()
        return {
            "latents": latents,
            "face": F.adaptive_avg_pool2d(mask, (latents.shape[1], latents.shape[2]))[0],
            "grid": face_grid(face, example.picture.width),
            "embedding": torch.from_numpy(face.embedding),
            "states": self._clip.states(upright).half(),
        }

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        known = (rng.uniform() >= self.config.drop)[:, None]
        states = batch.reference["states"].float() * known[:, :, None]
        self.hooks.tokens = self.module.tokens(states, batch.reference["embedding"] * known)

        noised = rng.noised(self.backbone.noise, batch.target["latents"])
        noisy = noised.latents.to(self.backbone.dtype)
        predicted = self.predict(noisy, noised.time, self._text(batch.prompts))
        error = (predicted.float() - noised.target).square().mean(dim=1)  # [B, h, w]
        weight = 1 + self.config.face_weight * batch.target["face"]
        weighted = (error * weight).mean(dim=(1, 2)) / weight.mean(dim=(1, 2))
        terms = {"loss": weighted.mean(), "mse": error.mean()}
        clean, grid = batch.target["latents"], batch.target["grid"]
        return with_face(
            terms, self._perceptual, self.config.likeness, predicted.float(), noised, clean, grid
        )

    def export(self, folder: Path) -> None:
        facts = facts_of(self.module, Eyes(self._clip.name, self._clip.fingerprint))
        export_adapter(
            folder, self.module, method=INFO.name, backbone=self.backbone, config=self.config, facts=facts
        )

    def _text(self, prompts: Sequence[str]) -> Conditioning:
        """Features of the prompts; of the empty prompt, which nobody reads, where the text is off."""
        if not self.config.identity_enhanced:
            return self.backbone.text.encode_batch(prompts)
        hidden, pooled, _ = self.backbone.text.encode_negative("")
        rows = hidden.expand(len(prompts), -1, -1)
        return Conditioning(rows, rows, None if pooled is None else pooled.expand(len(prompts), -1))


def _start(backbone: Backbone, config: TaskConfig) -> tuple[InfiniteAdapter, StatesEncoder]:
    """The adapter to train, a fresh one or `initial`'s, and the encoder whose states it reads."""
    if config.initial is not None:
        adapter, eyes, _ = load_adapter(config.initial, backbone)
        return adapter.requires_grad_(True), eyes.encoder(adapter, backbone.device, config.clip)
    clip = load_states_encoder(config.clip or POCKET, backbone.device)
    with seeded(config.seed):
        adapter = InfiniteAdapter.from_backbone(
            backbone.denoiser,
            states=clip.shape,
            embedding_dim=config.embedding_dim,
            face_tokens=config.face_tokens,
        )
    return adapter, clip
