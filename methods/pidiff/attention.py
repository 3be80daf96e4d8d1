"""PIDiff's attention at work on a batch, and the same with gradients for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbone.attention import KeyValue
from methods.backbone.denoiser import Denoiser, Predict
from methods.hooks import Attachment, Conditioning, Job, Pass, Site, StepInfo
from methods.pidiff.adapter import StyleAdapter


class StyleAttention(Attachment):
    """Adds alpha * Attn(W_q' h_txt, W_k' f, G (.) W_v' f) to the text attention's output h_txt.

    tokens: f of each job [rows, C], None for a job without identity
    null:   tokens of the zero code [rows, C]: what the unconditional rows see
    start:  share of the steps before the identity enters, whatever the job's own `id_start` (w-plus-adapter's
            delayed injection)
    """

    def __init__(
        self,
        adapter: StyleAdapter,
        jobs: Sequence[Job],
        tokens: Sequence[Tensor | None],
        null: Tensor,
        start: float,
    ) -> None:
        self.adapter, self.jobs, self.start = adapter, jobs, start
        self.weight: Tensor | None = None
        self._tokens = [null if own is None else own for own in tokens]
        self._null = null
        self._projected: dict[int, KeyValue] = {}

    def on_step(self, step: StepInfo) -> None:
        """Weight alpha of every row at this step, [R, 1, 1]; None when no row has an identity to add."""
        late = step.index / step.count >= self.start
        weights = step.weights(self.jobs) if late else [0.0]
        alpha = torch.tensor(weights, device=self._null.device, dtype=self._null.dtype)
        self.weight = alpha.view(-1, 1, 1) if any(weights) else None

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        block = self.adapter.at(site)
        if site.index not in self._projected:
            tokens = torch.stack(step.rows.per_row(self._tokens, uncond=self._null))  # [R, rows, C]
            self._projected[site.index] = block.keys_values(tokens)
        return self.weight * block(output, self._projected[site.index])


class TrainingAttention(Attachment):
    """The same blocks in training: alpha 1, codes per call, and what they add outside the head.

    codes:   centred W+ codes [B, rows, dim]; None leaves the backbone as it is
    outside: [B, 1, h, w] on the latent grid, 1 where there is no head; None when nobody asks
    leaks:   of the last call: per site, mean over samples of the mean of outside * |block output|^2
    """

    def __init__(self, adapter: StyleAdapter) -> None:
        self.adapter = adapter
        self.codes: Tensor | None = None
        self.outside: Tensor | None = None
        self.leaks: list[Tensor] = []

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.codes is None:
            return None
        block = self.adapter.at(site)
        read = output.to(block.gate.dtype)  # what learns is float32, whatever the backbone is
        added = block(read, block.keys_values(self.adapter.tokens(self.codes))).to(output.dtype)
        if self.outside is not None:
            grid = site.grid(*step.latent_size)
            share = F.adaptive_avg_pool2d(self.outside, grid).flatten(1)  # [B, N]
            self.leaks.append((share * added.float().square().mean(-1)).mean())
        return added


class Denoise:
    """The network's prediction with and without the identity; made by `style_attention`."""

    def __init__(self, predict: Predict, hooks: TrainingAttention) -> None:
        self._predict, self._hooks = predict, hooks

    def __call__(
        self,
        latents: Tensor,
        time: Tensor,
        text: Conditioning,
        codes: Tensor | None,
        *,
        outside: Tensor | None = None,
    ) -> Tensor:
        """Prediction [B, C, h, w] at full weight; codes None is the plain backbone.

        latents [B, C, h, w], time float64 [B], text of B rows, codes [B, rows, dim], outside [B, 1, h, w]
        """
        self._hooks.codes, self._hooks.outside, self._hooks.leaks = codes, outside, []
        return self._predict(latents, time, text)

    def leak(self) -> Tensor:
        """Mean over sites of what the last call's blocks added outside the head; a scalar."""
        return torch.stack(self._hooks.leaks).mean()


@contextmanager
def style_attention(denoiser: Denoiser, adapter: StyleAdapter) -> Iterator[Denoise]:
    """Install the blocks into the network for training; on exit the network is as it was."""
    hooks = TrainingAttention(adapter)
    with denoiser.attached(hooks) as predict:
        yield Denoise(predict, hooks)
