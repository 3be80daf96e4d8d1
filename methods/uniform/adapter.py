"""The trainable part of `uniform`, in the public key layouts.

On U-Nets, that of IP-Adapter FaceID:

    image_proj.proj.{0,2}.{weight,bias}, image_proj.norm.{weight,bias}    face embedding -> identity tokens
    ip_adapter.{i}.to_{k,v}_ip.weight                                     keys, values at cross site i
    ip_adapter.{i}.to_{q,k,v,out}_lora.{down,up}.weight                   optional, at every site i

On FLUX, that of diffusers' FLUX IP-Adapter, which files by XLabs, under names of their own, come down to:

    image_proj.proj.{weight,bias}, image_proj.norm.{weight,bias}          face embedding -> identity tokens
    ip_adapter.{i}.to_{k,v}_ip.{weight,bias}                              keys, values at double block i

with i the place of the site in the network's `attn_processors`, so that public checkpoints load unchanged and
ours load in diffusers (`load_ip_adapter`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from methods.adapters import Stored, read_adapter
from methods.backbone.backbone import text_width
from methods.errors import WeightsError
from methods.hooks import Site
from methods.site_adapter import SiteAdapter
from methods.uniform.info import INFO

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.backbone.denoiser import Denoiser


class TokenProjection(nn.Module):
    """Z = LayerNorm(reshape(W_2 GELU(W_0 e))): a face embedding [B, D] -> identity tokens [B, n, C]."""

    def __init__(self, embedding_dim: int, hidden: int, tokens: int, width: int) -> None:
        super().__init__()
        self.count = tokens
        self.proj = nn.Sequential(
            nn.Linear(embedding_dim, hidden), nn.GELU(), nn.Linear(hidden, tokens * width)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.norm(self.proj(embedding).unflatten(-1, (self.count, -1)))


class LinearProjection(nn.Module):
    """Z = LayerNorm(reshape(W e + b)): a face embedding [B, D] -> tokens [B, n, C], the FLUX layout."""

    def __init__(self, embedding_dim: int, tokens: int, width: int) -> None:
        super().__init__()
        self.count = tokens
        self.proj = nn.Linear(embedding_dim, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.norm(self.proj(embedding).unflatten(-1, (self.count, -1)))


class LowRank(nn.Module):
    """A low-rank addition to a linear layer: x -> up(down(x))."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=False)

    def delta(self) -> Tensor:
        """The weight it adds, [outputs, inputs]."""
        return self.up.weight @ self.down.weight


class SiteModule(nn.Module):
    """What one site owns: keys and values of the identity (biased on FLUX), low-rank additions (if any)."""

    def __init__(self, site: Site, lora_rank: int) -> None:
        super().__init__()
        context = site.context_width or site.width
        if site.context_width is not None:
            self.to_k_ip = nn.Linear(context, site.width, bias=site.kind == "joint")
            self.to_v_ip = nn.Linear(context, site.width, bias=site.kind == "joint")
        if lora_rank:
            self.to_q_lora = LowRank(site.width, site.width, lora_rank)
            self.to_k_lora = LowRank(context, site.width, lora_rank)
            self.to_v_lora = LowRank(context, site.width, lora_rank)
            self.to_out_lora = LowRank(site.width, site.width, lora_rank)


log = logging.getLogger(__name__)

PORTRAIT_TOKENS = 16
"""Of a photograph, in IP-Adapter's `ip-adapter-faceid-portrait` files; the other FaceID files have 4."""


class UniformAdapter(SiteAdapter[SiteModule]):
    """Identity tokens from a face embedding; their keys and values at every site with a `context_width`."""

    part = "ip_adapter"
    layers: ClassVar[Mapping[str, str]] = {"k": "to_k_ip", "v": "to_v_ip"}

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        embedding_dim: int = 512,
        tokens: int = 4,
        hidden: int | None = None,
        lora_rank: int = 0,
    ) -> None:
        super().__init__()
        width = text_width(sites)
        self.embedding_dim = embedding_dim
        self.lora_rank = lora_rank
        self.image_proj: TokenProjection | LinearProjection = (
            LinearProjection(embedding_dim, tokens, width)
            if _joint(sites)
            else TokenProjection(embedding_dim, hidden or 2 * embedding_dim, tokens, width)
        )
        self.ip_adapter = nn.ModuleDict(
            {
                str(site.index): SiteModule(site, lora_rank)
                for site in sites
                if lora_rank or site.context_width is not None
            }
        )

    @classmethod
    def from_backbone(cls, denoiser: Denoiser, *, tokens: int = 4, embedding_dim: int = 512) -> Self:
        """An untrained adapter for a network, float32.

        Keys and values start as copies of the text's on U-Nets; on FLUX, where text enters the blocks already
        projected, at random. What is random follows torch's global seed.
        """
        adapter = cls(denoiser.sites, embedding_dim=embedding_dim, tokens=tokens)
        return adapter.start_at_text(denoiser)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], sites: Sequence[Site], source: str) -> Self:
        """Rebuild an adapter from a checkpoint in one of the layouts above, accounting for every key of it.

        Raises WeightsError naming `source` for another kind of adapter, another backbone's shapes, and
        missing or unknown keys.
        """
        state = {_public_name(key): value for key, value in _trained(state).items()}
        joint = _joint(sites)
        _check_kind(state, source, joint)
        first, last = ("proj", "proj") if joint else ("proj.0", "proj.2")
        hidden, embedding_dim = state[f"image_proj.{first}.weight"].shape
        context = state["image_proj.norm.weight"].shape[0]
        down = next((value for key, value in state.items() if key.endswith("_lora.down.weight")), None)
        return cls.rebuilt(
            state,
            sites,
            source,
            context=context,
            embedding_dim=embedding_dim,
            tokens=state[f"image_proj.{last}.weight"].shape[0] // context,
            hidden=hidden,
            lora_rank=0 if down is None else down.shape[0],
        )

    def tokens(self, embedding: Tensor) -> Tensor:
        """Identity tokens Z [B, n, C] of face embeddings [B, D]; zeros give the tokens of `no identity`."""
        return self.image_proj(embedding.to(self.image_proj.norm.weight.dtype))


