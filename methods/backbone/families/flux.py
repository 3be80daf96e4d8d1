"""FLUX.1 (dev, schnell, krea-dev): a rectified flow on a transformer where text and picture attend jointly.

Numerically the same as diffusers' `FluxPipeline` as long as no hook says otherwise, in every dtype and with
its order of casts. Hooks act at three places, and nothing of the network is replaced for longer than a batch:

    image_attention   at double blocks: the query of the image tokens after its RMSNorm and before the rotary
                      embedding; what comes back is added, ungated, after the block's feed-forward residual,
                      as diffusers' `FluxIPAdapterAttnProcessor` does it
    keys_values       at every block: query, key and value of text and image tokens after the rotary embedding
    after_block       at every block: a forward hook on the block, which sees and adds to its image tokens
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from methods.backbone.attention import ColumnCapture, merge_heads
from methods.backbone.denoiser import Hook, Projections
from methods.hooks import Attachment, Conditioning, Pass, RowLayout, Site

PACK = 2
"""Latent cells per side of an image token: the network sees 2 x 2 cells as one token of 4 C channels."""

_HALVES: tuple[Literal["uncond"], Literal["cond"]] = ("uncond", "cond")

TRAINING_STEPS = 1000
"""Both the pipeline and the network count time in these."""


def pack(latents: Tensor) -> Tensor:
    """Latents [R, C, h, w] -> tokens [R, h/2 * w/2, 4 C], feature 4 c + 2 dy + dx; h and w even."""
    rows, channels, height, width = latents.shape
    cells = latents.view(rows, channels, height // PACK, PACK, width // PACK, PACK)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(
        rows, (height // PACK) * (width // PACK), channels * PACK**2
    )


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`: tokens [R, h/2 * w/2, 4 C] -> latents [R, C, h, w]."""
    rows, _, features = tokens.shape
    cells = tokens.view(rows, height // PACK, width // PACK, features // PACK**2, PACK, PACK)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(rows, features // PACK**2, height, width)


def image_ids(height: int, width: int, device: torch.device) -> Tensor:
    """Positions (0, row, column) of the image tokens of a latent grid, float32 [h/2 * w/2, 3], row-major."""
    rows, columns = torch.meshgrid(
        torch.arange(height // PACK, device=device), torch.arange(width // PACK, device=device), indexing="ij"
    )
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1).float()


class FluxDenoiser:
    """A frozen `FluxTransformer2DModel` as the project calls it (see `methods.backbone.denoiser`).

    sites: the attention of every double block, then of every single block, in the order of the transformer's
           `attn_processors`; double blocks, which take image adapters, name the width of the text features
    """

    hooks: frozenset[Hook] = frozenset({"image_attention", "keys_values", "after_block"})

    def __init__(
        self, transformer: Any, *, text_tokens: int, cell_pixels: int = 8, placed: bool = False
    ) -> None:
        """text_tokens: of T5; cell_pixels: per latent cell; placed: the weights come and go by themselves."""
        self.transformer = transformer
        self.multiple = PACK * cell_pixels
        self.sites = _sites(transformer, text_tokens)
        self.guidance: Literal["rows", "embedded", "none"] = (
            "embedded" if transformer.config.guidance_embeds else "none"
        )
        self._placed = placed
        self.session: FluxSession | None = None

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        cells = PACK**2
        pixels = self.multiple // PACK
        return self.transformer.config.in_channels // cells, height // pixels, width // pixels

    def projections(self, site: Site) -> Projections:
        """Those of the picture's stream; a single block's `out` reads its feed-forward channels as well."""
        layer = self.transformer.get_submodule(site.name)
        out = layer.to_out[0] if site.context_width is not None else _block(self.transformer, site).proj_out
        return Projections(layer.to_q, layer.to_k, layer.to_v, out)

    def modules(self) -> tuple[nn.Module, ...]:
        return () if self._placed else (self.transformer,)

    def compile(self, **options: Any) -> None:
        """Compile every block, hooks inside, without a graph break.

        Blocks share a graph as long as they do the same; a hook that tells sites apart makes more of them, at
        most one per block, which torch would give up on after a few.
        """
        import torch._dynamo

        wanted = 4 * len(self.sites)
        config: Any = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, wanted)
        config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, wanted)
        self.transformer.compile_repeated_blocks(**{"fullgraph": True} | options)

    def attached(self, hooks: Attachment, capture: ColumnCapture | None = None) -> FluxSession:
        return FluxSession(self, hooks, capture)


