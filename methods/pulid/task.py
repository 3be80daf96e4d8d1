"""What `pulid` learns: encoder and attentions, on a frozen transformer.

    L = E || y - v(z_t, t, text, z) ||^2,    z = IDFormer(face)

with y the backbone's own prediction target. PuLID's own training adds two losses over a four-step "lightning"
branch and public files come from it; this is its diffusion term alone, enough for an adapter of a miniature
FLUX: a reconstruction. Half of the faces are of the target's own picture, half of another one of the person;
face, text or both are dropped in 5 % each, the face as all-zero inputs (the unconditional identity).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbone.device import seeded
from methods.backbone.vae import encode_picture
from methods.errors import UsageError
from methods.pulid.adapter import PulidAdapter, injection_sites
from methods.pulid.attention import TokenReading
from methods.pulid.folder import Looks, save_adapter
from methods.pulid.identity import FaceReader
from methods.pulid.sizes import Sizes
from methods.pulid.tower import ImageTower, load_tower
from methods.training.task import Batch, Example, Stage, TrainingTask

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.backbone.denoiser import Predict
    from methods.training.draws import SampleRng


@dataclass(frozen=True)
class TaskConfig:
    """Options of the training. Sizes are a miniature's; the public files' stand in `Sizes`.

    steps:         optimizer steps
    clip:          image tower, as in the method's options; `layers` its depths, None for its usual ones
    grey:          show the tower the person in grey, as published; a world whose people differ in colour
                   needs False
    embedding_dim: of the face encoder
    width, ff:     of the encoder's tokens and feed-forward layers; `heads` of its attention
    depth:         layers of the encoder for each depth of the tower
    id_tokens:     tokens that the face becomes before the encoder looks; `queries` that come out of it,
                   `output` wide
    ca_width:      of the attentions at the blocks, `ca_heads` heads
    double_interval, single_interval: every n-th double and every m-th single block has an attention
    drop:          how often face alone, text alone, and both are dropped: each this share
    same_share:    how often the face comes from the target's own picture
    seed:          of the initial weights
    """

    steps: int = 6000
    clip: str = "pocket"
    layers: tuple[int, ...] | None = None
    grey: bool = False
    embedding_dim: int = 512
    width: int = 256
    ff: int = 512
    heads: int = 8
    depth: int = 2
    id_tokens: int = 5
    queries: int = 32
    output: int = 256
    ca_width: int = 256
    ca_heads: int = 8
    double_interval: int = 2
    single_interval: int = 4
    drop: float = 0.05
    same_share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.embedding_dim, self.double_interval, self.single_interval, self.depth) < 1:
            raise ValueError("steps, embedding_dim, depth and intervals are at least 1")
        if not 0 <= self.drop <= 1 / 3:
            raise ValueError("drop lies in [0, 1/3]")
        if not 0 <= self.same_share <= 1:
            raise ValueError("same_share lies in [0, 1]")


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
    config: TaskConfig

    def __init__(self, backbone: Backbone, config: TaskConfig) -> None:
        super().__init__(backbone, config)
        tower = load_tower(config.clip, backbone.device, config.layers)
        self.reader = FaceReader(tower, grey=config.grey)
        self.module = new_adapter(backbone, config, tower).to(backbone.device)
        self.stages = (Stage("train", config.steps),)
        self.same_share = config.same_share
        self._hooks = TokenReading(self.module)
        self._predict: Predict

    def features_key(self) -> Mapping[str, Any]:
        tower = self.reader.tower
        return {"tower": tower.encoder.fingerprint, "layers": list(tower.layers), "grey": self.config.grey}

    def features(self, example: Example) -> dict[str, Tensor]:
        """latents float32 [C, h, w], embedding float32 [D + E], and states_i float16 [T_i, V_i]."""
        found, wanted = len(example.face.embedding), self.config.embedding_dim
        if found != wanted:
            raise UsageError(
                f"the face encoder gives embeddings of length {found}, not {wanted}.",
                hint="Correct options.embedding_dim.",
            )
        embedding, states = self.reader.look(np.asarray(example.picture.convert("RGB")), example.face)
        return {
            "latents": encode_picture(self.backbone, example.picture),
            "embedding": embedding,
            **{f"states_{depth}": one.half() for depth, one in enumerate(states)},
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        with self.backbone.denoiser.attached(self._hooks) as self._predict:
            yield

    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        faceless, wordless = rng.drops(self.config.drop)
        shown = (~faceless).float().view(-1, 1, 1)
        depths = range(len(self.module.sizes.scales))
        tokens = self.module.tokens(
            batch.reference["embedding"][:, None] * shown,
            [batch.reference[f"states_{depth}"].float() * shown for depth in depths],
        )
        self._hooks.keys, self._hooks.values = self.module.keys_values(tokens)
        prompts = ["" if empty else text for empty, text in zip(wordless, batch.prompts, strict=True)]
        text = self.backbone.text.encode_batch(prompts)
        noised = rng.noised(self.backbone.noise, batch.target["latents"])
        predicted = self._predict(noised.latents.to(self.backbone.dtype), noised.time, text)
        return {"loss": F.mse_loss(predicted.float(), noised.target)}

    def export(self, folder: Path) -> None:
        tower = self.reader.tower
        save_adapter(
            folder,
            self.module,
            Looks(self.config.clip, tower.encoder.fingerprint, tower.layers, self.config.grey),
            family=self.backbone.family,
            dtype=torch.float16,
            config=asdict(self.config),
        )