def _joint(sites: Sequence[Site]) -> bool:
    return any(site.kind == "joint" for site in sites)


def _public_name(name: str) -> str:
    """XLabs' names in diffusers' FLUX layout; any other name as it is."""
    name = name.replace("ip_adapter_proj_model.", "image_proj.")
    found = re.fullmatch(
        r"double_blocks\.(\d+)\.processor\.ip_adapter_double_stream_([kv])_proj\.(\w+)", name
    )
    return name if found is None else f"ip_adapter.{found[1]}.to_{found[2]}_ip.{found[3]}"


def _trained(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A checkpoint as IP-Adapter's own trainer writes it (beside the whole U-Net), in the public layout."""
    names = {"image_proj_model.": "image_proj.", "adapter_modules.": "ip_adapter."}
    if not any(key.startswith(tuple(names)) for key in state):
        return state
    renamed = {}
    for key, tensor in state.items():
        for old, new in names.items():
            if key.startswith(old):
                renamed[new + key.removeprefix(old)] = tensor
            elif not key.startswith(("unet.", *names)):
                renamed[key] = tensor
    return renamed


def _check_kind(state: Mapping[str, Tensor], source: str, joint: bool) -> None:
    """Raise WeightsError for another kind of adapter than the backbone's family reads."""
    flux = "image_proj.proj.weight" in state and any(key.endswith("_ip.bias") for key in state)
    sizes = ["image_proj.norm.weight"]
    sizes += ["image_proj.proj.weight"] if joint else ["image_proj.proj.0.weight", "image_proj.proj.2.weight"]
    plus = any(key.startswith("image_proj.perceiver_resampler.") for key in state)
    if flux == joint and not plus and all(name in state for name in sizes):
        return
    if flux:
        what = "a FLUX IP-Adapter, and the backbone is a U-Net"
    elif plus:
        what = "a FaceID Plus adapter, which also needs CLIP picture features"
    elif "image_proj.proj.weight" in state or "image_proj.latents" in state:
        what = "an IP-Adapter for whole pictures, not for face embeddings"
    elif joint and "image_proj.proj.0.weight" in state:
        what = "an IP-Adapter FaceID checkpoint of a U-Net, and the backbone is FLUX"
    else:
        what = "no IP-Adapter FaceID checkpoint"
    hint = (
        "Give an adapter in the FLUX IP-Adapter layout (image_proj.proj, ip_adapter.0.to_k_ip.bias)."
        if joint
        else "Give an IP-Adapter FaceID checkpoint (image_proj.proj.0)."
    )
    raise WeightsError(f"{source} is {what}.", hint=hint)


def load_adapter(folder: str | Path | None, backbone: Backbone) -> tuple[UniformAdapter, Stored]:
    """The adapter of our folder or of a public file (None: the one that is shipped), and its file."""
    advice = "" if _joint(backbone.sites) else ", for instance ip-adapter-faceid_sd15.bin"
    stored = read_adapter(folder, method=INFO.name, backbone=backbone, advice=advice)
    adapter = UniformAdapter.from_state_dict(stored.state, backbone.sites, str(stored.path))
    bare = not adapter.lora_rank and stored.facts is None and not _joint(backbone.sites)
    if adapter.image_proj.count == PORTRAIT_TOKENS and bare:
        log.warning(
            f"{stored.path} is a FaceID Portrait adapter: made for the tokens of five photographs of one "
            "person in a row. Here the mean of the photographs given makes one set of them."
        )
    return adapter, stored


def facts_of(adapter: UniformAdapter) -> dict[str, Any]:
    """What config.json says of an adapter."""
    return {"embedding_dim": adapter.embedding_dim, "tokens": adapter.image_proj.count}
