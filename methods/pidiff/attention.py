"""PIDiff's attention at work on a batch, and the same with gradients for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbone.denoiser import Denoiser, Predict
from methods.hooks import Conditioning, Job, Pass, Site, StepInfo
from methods.pidiff.adapter import StyleAdapter
from methods.site_adapter import AdapterAttention, TrainingAttention


class StyleAttention(AdapterAttention[StyleAdapter]):
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
        super().__init__(adapter, jobs, tokens, null)
        self.start = start

    def weights(self, step: StepInfo) -> list[float]:
        late = step.index / step.count >= self.start
        return super().weights(step) if late else [0.0] * len(self.jobs)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        return self.weight * self.adapter.at(site)(output, self.projected(site, step))


class StyleTraining(TrainingAttention[StyleAdapter]):
    """The same blocks in training: alpha 1, tokens per call, and what they add outside the head.

    shown:   whether anybody is; False leaves the backbone as it is
    outside: [B, 1, h, w] on the latent grid, 1 where there is no head; None when nobody asks
    leaks:   of the last call: per site, mean over samples of the mean of outside * |block output|^2
    """

    def __init__(self, adapter: StyleAdapter) -> None:
        super().__init__(adapter)
        self.shown = False
        self.outside: Tensor | None = None
        self.leaks: list[Tensor] = []

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if not self.shown:
            return None
        block = self.adapter.at(site)
        read = output.to(block.gate.dtype)  # what learns is float32, whatever the backbone is
        added = block(read, self.adapter.keys_values(site, self.tokens)).to(output.dtype)
        if self.outside is not None:
            grid = site.grid(*step.latent_size)
            share = F.adaptive_avg_pool2d(self.outside, grid).flatten(1)  # [B, N]
            self.leaks.append((share * added.float().square().mean(-1)).mean())
        return added


class Denoise:
    """The network's prediction with and without the identity; made by `style_attention`."""

    def __init__(self, predict: Predict, hooks: StyleTraining) -> None:
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
        hooks = self._hooks
        hooks.shown, hooks.outside, hooks.leaks = codes is not None, outside, []
        if codes is not None:
            hooks.tokens = hooks.adapter.tokens(codes)
        return self._predict(latents, time, text)

    def leak(self) -> Tensor:
        """Mean over sites of what the last call's blocks added outside the head; a scalar."""
        return torch.stack(self._hooks.leaks).mean()


@contextmanager
def style_attention(denoiser: Denoiser, adapter: StyleAdapter) -> Iterator[Denoise]:
    """Install the blocks into the network for training; on exit the network is as it was."""
    hooks = StyleTraining(adapter)
    with denoiser.attached(hooks) as predict:
        yield Denoise(predict, hooks)
