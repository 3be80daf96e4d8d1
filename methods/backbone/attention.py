"""One attention processor for every site, with the hooks of a method.

Numerically the same as diffusers' AttnProcessor2_0 as long as no hook says otherwise. Three things differ:
keys and values of the static text are projected once per batch instead of once per step; keys and values
may see different text; columns of cross-attention maps can be watched without building the maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbone.sites import attention_layer
from methods.hooks import Attachment, Conditioning, Pass, RowLayout, Site

KeyValue = tuple[Tensor, Tensor]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[R, N, heads * d] -> [R, heads, N, d]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[R, heads, N, d] -> [R, N, heads * d]"""
    return x.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V with heads concatenated.

    query [R, heads, N, d], key and value [R, heads, M, d] -> [R, N, heads * d]
    """
    return merge_heads(F.scaled_dot_product_attention(query, key, value))


class AttentionSession:
    """All attention sites of a U-Net at work for one batch; a context manager.

    Inside, every site runs a `SiteProcessor`; on exit the processors found on entry are put back.
    Call `begin` before each U-Net call, or make the call by `predict`. Differentiable when gradients are
    enabled (nothing is cached then).
    """

    def __init__(
        self,
        unet: nn.Module,
        sites: Sequence[Site],
        hooks: Attachment,
        capture: ColumnCapture | None = None,
    ) -> None:
        self.hooks = hooks
        self.capture = capture
        self.step: Pass
        self.conditioning: Conditioning
        self._unet: Any = unet
        self._layers = [(site, attention_layer(unet, site)) for site in sites]
        self._projected: WeakKeyDictionary[Conditioning, dict[int, tuple[Tensor, Tensor]]] = (
            WeakKeyDictionary()
        )
        self._restore = ExitStack()

    def __enter__(self) -> AttentionSession:
        for site, layer in self._layers:
            self._restore.callback(layer.set_processor, layer.processor)
            layer.set_processor(SiteProcessor(site, self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore.close()

    def begin(self, step: Pass, conditioning: Conditioning) -> None:
        """Announce the step and the text of the next U-Net call."""
        self.step = step
        self.conditioning = conditioning

    def predict(
        self, latents: Tensor, timesteps: Tensor, text: Conditioning, added: dict[str, Tensor] | None = None
    ) -> Tensor:
        """One U-Net call as trainings and fits make it: every row has a timestep of its own, none is guided.

        latents [B, C, h, w], timesteps int64 [B], text of B rows, added: SDXL's `size_conditions`
        -> prediction [B, C, h, w]. The hooks see a `Pass`, which knows no time.
        """
        height, width = latents.shape[-2:]
        self.begin(Pass(RowLayout(jobs=len(latents), guided=False), (height, width)), text)
        return self._unet(latents, timesteps, text.key, added_cond_kwargs=added).sample

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

    def __init__(self, site: Site, session: AttentionSession) -> None:
        self.site = site
        self.session = session

    @torch.compiler.disable  # hooks are free Python and see every step: compiled, each would compile anew
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


class ColumnCapture:
    """Running mean over steps of chosen columns of the cross-attention maps.

    columns:    int64 [J, C]: for each job, the places of C tokens in its prompt
    max_tokens: sites with more image tokens than this are left out; None watches all

    Only the conditional rows of the first stream are seen; heads are averaged. A column of softmax(Q K^T)
    is attention to a value that is one at this token and zero elsewhere, so one more SDPA with C value
    channels gives all columns exactly, without the map: memory [J, heads, N, C].
    """

    def __init__(self, columns: Tensor, max_tokens: int | None = None) -> None:
        self.columns = columns
        self.max_tokens = max_tokens
        self._mean: dict[str, Tensor] = {}
        self._seen: dict[str, int] = {}

    def watch(self, site: Site, rows: RowLayout, query: Tensor, key: Tensor) -> None:
        """Take in one step of one site; query [R, heads, N, d], key [R, heads, T, d]."""
        if self.max_tokens is not None and query.shape[2] > self.max_tokens:
            return
        column = column_probabilities(query[rows.cond], key[rows.cond], self.columns).float()
        seen = self._seen[site.name] = self._seen.get(site.name, 0) + 1
        mean = self._mean.setdefault(site.name, torch.zeros_like(column))
        mean += (column - mean) / seen

    def maps(self, job: int) -> dict[str, Tensor]:
        """Mean attention of one job by site name: float32 [N, C] on the CPU, N row-major on its grid."""
        return {name: mean[job].cpu() for name, mean in self._mean.items()}


def column_probabilities(query: Tensor, key: Tensor, columns: Tensor) -> Tensor:
    """Columns of the head-averaged attention map softmax(Q K^T / sqrt(d)), the map itself never built.

    query [R, heads, N, d], key [R, heads, T, d], columns int64 [R, C] -> [R, N, C]
    """
    one_hot = F.one_hot(columns, key.shape[2]).transpose(1, 2).to(query)  # [R, T, C]
    chosen = one_hot[:, None].expand(-1, query.shape[1], -1, -1)
    return F.scaled_dot_product_attention(query, key, chosen).mean(dim=1)


def _same(x: Tensor) -> Tensor:
    return x