class FluxSession:
    """The blocks of a transformer at work for one batch; a context manager, and the `Predict` it gives.

    Only what the attachment overrides is installed, so plain sampling runs diffusers' own code; on exit the
    processors found on entry are put back and the hooks are removed.
    """

    def __init__(
        self, denoiser: FluxDenoiser, hooks: Attachment, capture: ColumnCapture | None = None
    ) -> None:
        self.hooks = hooks
        self.capture = capture
        self.step: Pass
        self.text_tokens = 0
        self._denoiser = denoiser
        self._restore = ExitStack()
        self._outer: FluxSession | None = None
        self._positions: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> FluxSession:
        """Of sessions one inside the other, the innermost alone is at work."""
        self._outer, self._denoiser.session = self._denoiser.session, self
        if self._outer is not None:
            self._outer._restore.close()
        self._install()
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore.close()
        self._denoiser.session = self._outer
        if self._outer is not None:
            self._outer._install()

    def _install(self) -> None:
        transformer = self._denoiser.transformer
        overridden = {name for name in self._denoiser.hooks if _overrides(self.hooks, name)}
        joint = "keys_values" in overridden or self.capture is not None
        for site in self._denoiser.sites:
            block = _block(transformer, site)
            if joint or ("image_attention" in overridden and site.context_width is not None):
                self._restore.callback(block.attn.set_processor, block.attn.processor)
                block.attn.set_processor(JointProcessor(site, self))
            if "after_block" in overridden:
                self._restore.callback(block.register_forward_hook(AfterBlock(site, self)).remove)

    def __call__(
        self, x: Tensor, time: float | Tensor, text: Conditioning, step: Pass | None = None
    ) -> Tensor:
        """See `methods.backbone.denoiser.Predict`; the velocity noise - clean. No step: guidance 1.

        True guidance takes two passes, as `FluxPipeline` does: rounding depends on the height of a matrix, so
        that one pass of twice the rows is some units in the last place away from it. The network's work is
        the same; at FLUX's size one picture fills a GPU, and memory is that of one row.
        """
        rows, _, height, width = x.shape
        step = step or Pass(RowLayout(jobs=rows, guided=False), (height, width), (1.0,) * rows)
        if not step.rows.guided:
            return self._pass(x, time, text, step)
        guidance = torch.tensor(step.guidance, dtype=torch.float64)
        found: list[tuple[Tensor, ...]] = []
        for half in _HALVES:
            part = replace(step.rows, half=half)
            scales = tuple(part.cut(guidance).tolist()) if step.guidance else ()
            one = replace(step, rows=part, guidance=scales)
            self.hooks.on_pass(one)
            pooled = None if text.pooled is None else part.cut(text.pooled)
            own = Conditioning(part.cut(text.key), part.cut(text.value), pooled)
            times = part.cut(time) if isinstance(time, Tensor) else time
            found.append(self._pass(part.cut(x), times, own, one).split(step.rows.counts))
        return torch.cat([half for stream in zip(*found, strict=True) for half in stream])

    def _pass(self, x: Tensor, time: float | Tensor, text: Conditioning, step: Pass) -> Tensor:
        _, _, height, width = x.shape
        self.step = step
        self.text_tokens = text.key.shape[1]
        guidance = None
        if self._denoiser.guidance == "embedded":
            guidance = torch.tensor(self.step.guidance, dtype=torch.float32, device=x.device)
        text_ids, picture_ids = self._ids(height, width, x.device)
        velocity = self._denoiser.transformer(
            hidden_states=pack(x),
            timestep=_timestep(time, x),
            guidance=guidance,
            pooled_projections=text.pooled,
            encoder_hidden_states=text.key,
            txt_ids=text_ids,
            img_ids=picture_ids,
            return_dict=False,
        )[0]
        return unpack(velocity, height, width)

    def _ids(self, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Positions of text [T, 3], all zero, and image tokens [N, 3]."""
        key = (self.text_tokens, height, width)
        if key not in self._positions:
            text = torch.zeros(self.text_tokens, 3, device=device)
            self._positions[key] = (text, image_ids(height, width, device))
        return self._positions[key]


class JointProcessor:
    """The attention of one block: to be set as the processor of a diffusers `FluxAttention`."""

    _attention_backend = None
    _parallel_config = None

    def __init__(self, site: Site, session: FluxSession) -> None:
        self.site = site
        self.session = session

    def __call__(
        self,
        layer: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Any:
        """Double block: image [R, N, C] and text tokens [R, T, C] -> both, and what else the image gets.

        Single block: both in one [R, T + N, C] -> the same, without an output projection.
        """
        session = self.session
        double = encoder_hidden_states is not None
        text_tokens = session.text_tokens
        query, key, value, plain_query = joint_heads(
            layer, hidden_states, encoder_hidden_states, image_rotary_emb
        )
        key, value = session.hooks.keys_values(self.site, session.step, query, key, value)
        if session.capture is not None and session.step.rows.half != "uncond":
            session.capture.watch(self.site, session.step.rows, query[:, :, text_tokens:], key)
        output = merge_heads(F.scaled_dot_product_attention(query, key, value)).to(query.dtype)
        if not double:
            return output
        injected = session.hooks.image_attention(
            self.site, session.step, plain_query.transpose(1, 2), output[:, text_tokens:]
        )
        answers = project_both(layer, output, text_tokens)
        return answers if injected is None else (*answers, injected)


class AfterBlock:
    """A forward hook on one block: asks the method what to add to the image tokens."""

    def __init__(self, site: Site, session: FluxSession) -> None:
        self.site = site
        self.session = session

    def __call__(self, block: nn.Module, inputs: Any, output: tuple[Tensor, Tensor]) -> Any:
        text, image = output
        added = self.session.hooks.after_block(self.site, self.session.step, image)
        return None if added is None else (text, image + added)


def joint_heads(
    layer: Any, hidden: Tensor, added: Tensor | None, rotary: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, key, value [R, heads, T + N, d] of a diffusers `FluxAttention`, and the query of `hidden` alone.

    hidden: image tokens [R, N, C] with text tokens `added` [R, T, C] in a double block; both in one in a
    single block. The fourth, [R, N, heads, d], is without positions.
    """
    query = plain = layer.norm_q(_heads(layer.to_q(hidden), layer))
    key = layer.norm_k(_heads(layer.to_k(hidden), layer))
    value = _heads(layer.to_v(hidden), layer)
    if added is not None:
        query = torch.cat([layer.norm_added_q(_heads(layer.add_q_proj(added), layer)), query], dim=1)
        key = torch.cat([layer.norm_added_k(_heads(layer.add_k_proj(added), layer)), key], dim=1)
        value = torch.cat([_heads(layer.add_v_proj(added), layer), value], dim=1)
    if rotary is not None:
        query = apply_rotary_emb(query, rotary, sequence_dim=1)
        key = apply_rotary_emb(key, rotary, sequence_dim=1)
    return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), plain


