"""`infinite-id`: an identity stream beside a text stream (arXiv 2403.11781).

    c_id = [M_clip(E_clip(FA(x))); M_face(E_face(FA(x)))]
    cross-attention: h = Attn(Q, K_text, V_text) + alpha * Attn(Q, c_id W_k', c_id W_v')
    self-attention:  h = Attn(Q_id, [A(K_id, K_t); K_t], [A(V_id, V_t); V_t]),   A(x, y) = x - mu(x) + mu(y)

with K_t, V_t of the text stream, the plain backbone on the same prompt. Second-hand: no code was published.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from methods.adapters import AdapterMethod, face_embedding
from methods.backbone.device import seeded
from methods.config import build
from methods.errors import UsageError
from methods.hooks import Attachment, Identity, Job
from methods.infinite_id.adapter import Eyes, InfiniteAdapter, facts_of, load_adapter
from methods.infinite_id.attention import TwoStreams
from methods.infinite_id.clip import POCKET, StatesEncoder, load_states_encoder
from methods.infinite_id.config import Config, Mixing
from methods.infinite_id.info import INFO
from methods.infinite_id.text_stream import TextStreams, text_key
from methods.paths import cache_dir
from methods.provenance import named_file

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from methods.backbone.backbone import Backbone
    from methods.faces import Face
    from methods.learning.task import TrainingTask


class InfiniteID(AdapterMethod[InfiniteAdapter]):
    """Infinite-ID on the shared backbone."""

    info = INFO
    Config = Config

    def __init__(self, config: Any = None, adapter: InfiniteAdapter | None = None) -> None:
        super().__init__(config, adapter)
        self._clip: StatesEncoder | None = None
        self._eyes = Eyes()
        self._streams: TextStreams | None = None

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """Load an adapter folder as `spid train` writes it; None means the one shipped for pocket."""
        adapter, eyes, stored = load_adapter(folder, backbone)
        method = cls._ready(adapter, backbone, config, stored.training)
        method._eyes = eyes
        return method

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        """Reads the states of `config.clip`; without one of the pocket encoder, whatever the backbone."""
        clip = load_states_encoder(getattr(config, "clip", None) or POCKET, backbone.device)
        with seeded(seed):
            adapter = InfiniteAdapter.from_backbone(backbone.denoiser, states=clip.shape)
        return cls.ready(adapter, backbone, config, clip=clip)

    @classmethod
    def ready(
        cls, adapter: InfiniteAdapter, backbone: Backbone, config: Any = None, *, clip: StatesEncoder
    ) -> Self:
        """The method around an adapter at hand (it is moved, not copied) and the encoder it reads."""
        method = cls._ready(adapter, backbone, config)
        method._clip, method._eyes = clip, Eyes(clip.name, clip.fingerprint)
        return method

    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        """Identity-enhanced training; options as `methods.infinite_id.config.TaskConfig`."""
        from methods.infinite_id.config import TaskConfig
        from methods.infinite_id.task import InfiniteTask

        return InfiniteTask(backbone, build(TaskConfig, options, where=f"the training of {INFO.name}"))

    def facts(self, folder: Path) -> Mapping[str, Any]:
        return facts_of(self.adapter, self._eyes)

    def record(self) -> dict[str, Any]:
        """The CLIP encoder at work, and the picture of `mix_with` by its content."""
        mixed = {} if self.config.mix_with is None else {"mix_reference": named_file(self.config.mix_with)}
        return {"clip": self._eyes.fingerprint, **mixed}

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """`tokens`: c_id [n, C]. An identity without a face to look at is its embedding and unknown states.

        Raises UsageError without a fitting embedding, WeightsError for another CLIP model than trained with.
        """
        own = self._c_id(identity, backbone)
        if self.config.mix_with is None:
            return {"tokens": own}
        other = self._c_id(_second_person(self.config.mix_with, identity), backbone)
        return {"tokens": mixed_tokens([own, other], self.config.mix, share=self.config.mix_share)}

    def mixed(
        self,
        identities: Sequence[Identity],
        backbone: Backbone,
        *,
        how: Mixing = "interpolate",
        share: float = 0.5,
        name: str | None = None,
    ) -> Identity:
        """A new identity between (`interpolate`, two of them) or of (`stack`) several, for use in jobs."""
        tokens = [self.tokens(one, backbone)["tokens"] for one in identities]
        identity = Identity(name or "+".join(one.name for one in identities))
        self._tokens[id(identity)] = (identity, {"tokens": mixed_tokens(tokens, how, share=share)})
        return identity

    def batch_key(self, job: Job) -> Hashable:
        """Jobs that no identity is added to run as the plain backbone does, without a second stream; token
        lists of different lengths (stacked identities) part company."""
        if not _at_work(job):
            return 0
        known = self._tokens.get(id(job.identity))
        twice = self.config.mix_with is not None and self.config.mix == "stack"
        return self.adapter.count * (1 + twice) if known is None else len(known[1]["tokens"])

    def affinity(self, job: Job) -> Hashable:
        """Jobs that share a text stream want to be together."""
        return text_key(job)

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        if not any(_at_work(job) for job in jobs):
            return Attachment()
        tokens = self.tokens_of(jobs, backbone)
        longest = max(len(one) for one in tokens if one is not None)
        null = self._unknown(backbone).repeat(longest // self.adapter.count, 1)
        kept = self._kept_streams(backbone, jobs)
        return TwoStreams(self.adapter, jobs, tokens, null, self.config, kept)

    def _kept_streams(self, backbone: Backbone, jobs: Sequence[Job]) -> TextStreams | None:
        """Where text streams are kept, None when they run in the batch."""
        where = self.config.text_stream
        if where == "batch":
            return None
        if self._streams is None:
            self._streams = TextStreams(
                backbone,
                mebibytes=self.config.cache_mib,
                folder=cache_dir() / INFO.name if where == "disk" else None,
                noise=0 if self.config.shared_noise else 1,
            )
        distinct = list({text_key(job): job for job in jobs}.values())
        if where == "auto" and (len(distinct) == len(jobs) > 1 or not self._streams.fits(distinct)):
            return None
        return self._streams

    def _c_id(self, identity: Identity, backbone: Backbone) -> Tensor:
        embedding = face_embedding(identity, self.adapter.embedding_dim)
        states = torch.zeros(self.adapter.states, device=backbone.device)
        if identity.face is not None:
            encoder = self.encoder(backbone)
            seen = [encoder.states(face) for face in _aligned_faces(identity, encoder.size)]
            states = torch.stack(seen).mean(dim=0)  # of several photographs; upright faces, so places agree
        return self._map(states, embedding.to(backbone.device))

    def encoder(self, backbone: Backbone) -> StatesEncoder:
        """The CLIP image encoder, loaded on first use; WeightsError if it is not the training's."""
        if self._clip is None:
            self._clip = self._eyes.encoder(self.adapter, backbone.device, self.config.clip)
        return self._clip

    def _unknown(self, backbone: Backbone) -> Tensor:
        """Tokens of the unknown identity, which unconditional rows see [n, C]."""
        zeros = torch.zeros(self.adapter.embedding_dim, device=backbone.device)
        return self._map(torch.zeros(self.adapter.states, device=backbone.device), zeros)

    @torch.no_grad()
    def _map(self, states: Tensor, embedding: Tensor) -> Tensor:
        return self.adapter.tokens(states[None], embedding[None])[0]


