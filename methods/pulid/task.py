"""What `pulid` learns: encoder and attentions, on a frozen transformer.

    L = E || y - v(z_t, t, text, z) ||^2,    z = IDFormer(face)

with y the backbone's own prediction target. PuLID's own training adds two losses over a four-step "lightning"
branch and public files come from it; this is its diffusion term, enough for an adapter of a miniature FLUX: a
reconstruction. For a loss on who is seen, a reader of faces (`methods.learning.likeness`) may look at the
denoised estimate of the same step. Half of the faces are of the target's own picture, half of another one of
the person; face, text or both are dropped in 5 % each, the face as all-zero inputs (the unconditional
identity).
"""

from __future__ import annotations

from collections.abc import Mapping
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
from methods.learning.likeness import face_grid, face_loss, with_face
from methods.learning.task import (
    Batch,
    Example,
    Stage,
    TrainingTask,
    check_embedding,
    without_words,
)
from methods.pulid.adapter import PulidAdapter, injection_sites
from methods.pulid.attention import TokenReading
from methods.pulid.config import TaskConfig
from methods.pulid.folder import Looks, facts_of
from methods.pulid.identity import FaceReader
from methods.pulid.info import INFO
from methods.pulid.sizes import Sizes
from methods.pulid.tower import ImageTower, load_tower

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.learning.draws import SampleRng


def new_adapter(backbone: Backbone, config: TaskConfig, tower: ImageTower) -> PulidAdapter:
    """An adapter to start from, float32; what it adds at first is small."""
    sites = backbone.denoiser.sites
    places = injection_sites(sites, config.double_interval, config.single_interval)
    if not places:
        raise UsageError(f"{backbone.name} has no blocks that PuLID can follow.", hint="It runs on FLUX.")
    shapes, vector = tower.shapes
    sizes = Sizes(
        width=config.width,
        inner=config.width,
        heads=config.heads,
        ff=config.ff,
        queries=config.queries,
        output=config.output,
        id_dim=config.embedding_dim + vector,
        id_tokens=config.id_tokens,
        scales=tuple(width for _, width in shapes),
        depth=config.depth * len(shapes),
        attentions=len(places),
        hidden=places[0].width,
        ca_inner=config.ca_width,
        ca_heads=config.ca_heads,
    )
    with seeded(config.seed):
        adapter = PulidAdapter(sizes, sites, (config.double_interval, config.single_interval))
    with torch.no_grad():
        for number in range(len(places)):
            adapter.attention(number).to_out.weight *= 0.1
    return adapter.float()


class PulidTask(TrainingTask):
    """Denoising with the identity read at full weight."""

    module: PulidAdapter
    hooks: TokenReading
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        self._perceptual = face_loss(config.face_reader, backbone)
        tower = load_tower(config.clip, backbone.device, config.layers)
        self.reader = FaceReader(tower, grey=config.grey)
        self.module = new_adapter(backbone, config, tower).to(backbone.device)
        self.stages = (Stage("train", config.steps),)
        self.same_share = config.same_share
        self.hooks = TokenReading(self.module)

    def features_key(self) -> Mapping[str, Any]:
        tower = self.reader.tower
        seen = {"tower": tower.encoder.fingerprint, "layers": list(tower.layers), "grey": self.config.grey}
        return {**seen, "version": "2"}

    def features(self, example: Example) -> dict[str, Tensor]:
        """latents float32 [C, h, w], embedding float32 [D + E], states_i float16 [T_i, V_i], and where the
        face lies, float32 [G, G, 2]."""
        check_embedding(example, self.config.embedding_dim)
        embedding, states = self.reader.look(np.asarray(example.picture.convert("RGB")), example.face)
        return {
            "latents": encode_picture(self.backbone, example.picture),
            "embedding": embedding,
            "grid": face_grid(example.face, example.picture.width),
            **{f"states_{depth}": one.half() for depth, one in enumerate(states)},
        }

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        faceless, wordless = rng.drops(self.config.drop)
        shown = (~faceless).float().view(-1, 1, 1)
        depths = range(len(self.module.sizes.scales))
        tokens = self.module.tokens(
            batch.reference["embedding"][:, None] * shown,
            [batch.reference[f"states_{depth}"].float() * shown for depth in depths],
        )
        self.hooks.keys, self.hooks.values = self.module.keys_values(tokens)
        text = self.backbone.text.encode_batch(without_words(batch.prompts, wordless))
        clean, grid = batch.target["latents"], batch.target["grid"]
        noised = rng.noised(self.backbone.noise, clean)
        predicted = self.predict(noised.latents.to(self.backbone.dtype), noised.time, text).float()
        terms = {"loss": F.mse_loss(predicted, noised.target)}
        return with_face(terms, self._perceptual, self.config.likeness, predicted, noised, clean, grid)

    def export(self, folder: Path) -> None:
        tower = self.reader.tower
        looks = Looks(self.config.clip, tower.encoder.fingerprint, tower.layers, self.config.grey)
        facts = facts_of(self.module, looks)
        export_adapter(
            folder, self.module, method=INFO.name, backbone=self.backbone, config=self.config, facts=facts
        )
