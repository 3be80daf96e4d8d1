"""What `uniform` learns: the identity tokens' projection and their keys and values, on a frozen network.

    L = E || y - U(z_t, t, text, Z) ||^2,    Z = LayerNorm(MLP(e))

with y the backbone's own prediction target. The recipe of public FaceID adapters: the embedding e comes
from the target's own picture in half of the pairs and from another picture of the person in the other half;
embedding, text or both are dropped in 5 % each (IP-Adapter, arXiv 2308.06721, section 4.1.2). On pocket, a
reader of faces (`methods.learning.likeness`) may add a loss on who is seen, as PuLID's does elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.adapters import export_adapter
from methods.backbone.device import seeded
from methods.backbone.vae import encode_picture
from methods.learning.likeness import face_grid, face_loss, with_face
from methods.learning.task import (
    Batch,
    Example,
    Stage,
    TrainingTask,
    check_embedding,
    without_words,
)
from methods.site_adapter import TrainingAttention
from methods.uniform.adapter import UniformAdapter, facts_of, load_adapter
from methods.uniform.config import TaskConfig
from methods.uniform.info import INFO

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.learning.draws import SampleRng


class UniformTask(TrainingTask):
    """Denoising with the identity injected at full weight."""

    module: UniformAdapter
    hooks: TrainingAttention[UniformAdapter]
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        self._perceptual = face_loss(config.face_reader, backbone)
        self.module = _start(backbone, config).float().to(backbone.device)
        self.stages = (Stage("train", config.steps),)
        self.same_share = config.same_share
        self.hooks = TrainingAttention(self.module)

    def features_key(self) -> dict[str, str]:
        return {"version": "2"}

    def features(self, example: Example) -> dict[str, Tensor]:
        """latents float32 [C, h, w], embedding float32 [D], and where the face lies, float32 [G, G, 2]."""
        check_embedding(example, self.config.embedding_dim)
        return {
            "latents": encode_picture(self.backbone, example.picture),
            "embedding": torch.from_numpy(example.face.embedding),
            "grid": face_grid(example.face, example.picture.width),
        }

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        faceless, wordless = rng.drops(self.config.drop)
        embedding = batch.reference["embedding"] * ~faceless[:, None]
        text = self.backbone.text.encode_batch(without_words(batch.prompts, wordless))
        clean, grid = batch.target["latents"], batch.target["grid"]
        noised = rng.noised(self.backbone.noise, clean)
        self.hooks.tokens = self.module.tokens(embedding)
        predicted = self.predict(noised.latents.to(self.backbone.dtype), noised.time, text).float()
        terms = {"loss": F.mse_loss(predicted, noised.target)}
        return with_face(terms, self._perceptual, self.config.likeness, predicted, noised, clean, grid)

    def export(self, folder: Path) -> None:
        facts = facts_of(self.module)
        export_adapter(
            folder, self.module, method=INFO.name, backbone=self.backbone, config=self.config, facts=facts
        )


def _start(backbone: Backbone, config: TaskConfig) -> UniformAdapter:
    """The adapter to train: `initial`'s, or a fresh one."""
    if config.initial is not None:
        return load_adapter(config.initial, backbone)[0].requires_grad_(True)
    with seeded(config.seed):
        return UniformAdapter.from_backbone(
            backbone.denoiser, tokens=config.tokens, embedding_dim=config.embedding_dim
        )
