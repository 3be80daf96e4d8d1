"""`uniform`: the same identity attention at every image token and every step.

    h <- h + alpha * Attn(Q, Z W_k', Z W_v'),    Z = LayerNorm(MLP(e)) in R^{4 x C}

with e the L2-normalised face embedding, Q the query of the text attention, alpha the identity weight.
IP-Adapter (arXiv 2308.06721), FaceID variant: the public checkpoints' layout, the equations of their
code. Under guidance the unconditional rows see the tokens of the zero embedding, as in diffusers.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from methods.adapters import AdapterMethod, face_embedding
from methods.backbone.device import seeded
from methods.config import build
from methods.hooks import Identity, Job
from methods.uniform.adapter import UniformAdapter, facts_of, load_adapter
from methods.uniform.attention import IdentityAttention
from methods.uniform.config import Config
from methods.uniform.info import INFO

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.learning.task import TrainingTask


class Uniform(AdapterMethod[UniformAdapter]):
    """IP-Adapter FaceID on the shared backbone."""

    info = INFO
    Config = Config

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """Load an adapter: our folder (adapter.safetensors + config.json) or a public FaceID file.

        `folder` None means the adapter shipped for the pocket backbone.
        """
        adapter, stored = load_adapter(folder, backbone)
        return cls._ready(adapter, backbone, config, stored.training)

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        backbone: Backbone,
        config: Any = None,
        *,
        source: str = "state dict",
    ) -> Self:
        """The method from a flat state dict in the public FaceID layout; `source` names it in errors."""
        return cls._ready(UniformAdapter.from_state_dict(state, backbone.sites, source), backbone, config)

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        with seeded(seed):
            adapter = UniformAdapter.from_backbone(backbone.denoiser)
        return cls._ready(adapter, backbone, config)

    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        from methods.uniform.config import TaskConfig
        from methods.uniform.task import UniformTask

        return UniformTask(backbone, build(TaskConfig, options, where=f"the training of {cls.info.name}"))

    def facts(self, folder: Path) -> Mapping[str, Any]:
        return facts_of(self.adapter)

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """`tokens`: Z [n, C] of the identity's face embedding, or of every photograph's, [P n, C].

        Raises UsageError without a fitting embedding.
        """
        embedding = face_embedding(identity, self.adapter.embedding_dim)[None]
        if self._photographs(identity) > 1:
            embedding = torch.stack([torch.from_numpy(face.embedding) for face in identity.faces])
        return {"tokens": self._project(embedding.to(backbone.device))}

    def batch_key(self, job: Job) -> Hashable:
        """Low-rank additions act on whole layers: jobs that switch them at different steps part company.

        So do people of different numbers of tokens.
        """
        count = 1 if job.identity is None else self._photographs(job.identity)
        if self.adapter.lora_rank == 0:
            return count
        return count, job.identity is not None and bool(job.id_weight), job.id_start, job.id_end

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> IdentityAttention:
        return IdentityAttention(**self.identity_of(backbone, jobs))

    def identity_of(self, backbone: Backbone, jobs: Sequence[Job]) -> dict[str, Any]:
        """What an `IdentityAttention` (or a subclass of it) is made of, for a batch of jobs."""
        count = max((self._photographs(job.identity) for job in jobs if job.identity is not None), default=1)
        null = self._project(torch.zeros(count, self.adapter.embedding_dim, device=backbone.device))
        return {
            "denoiser": backbone.denoiser,
            "adapter": self.adapter,
            "jobs": jobs,
            "tokens": self.tokens_of(jobs, backbone),
            "null": null,
            "lora_scale": self.config.lora_scale,
        }

    def _photographs(self, identity: Identity) -> int:
        """How many photographs of a person have tokens of their own."""
        return len(identity.faces) or 1 if self.config.photographs == "tokens" else 1

    @torch.no_grad()
    def _project(self, embeddings: Tensor) -> Tensor:
        """Embeddings [P, D] -> tokens [P n, C]."""
        return self.adapter.tokens(embeddings).flatten(0, 1)
