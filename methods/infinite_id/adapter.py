"""What Infinite-ID learns: two mappers to identity tokens, and their keys and values at every cross site.

    clip_mapper.{proj,norm}.{weight,bias}                     CLIP states -> tokens, one each
    face_mapper.proj.{0,2}.{weight,bias}, face_mapper.norm.*  face embedding -> tokens
    image_attention.{i}.to_{k,v}_id.weight                    keys, values at cross site i

with i the place of the site in `unet.attn_processors`. The shapes of the mappers are a reconstruction: the
sources name them and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from methods.adapters import Stored, read_adapter
from methods.backbone.backbone import text_width
from methods.errors import UsageError, WeightsError
from methods.hooks import Site
from methods.infinite_id.clip import StatesEncoder, load_states_encoder
from methods.infinite_id.config import FACE_TOKENS
from methods.infinite_id.info import INFO
from methods.site_adapter import SiteAdapter
from methods.uniform.adapter import TokenProjection

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.backbone.denoiser import Denoiser


class StateMapper(nn.Module):
    """M_clip(s) = LayerNorm(W s): CLIP states [B, T, S] -> as many tokens [B, T, C]."""

    def __init__(self, states_width: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(states_width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor) -> Tensor:
        return self.norm(self.proj(states))


class SiteAttention(nn.Module):
    """W_k' and W_v' of one cross-attention site."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        context = site.context_width or site.width
        self.to_k_id = nn.Linear(context, site.width, bias=False)
        self.to_v_id = nn.Linear(context, site.width, bias=False)


class InfiniteAdapter(SiteAdapter[SiteAttention]):
    """Identity tokens c_id and their keys and values.

    states: (T, S), how many CLIP states of which width the CLIP mapper reads
    """

    part = "image_attention"
    layers: ClassVar[Mapping[str, str]] = {"k": "to_k_id", "v": "to_v_id"}

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        states: tuple[int, int],
        embedding_dim: int = 512,
        face_tokens: int = FACE_TOKENS,
    ) -> None:
        super().__init__()
        width = text_width(sites)
        self.states = states
        self.embedding_dim = embedding_dim
        self.clip_mapper = StateMapper(states[1], width)
        self.face_mapper = TokenProjection(embedding_dim, 2 * embedding_dim, face_tokens, width)
        self.image_attention = nn.ModuleDict(
            {str(site.index): SiteAttention(site) for site in sites if site.kind == "cross"}
        )

    @classmethod
    def from_backbone(
        cls,
        denoiser: Denoiser,
        *,
        states: tuple[int, int],
        embedding_dim: int = 512,
        face_tokens: int = FACE_TOKENS,
    ) -> Self:
        """An untrained adapter: keys and values start as copies of the text's, float32.

        The random mappers follow torch's global seed.
        """
        adapter = cls(denoiser.sites, states=states, embedding_dim=embedding_dim, face_tokens=face_tokens)
        return adapter.start_at_text(denoiser)

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], sites: Sequence[Site], *, states: int, source: str
    ) -> Self:
        """Rebuild an adapter that reads `states` CLIP states from its weights, accounting for every key.

        Raises WeightsError naming `source` for missing and unknown keys and for another backbone's shapes.
        """
        needed = ("clip_mapper.proj.weight", "face_mapper.proj.0.weight", "face_mapper.proj.2.weight")
        if missing := [name for name in needed if name not in state]:
            raise WeightsError(
                f"{source} is no Infinite-ID adapter: it lacks {missing[0]}.",
                hint="Give a folder that spid train --method infinite-id wrote.",
            )
        width, states_width = state["clip_mapper.proj.weight"].shape
        return cls.rebuilt(
            state,
            sites,
            source,
            context=width,
            states=(states, states_width),
            embedding_dim=state["face_mapper.proj.0.weight"].shape[1],
            face_tokens=max(1, state["face_mapper.proj.2.weight"].shape[0] // width),
        )

    @property
    def count(self) -> int:
        """Tokens n of one identity."""
        return self.states[0] + self.face_mapper.count

    def tokens(self, states: Tensor, embedding: Tensor) -> Tensor:
        """c_id [B, n, C] of CLIP states [B, T, S] and embeddings [B, D]; zeros mean `unknown`."""
        dtype = self.clip_mapper.norm.weight.dtype
        return torch.cat([self.clip_mapper(states.to(dtype)), self.face_mapper(embedding.to(dtype))], dim=1)


@dataclass(frozen=True)
class Eyes:
    """The CLIP image encoder whose states an adapter reads: by name, and the hash of its weights."""

    name: str | None = None
    fingerprint: str | None = None

    def encoder(self, adapter: InfiniteAdapter, device: torch.device, name: str | None) -> StatesEncoder:
        """The encoder, from where `name` says (None: its own). Raises WeightsError for another one."""
        where = name or self.name
        if where is None:
            raise UsageError(f"{INFO.name} needs a CLIP image encoder.", hint="Give one by --set clip=...")
        clip = load_states_encoder(where, device)
        if clip.shape != adapter.states or clip.fingerprint != self.fingerprint:
            raise WeightsError(
                f"The {INFO.name} adapter was trained with another CLIP image encoder than {where}.",
                hint="Give its own with --set clip=..., or train the adapter again.",
            )
        return clip


def load_adapter(folder: str | Path | None, backbone: Backbone) -> tuple[InfiniteAdapter, Eyes, Stored]:
    """The adapter of a folder (None: the one shipped for the backbone), what it reads, and its file."""
    stored = read_adapter(folder, method=INFO.name, backbone=backbone, files=False)
    states, name, fingerprint = stored.tell(
        INFO.name,
        lambda facts: (int(facts["states"]), facts["clip"]["name"], facts["clip"]["fingerprint"]),
    )
    source = str(stored.path)
    adapter = InfiniteAdapter.from_state_dict(stored.state, backbone.sites, states=states, source=source)
    return adapter, Eyes(name, fingerprint), stored


def facts_of(adapter: InfiniteAdapter, eyes: Eyes) -> dict[str, Any]:
    """What config.json says of an adapter and of the encoder whose states it reads."""
    return {
        "states": adapter.states[0],
        "clip": asdict(eyes),
        "embedding_dim": adapter.embedding_dim,
        "tokens": adapter.count,
    }
