"""PuLID at work: after chosen blocks, image tokens read the identity's tokens.

    h <- h + alpha * W_o R,    R = softmax(Q K^T / sqrt(d)) V,    Q = LN(h) W_q

K and V of an identity never change: they are handed in. Nothing of the backbone is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from methods.backbone.attention import attend
from methods.hooks import Attachment, Job, Pass, RowLayout, Site, StepInfo
from methods.pulid.adapter import PulidAdapter
from methods.site_adapter import row_weights

KeysValues = tuple[Tensor, Tensor]
"""K and V of one identity at every attention: [S, heads, n, d] each."""


class TokenReading(Attachment):
    """The attentions with keys and values of every row, at full weight: what training learns through.

    keys, values: [S, R, heads, n, d], to be set before the network is called
    """

    keys: Tensor
    values: Tensor

    def __init__(self, adapter: PulidAdapter) -> None:
        self.adapter = adapter

    def after_block(self, site: Site, step: Pass, hidden: Tensor) -> Tensor | None:
        number = self.adapter.places.get(site.index)
        return None if number is None else self.read(number, hidden)

    def read(self, number: int, hidden: Tensor) -> Tensor:
        """CA(z, h) of an attention at full weight, [R, N, C]."""
        return self.project(number, self.response(number, hidden))

    def response(self, number: int, hidden: Tensor) -> Tensor:
        """R [R, N, heads * d], heads concatenated, before its output projection."""
        return attend(self.adapter.query(number, hidden), self.keys[number], self.values[number])

    def project(self, number: int, response: Tensor) -> Tensor:
        """W_o R, [R, N, C]."""
        projected: Tensor = self.adapter.attention(number).to_out(response)
        return projected


class PulidAttention(TokenReading):
    """Adds alpha * CA(z, h) to the image tokens of every row.

    Methods that inject the same attention differently override `after_block`.

    identities: K and V of each job's identity, None for a job without one
    null:       of the unconditional identity: what the unconditional rows read
    start_step: steps at the beginning at which nobody is let in
    guided_from: see `Attachment`
    """

    def __init__(
        self,
        adapter: PulidAdapter,
        jobs: Sequence[Job],
        identities: Sequence[KeysValues | None],
        null: KeysValues,
        start_step: int = 0,
        guided_from: int = 0,
    ) -> None:
        super().__init__(adapter)
        self.jobs = jobs
        self.weight: Tensor | None = None
        self._identities = [null if own is None else own for own in identities]
        self._null = null
        self._start = start_step
        self._rows: RowLayout | None = None
        self._whole: Tensor | None = None
        self._all: KeysValues
        self.guided_from = guided_from

    def weights(self, step: StepInfo) -> list[float]:
        """alpha of every job at a step."""
        return [job.id_weight_at(step) if step.index >= self._start else 0.0 for job in self.jobs]

    def on_step(self, step: StepInfo) -> None:
        """Weight alpha of every row, [R, 1, 1]; None when nobody is to be added."""
        self.weight = self._whole = row_weights(self.weights(step), step.rows, self._null[0])
        if self.weight is not None and self._rows != step.rows:
            self._rows = step.rows
            rows = step.rows.per_row(self._identities, self._null)
            self.keys = torch.stack([key for key, _ in rows], dim=1)
            self.values = torch.stack([value for _, value in rows], dim=1)
            self._all = self.keys, self.values

    def on_pass(self, step: Pass) -> None:
        if self._whole is None:
            return
        rows = step.rows
        self.weight = rows.cut(self._whole)
        self.keys, self.values = (rows.cut(one, dim=1) for one in self._all)

    def after_block(self, site: Site, step: Pass, hidden: Tensor) -> Tensor | None:
        number = self.adapter.places.get(site.index)
        if self.weight is None or number is None:
            return None
        return self.weight * self.read(number, hidden)


def keys_values_of(tokens: Mapping[str, Tensor]) -> KeysValues:
    """K and V among a person's tokens, as `Pulid.encode` gives them."""
    return tokens["keys"], tokens["values"]