def mixed_tokens(tokens: Sequence[Tensor], how: Mixing, *, share: float = 0.5) -> Tensor:
    """c_id [n, C] of several people as one: their list (`stack`), or (1 - share) a + share b of two."""
    if how == "stack":
        return torch.cat(list(tokens))
    if len(tokens) != 2 or len(tokens[0]) != len(tokens[1]):
        raise UsageError("Interpolation mixes two single identities.", hint="Use mix=stack for more.")
    return torch.lerp(tokens[0], tokens[1], share)


def _aligned_faces(identity: Identity, size: int) -> list[NDArray[np.uint8]]:
    """FA(x) of every photograph."""
    if not identity.faces:
        assert identity.face is not None
        return [aligned_face(identity.face, identity.pictures, size)]
    return [
        aligned_face(face, [path], size) for face, path in zip(identity.faces, identity.pictures, strict=True)
    ]


def aligned_face(face: Face, pictures: Sequence[str], size: int) -> NDArray[np.uint8]:
    """FA(x): the face upright, uint8 RGB; `size` pixels of the first picture, else the recogniser's crop."""
    if not pictures:
        return face.crop
    from methods.faces import align
    from methods.images import load_picture

    return align(np.asarray(load_picture(pictures[0])), face.landmarks, size)


def _at_work(job: Job) -> bool:
    """Whether the identity has any weight at any step."""
    steps = (job.id_start <= index / job.steps < job.id_end for index in range(job.steps))
    return job.identity is not None and job.id_weight != 0 and any(steps)


def _second_person(picture: str, identity: Identity) -> Identity:
    """Whom `mix_with` shows, by the face encoder of the first person."""
    from methods.faces import analyse

    if identity.encoder is None:
        raise UsageError("mix_with needs a face encoder.", hint="Mix identities in Python by `mixed`.")
    face = analyse(picture, identity.encoder)
    return Identity(picture, torch.from_numpy(face.embedding), (picture,), face, identity.encoder)
