"""The equations of Infinite-ID's two streams (arXiv 2403.11781; second-hand, see the method card)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from methods.backbone.attention import KeyValue, attend
from methods.hooks import Job, Pass, RowLayout, Run, Site, StepInfo, Stream
from methods.infinite_id.adapter import InfiniteAdapter
from methods.infinite_id.text_stream import TextStream, TextStreams, text_key
from methods.site_adapter import AdapterAttention

if TYPE_CHECKING:
    from methods.infinite_id.config import Config

MAIN, TEXT = "main", "text"
Shift = Literal["mean", "full", "off"]


def adain_mean(x: Tensor, y: Tensor) -> Tensor:
    """AdaIN-m(x, y) = x - mu(x) + mu(y), mu per channel over tokens; [R, heads, N, d] -> the same."""
    return x + (y.mean(dim=2, keepdim=True) - x.mean(dim=2, keepdim=True))


def adain(x: Tensor, y: Tensor) -> Tensor:
    """AdaIN(x, y) = sigma(y) (x - mu(x)) / sigma(x) + mu(y): the paper's rejected alternative."""
    mu_x, mu_y = x.mean(dim=2, keepdim=True), y.mean(dim=2, keepdim=True)
    sigma_x, sigma_y = (z.std(dim=2, keepdim=True, correction=0) for z in (x, y))
    return (x - mu_x) * (sigma_y / (sigma_x + 1e-5)) + mu_y


def mix(own: Tensor, text: Tensor, shift: Shift) -> Tensor:
    """[A(x_id, x_t); x_t] for keys and for values: [R, heads, N, d] each -> [R, heads, 2 N, d]."""
    if shift == "mean":
        own = adain_mean(own, text)
    elif shift == "full":
        own = adain(own, text)
    return torch.cat([own, text], dim=2)


class TwoStreams(AdapterAttention[InfiniteAdapter]):
    """The identity stream (`main`, one trajectory per job) and the text stream that it reads.

    cross-attention, identity rows:  h <- h + alpha * Attn(Q, c_id W_k', c_id W_v')
    self-attention, identity rows:   Attn(Q_id, [A(K_id, K_t); K_t], [A(V_id, V_t); V_t])

    Text rows stay as they are: a doubled list of keys and values renormalises to the plain attention, and
    so do identity rows whose weight is zero at a step. Unconditional rows read unconditional text rows and
    the tokens of the unknown identity. Jobs with the same text share one trajectory of the text stream.

    tokens: c_id of each job [n, C], None for a job without identity
    null:   tokens of the unknown identity [n, C]
    kept:   text streams that may be denoised ahead; None lets them run as rows of the batch
    """

    def __init__(
        self,
        adapter: InfiniteAdapter,
        jobs: Sequence[Job],
        tokens: Sequence[Tensor | None],
        null: Tensor,
        config: Config,
        kept: TextStreams | None,
    ) -> None:
        super().__init__(adapter, jobs, tokens, null)
        self.config = config
        keys = [text_key(job) for job in jobs]
        distinct = list(dict.fromkeys(keys))
        self._text_jobs = [keys.index(key) for key in distinct]
        self._text_of = [distinct.index(key) for key in keys]
        self._kept = kept
        self._ahead: list[TextStream] = []
        self._index = 0
        self._pairs: Tensor | None = None
        self._idle: Tensor | None = None
        everybody = Stream(MAIN, tuple(range(len(jobs))))
        self.streams = (everybody,)
        if config.attention != "none":
            noise = 0 if config.shared_noise else 1
            self.streams = (everybody, Stream(TEXT, tuple(self._text_jobs), noise))

    def prepare(self, run: Run) -> None:
        """Denoise the text streams ahead, or find them kept; they then need no rows in this batch."""
        if self._kept is None or self.config.attention == "none":
            return
        self._ahead = [self._kept.get(self.jobs[place], run) for place in self._text_jobs]
        self.streams = self.streams[:1]

    def rows(self, step: Pass) -> RowLayout:
        """Those of the identity stream, which lies first."""
        return RowLayout(len(self.jobs), step.rows.guided)

    def on_step(self, step: StepInfo) -> None:
        """Weight alpha of every identity row at this step, [R_id, 1, 1]; None when there is none to add."""
        self._index = step.index
        super().on_step(step)
        if self.weight is None:
            return
        self._idle = None if all(self.weights(step)) else (self.weight == 0)[..., None]
        count = len(self._text_jobs)
        pairs = [half * count + place for half in range(step.rows.halves) for place in self._text_of]
        in_order = pairs == list(range(step.rows.halves * count))
        self._pairs = None if in_order else torch.tensor(pairs, device=self._null.device)

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        if self.weight is None:
            return None
        key, value = self.projected(site, step)
        added = self.weight * attend(query[: len(self.weight)], key, value)
        rest = len(query) - len(added)
        return added if rest == 0 else torch.cat([added, output.new_zeros(rest, *added.shape[1:])])

    def keys_values(self, site: Site, step: Pass, query: Tensor, key: Tensor, value: Tensor) -> KeyValue:
        if self.weight is None or self.config.attention == "none":
            return key, value
        text_keys, text_values = self._of_text(site, step.rows, key, value)
        identity = slice(0, len(self.weight))
        key_t, value_t = self._paired(text_keys, key[identity]), self._paired(text_values, value[identity])
        if self.config.attention == "mutual":
            return torch.cat([key_t, key[identity.stop :]]), torch.cat([value_t, value[identity.stop :]])
        shift = self.config.adain
        mixed = mix(key[identity], key_t, shift), mix(value[identity], value_t, shift)
        if len(key) == identity.stop:
            return mixed
        plain = [torch.cat([rows[identity.stop :]] * 2, dim=2) for rows in (key, value)]
        return torch.cat([mixed[0], plain[0]]), torch.cat([mixed[1], plain[1]])

    def _of_text(self, site: Site, rows: RowLayout, key: Tensor, value: Tensor) -> KeyValue:
        """K_t and V_t of all text trajectories, [H * T, heads, N, d]: unconditional ones first."""
        if not self._ahead:
            start = rows.halves * len(self.jobs)
            return key[start:], value[start:]
        found = [stream.read(self._index, site) for stream in self._ahead]
        if len(found) == 1:
            return found[0]
        keys, values = (torch.stack([pair[which] for pair in found], dim=1) for which in (0, 1))
        return keys.flatten(0, 1), values.flatten(0, 1)

    def _paired(self, text: Tensor, own: Tensor) -> Tensor:
        """The text row that each identity row reads; an idle row reads itself."""
        paired = text if self._pairs is None else text[self._pairs]
        return paired if self._idle is None else torch.where(self._idle, own, paired)
