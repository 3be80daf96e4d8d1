"""What adapters of attention sites share: their modules, the attention over their tokens, and its training.

    tokens Z of an identity  ->  K' = Z W_k', V' = Z W_v' at a site  ->  what its image tokens get of it

`methods.adapters` has the files and the method around such an adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from methods.adapters import OTHER_BACKBONE, check_text_width
from methods.backbone.attention import KeyValue, attend, split_heads
from methods.backbone.backbone import text_width
from methods.hooks import Attachment, Job, Pass, RowLayout, Site, StepInfo
from methods.weights import fill_module

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.denoiser import Denoiser

SiteT = TypeVar("SiteT", bound=nn.Module)
AdapterT = TypeVar("AdapterT", bound="SiteAdapter[Any]")


class SiteAdapter(nn.Module, Generic[SiteT]):
    """Tokens of identities, and one module at every site that reads them: ordinary and differentiable.

    The names in its `state_dict` are a public layout, which says how a subclass calls its parts:

    part:   the attribute that holds the modules of sites, by `str(site.index)`
    layers: projection of the text -> the layer of a site's module that starts as its copy; at least k and v
    """

    part: ClassVar[str]
    layers: ClassVar[Mapping[str, str]]

    def at(self, site: Site) -> SiteT:
        """What one site owns."""
        return cast(SiteT, getattr(self, self.part)[str(site.index)])

    def keys_values(self, site: Site, tokens: Tensor) -> KeyValue:
        """Z W_k', Z W_v' at a site: [R, heads, n, head_dim] each from tokens [R, n, C]."""
        own = self.at(site)
        key, value = (getattr(own, self.layers[name])(tokens) for name in ("k", "v"))
        return split_heads(key, site.heads), split_heads(value, site.heads)

    @torch.no_grad()
    def start_at_text(self, denoiser: Denoiser) -> Self:
        """Itself, with the layers of `cross` sites as copies of the text's.

        At joint sites, where text comes already projected, tokens and keys differ in width.
        """
        for site in denoiser.sites:
            if site.kind == "cross":
                text, own = denoiser.projections(site), self.at(site)
                for projection, layer in self.layers.items():
                    getattr(own, layer).weight.copy_(getattr(text, projection).weight)
        return self

    @classmethod
    def rebuilt(
        cls, state: Mapping[str, Tensor], sites: Sequence[Site], source: str, *, context: int, **sizes: Any
    ) -> Self:
        """The adapter of a state dict, made with `sizes`; every key is accounted for.

        context: width of the text features that it reads
        Raises WeightsError, naming `source`, for another backbone's shapes, and missing or unknown keys.
        """
        check_text_width(context, text_width(sites), source)
        with torch.device("meta"):
            empty = cls(sites, **sizes)
        return fill_module(empty, state, source, hint=OTHER_BACKBONE)


class AdapterAttention(Attachment, Generic[AdapterT]):
    """A batch under an adapter: each row's tokens and weight, and keys and values, projected once per site.

    tokens: of each job [n, C], None for a job without identity
    null:   of nobody [n, C]: what the unconditional rows see
    weight: alpha of every row at this step, [R, 1, 1]; None when no row has an identity to add
    """

    def __init__(
        self, adapter: AdapterT, jobs: Sequence[Job], tokens: Sequence[Tensor | None], null: Tensor
    ) -> None:
        self.adapter = adapter
        self.jobs = jobs
        self.weight: Tensor | None = None
        self._tokens = [null if own is None else own for own in tokens]
        self._null = null
        self._projected: dict[int, KeyValue] = {}
        self._of_pass: dict[str | None, dict[int, KeyValue]] = {}
        self._whole: Tensor | None = None

    def rows(self, step: Pass) -> RowLayout:
        """The rows that read tokens: all of the batch, unless a method says otherwise."""
        return step.rows

    def weights(self, step: StepInfo) -> list[float]:
        """alpha of every job at a step."""
        return [job.id_weight_at(step) for job in self.jobs]

    def on_step(self, step: StepInfo) -> None:
        self.weight = self._whole = row_weights(self.weights(step), self.rows(step), self._null)

    def on_pass(self, step: Pass) -> None:
        if self._whole is not None:
            self.weight = step.rows.cut(self._whole)
        self._projected = self._of_pass.setdefault(step.rows.half, {})

    def projected(self, site: Site, step: Pass) -> KeyValue:
        """K' and V' of every row at a site."""
        if site.index not in self._projected:
            tokens = torch.stack(self.rows(step).per_row(self._tokens, uncond=self._null))  # [R, n, C]
            self._projected[site.index] = self.adapter.keys_values(site, tokens)
        return self._projected[site.index]


class TrainingAttention(Attachment, Generic[AdapterT]):
    """h <- (h_text, if it is read) + Attn(Q, Z W_k', Z W_v') at full weight: what a training learns through.

    tokens: Z [B, n, C] of the samples, to be set before the network is called
    """

    tokens: Tensor

    def __init__(self, adapter: AdapterT, *, reads_text: bool = True) -> None:
        self.adapter = adapter
        self.reads_text = reads_text

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        key, value = self.adapter.keys_values(site, self.tokens)
        return attend(query, key.to(query.dtype), value.to(query.dtype))


def row_weights(weights: Sequence[float], rows: RowLayout, like: Tensor) -> Tensor | None:
    """alpha of every row, [R, 1, 1] as `like` is, of one number per job; None when all are zero."""
    if not any(weights):
        return None
    return torch.tensor(rows.per_row(weights), device=like.device, dtype=like.dtype).view(-1, 1, 1)