def project_both(layer: Any, output: Tensor, text_tokens: int) -> tuple[Tensor, Tensor]:
    """What a double block gets of joint attention [R, T + N, C]: image [R, N, C] and text [R, T, C]."""
    projection, dropout = layer.to_out
    text, image = output[:, :text_tokens], output[:, text_tokens:]
    return dropout(projection(image.contiguous())), layer.to_add_out(text.contiguous())


def _heads(x: Tensor, layer: Any) -> Tensor:
    """[R, M, heads * d] -> [R, M, heads, d]"""
    return x.unflatten(-1, (-1, layer.head_dim))


def _overrides(hooks: Attachment, name: str) -> bool:
    """Whether an attachment has a hook of its own."""
    own: Callable[..., Any] = getattr(hooks, name)
    return getattr(own, "__func__", own) is not getattr(Attachment, name)


def _timestep(time: float | Tensor, x: Tensor) -> Tensor:
    """Time of every row, [R] in the dtype of the latents x [R, ...].

    The pipeline rounds t * 1000 to the dtype and divides by 1000, the network multiplies by 1000 again: in
    half precision the product is another one than that of t alone.
    """
    steps = torch.as_tensor(time, dtype=torch.float64) * TRAINING_STEPS
    return (steps.to(torch.float32).expand(len(x)).to(x.dtype) / TRAINING_STEPS).to(x.device)


def _block(transformer: Any, site: Site) -> Any:
    """The double or single block of a site."""
    return transformer.get_submodule(site.name.removesuffix(".attn"))


def _sites(transformer: Any, text_tokens: int) -> tuple[Site, ...]:
    doubles = len(transformer.transformer_blocks)
    sites = []
    for index, key in enumerate(transformer.attn_processors):
        name = key.removesuffix(".processor")
        layer: Any = transformer.get_submodule(name)
        sites.append(
            Site(
                name=name,
                index=index,
                kind="joint",
                cell=PACK,
                width=layer.inner_dim,
                heads=layer.heads,
                head_dim=layer.head_dim,
                context_width=transformer.config.joint_attention_dim if index < doubles else None,
                text=text_tokens,
            )
        )
    return tuple(sites)
