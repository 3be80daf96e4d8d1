"""U-Nets with cross-attention: Stable Diffusion 1 and 2, SDXL, and the pocket backbone.

All that knows a `UNet2DConditionModel` by name: its attention layers as sites, the processor that lets hooks
into them, SDXL's size conditions, and the parts of the pipeline's folder or file.

As long as no hook says otherwise the network computes what it computes under diffusers' AttnProcessor2_0.
Four things differ: keys and values of the static text are projected once per batch instead of once per
step; so are weights of convolutions laid out, on a CPU; sites may see different text; columns of
cross-attention maps can be watched without building the maps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from methods.backbone.attention import ColumnCapture, KeyValue, attend, merge_heads, split_heads
from methods.backbone.convolutions import packed_convolutions
from methods.backbone.denoiser import Hook, Projections
from methods.hooks import Attachment, Conditioning, Pass, RowLayout, Site

_TIMESTEPS = 1000  # of training, in all Stable Diffusion families


class UNetDenoiser:
    """A frozen `UNet2DConditionModel` as the project calls it (see `methods.backbone.denoiser`)."""

    hooks: frozenset[Hook] = frozenset({"image_attention", "keys_values", "text_keys_values", "reads_text"})
    guidance: Literal["rows", "embedded", "none"] = "rows"

    def __init__(self, unet: Any, multiple: int = 8) -> None:
        """multiple: pixels per latent cell"""
        self.unet = unet
        self.multiple = multiple
        self.sites = enumerate_sites(unet)
        self.compiled = False

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return self.unet.config.in_channels, height // self.multiple, width // self.multiple

    def projections(self, site: Site) -> Projections:
        layer = self.unet.get_submodule(site.name)
        return Projections(layer.to_q, layer.to_k, layer.to_v, layer.to_out[0])

    def modules(self) -> tuple[nn.Module, ...]:
        return (self.unet,)

    def compile(self, **options: Any) -> None:
        # Hooks are free Python and see every step: compiled, each would compile anew. Not a decorator, which
        # would import the compiler (a second) wherever nothing is compiled.
        if not getattr(SiteProcessor.__call__, "_torchdynamo_disable", False):
            SiteProcessor.__call__ = torch.compiler.disable(SiteProcessor.__call__)  # type: ignore[method-assign]
        self.unet.compile_repeated_blocks(**options)
        self.compiled = True

    def attached(self, hooks: Attachment, capture: ColumnCapture | None = None) -> UNetSession:
        return UNetSession(self, hooks, capture)


class UNetSession:
    """All attention sites of a U-Net at work for one batch; a context manager, and the `Predict` it gives.

    Inside, every site runs a `SiteProcessor`; on exit the processors found on entry are put back.
    """

    def __init__(
        self, denoiser: UNetDenoiser, hooks: Attachment, capture: ColumnCapture | None = None
    ) -> None:
        self.hooks = hooks
        self.capture = capture
        self.step: Pass
        self.conditioning: Conditioning
        self._denoiser = denoiser
        self._projected: WeakKeyDictionary[Conditioning, dict[int, KeyValue]] = WeakKeyDictionary()
        self._restore = ExitStack()

    def __enter__(self) -> UNetSession:
        for site in self._denoiser.sites:
            layer: Any = self._denoiser.unet.get_submodule(site.name)
            self._restore.callback(layer.set_processor, layer.processor)
            layer.set_processor(SiteProcessor(site, self))
        if not self._denoiser.compiled:  # a compiler lays weights out by itself
            self._restore.enter_context(packed_convolutions(self._denoiser.unet))
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore.close()

    def __call__(
        self, x: Tensor, time: float | Tensor, text: Conditioning, step: Pass | None = None
    ) -> Tensor:
        """See `methods.backbone.denoiser.Predict`."""
        height, width = x.shape[-2:]
        self.step = step or Pass(RowLayout(jobs=len(x), guided=False), (height, width))
        self.conditioning = text
        pixels = self._denoiser.multiple
        return self._denoiser.unet(
            x,
            timesteps(time, x),
            text.key,
            added_cond_kwargs=size_conditions(text, width * pixels, height * pixels),
        ).sample

    def read_text(self, site: Site, layer: Any, query: Tensor) -> Tensor:
        """Text attention of a site: query [R, heads, N, d] -> [R, N, width]; zeros if the hooks read none."""
        if not self.hooks.reads_text:
            return torch.zeros_like(merge_heads(query))
        key, value = self.text_keys_values(site, layer)
        key = key if layer.norm_k is None else layer.norm_k(key)
        if self.capture is not None:
            self.capture.watch(site, self.step.rows, query, key)
        return attend(query, key, value)

    def text_keys_values(self, site: Site, layer: Any) -> KeyValue:
        """Keys and values of the current text at a site, [R, heads, T, d] each; projected on first use."""
        if torch.is_grad_enabled():
            return self._project(site, layer)
        known = self._projected.setdefault(self.conditioning, {})
        if site.index not in known:
            known[site.index] = self._project(site, layer)
        return known[site.index]

    def _project(self, site: Site, layer: Any) -> KeyValue:
        text = self.conditioning
        norm: Callable[[Tensor], Tensor] = layer.norm_encoder_hidden_states if layer.norm_cross else _same
        key = layer.to_k(norm(text.key))
        value = layer.to_v(norm(text.value))
        key, value = split_heads(key, layer.heads), split_heads(value, layer.heads)
        return self.hooks.text_keys_values(site, text, key, value)


class SiteProcessor:
    """The attention of one site: to be set as the processor of a diffusers `Attention` layer."""

    def __init__(self, site: Site, session: UNetSession) -> None:
        self.site = site
        self.session = session

    def __call__(
        self,
        layer: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attention layer of the U-Net on [R, N, C] or [R, C, h, w]; the text comes from the session."""
        site, session = self.site, self.session
        x = hidden_states
        if layer.spatial_norm is not None:
            x = layer.spatial_norm(x, temb)
        shape = x.shape
        if len(shape) == 4:
            x = x.flatten(2).transpose(1, 2)
        if layer.group_norm is not None:
            x = layer.group_norm(x.transpose(1, 2)).transpose(1, 2)

        query = split_heads(layer.to_q(x), layer.heads)
        query = query if layer.norm_q is None else layer.norm_q(query)
        if site.kind == "self":
            key = split_heads(layer.to_k(x), layer.heads)
            value = split_heads(layer.to_v(x), layer.heads)
            key = key if layer.norm_k is None else layer.norm_k(key)
            key, value = session.hooks.keys_values(site, session.step, query, key, value)
            output = attend(query, key, value)
        else:
            output = session.read_text(site, layer, query)
            added = session.hooks.image_attention(site, session.step, query, output)
            if added is not None:
                output = output + added

        to_out, dropout = layer.to_out
        output = dropout(to_out(output))
        if len(shape) == 4:
            output = output.transpose(1, 2).reshape(shape)
        if layer.residual_connection:
            output = output + hidden_states
        return output / layer.rescale_output_factor


