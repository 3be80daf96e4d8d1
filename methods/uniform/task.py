"""What `uniform` learns: the identity tokens' projection and their keys and values, on a frozen network.

    L = E || y - U(z_t, t, text, Z) ||^2,    Z = LayerNorm(MLP(e))

with y the backbone's own prediction target. The recipe of public FaceID adapters: the embedding e comes
from the target's own picture in half of the pairs and from another picture of the person in the other half;
embedding, text or both are dropped in 5 % each (IP-Adapter, arXiv 2308.06721, section 4.1.2). On pocket, a
reader of faces (`methods.training.likeness`) may add a loss on who is seen, as PuLID's does elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbone.device import seeded
from methods.backbone.vae import encode_picture
from methods.errors import UsageError
from methods.training.likeness import face_grid, face_loss, with_face
from methods.training.preview import sample_sheet
from methods.training.task import Batch, Example, Stage, TrainingTask
from methods.uniform.adapter import UniformAdapter, save_adapter
from methods.uniform.config import TaskConfig
from methods.uniform.method import Uniform
from methods.uniform.training import identity_attention

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.training.draws import SampleRng
    from methods.uniform.training import Denoise


class UniformTask(TrainingTask):
    """Denoising with the identity injected at full weight."""

    module: UniformAdapter
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        self._perceptual = face_loss(config.face_reader, backbone)
        self.module = _start(backbone, config).float().to(backbone.device)
        self.stages = (Stage("train", config.steps),)
        self.same_share = config.same_share
        self._denoise: Denoise

    def features_key(self) -> dict[str, str]:
        return {"version": "2"}

    def features(self, example: Example) -> dict[str, Tensor]:
        """latents float32 [C, h, w], embedding float32 [D], and where the face lies, float32 [G, G, 2]."""
        found, wanted = len(example.face.embedding), self.config.embedding_dim
        if found != wanted:
            raise UsageError(
                f"the face encoder gives embeddings of length {found}, not {wanted}.",
                hint="Correct options.embedding_dim.",
            )
        return {
            "latents": encode_picture(self.backbone, example.picture),
            "embedding": torch.from_numpy(example.face.embedding),
            "grid": face_grid(example.face, example.picture.width),
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        with identity_attention(self.backbone.denoiser, self.module) as self._denoise:
            yield

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        faceless, wordless = rng.drops(self.config.drop)
        embedding = batch.reference["embedding"] * ~faceless[:, None]
        prompts = ["" if empty else text for empty, text in zip(wordless, batch.prompts, strict=True)]

        text = self.backbone.text.encode_batch(prompts)
        clean, grid = batch.target["latents"], batch.target["grid"]
        noised = rng.noised(self.backbone.noise, clean)
        noisy = noised.latents.to(self.backbone.dtype)
        predicted = self._denoise(noisy, noised.time, text, embedding).float()
        terms = {"loss": F.mse_loss(predicted, noised.target)}
        return with_face(terms, self._perceptual, self.config.likeness, predicted, noised, clean, grid)

    def preview(self, folder: Path, step: int) -> None:
        sample_sheet(self.backbone, self._method(), self.shown, folder / f"step_{step:06d}.png")

    def export(self, folder: Path) -> None:
        save_adapter(
            folder,
            self.module,
            family=self.backbone.family,
            dtype=torch.float16,
            config=asdict(self.config),
        )

    def _method(self) -> Uniform:
        return Uniform.from_state(self.module.state_dict(), self.backbone)


def _start(backbone: Backbone, config: TaskConfig) -> UniformAdapter:
    """The adapter to train: `initial`'s, or a fresh one."""
    if config.initial is not None:
        return Uniform.load(config.initial, backbone).adapter.requires_grad_(True)
    with seeded(config.seed):
        return UniformAdapter.from_backbone(
            backbone.denoiser, tokens=config.tokens, embedding_dim=config.embedding_dim
        )