def timesteps(time: float | Tensor, x: Tensor) -> Tensor:
    """Timesteps float32 [R] beside latents [R, ...], of one time or of times float64 [R] on the CPU."""
    if isinstance(time, Tensor):
        return (time * _TIMESTEPS).to(torch.float32).to(x.device)
    return torch.full((len(x),), time * _TIMESTEPS, dtype=torch.float32, device=x.device)


def size_conditions(text: Conditioning, width: int, height: int) -> dict[str, Tensor] | None:
    """SDXL's added conditions for uncropped pictures of one size in pixels; None for other backbones.

    pooled text [R, P] and time ids [R, 6]: original size, crop corner, target size (height, width each)
    """
    pooled = text.pooled
    if pooled is None:
        return None
    ids = torch.tensor([(height, width, 0, 0, height, width)], dtype=pooled.dtype, device=pooled.device)
    return {"text_embeds": pooled, "time_ids": ids.expand(len(pooled), -1)}


def enumerate_sites(unet: Any) -> tuple[Site, ...]:
    """Every attention layer of a `UNet2DConditionModel` in the order of its `attn_processors`."""
    deepest = len(unet.config.block_out_channels) - 1
    sites = []
    for index, key in enumerate(unet.attn_processors):
        name = key.removesuffix(".processor")
        layer = unet.get_submodule(name)
        cross = name.endswith("attn2")
        sites.append(
            Site(
                name=name,
                index=index,
                kind="cross" if cross else "self",
                cell=2 ** _level(name, deepest),
                width=layer.to_q.out_features,
                heads=layer.heads,
                head_dim=layer.to_q.out_features // layer.heads,
                context_width=layer.to_k.in_features if cross else None,
            )
        )
    return tuple(sites)


def _level(name: str, deepest: int) -> int:
    """How often the latent grid was halved at an attention layer."""
    block = re.match(r"(down|up)_blocks\.(\d+)\.", name)
    if block is None:
        return deepest
    number = int(block[2])
    return number if block[1] == "down" else deepest - number


def _same(x: Tensor) -> Tensor:
    return x
