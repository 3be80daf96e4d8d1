"""What the loop, the fits and the trainings may ask of a network: the protocol that every family fulfils."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from methods.backbone.attention import ColumnCapture
    from methods.hooks import Attachment, Conditioning, Pass, Site

Hook = Literal["image_attention", "keys_values", "text_keys_values", "reads_text", "after_block"]


class Projections(NamedTuple):
    """The linear layers of a site: what adapters copy, low-rank additions change and losses read by.

    q [width, C], k and v [width, context_width or C] of the picture's stream (of the text at `cross` sites),
    out [C, width]
    """

    q: nn.Linear
    k: nn.Linear
    v: nn.Linear
    out: nn.Linear


class Predict(Protocol):
    """One call of the network, hooks included; sampling, fits and trainings make the same."""

    def __call__(
        self, x: Tensor, time: float | Tensor, text: Conditioning, step: Pass | None = None
    ) -> Tensor:
        """The prediction [R, C, h, w] in the network's dtype, which `noise` knows how to read.

        x:    noised latents [R, C, h, w] in the network's dtype, scaled as the sampler says
        time: `Level.time` of all rows, or `Noised.time`: float64 [R] on the CPU
        text: features of every row
        step: rows, grid and guidance; None, as trainings have it: one row per sample, none of them guided

        Differentiable where gradients are enabled (nothing is cached then).
        """
        ...


class Denoiser(Protocol):
    """A frozen network: U-Net or transformer.

    sites:    all attention layers; `Site.index` is a place in this order
    hooks:    which hooks of an `Attachment` it calls, and `reads_text` where text can be switched off
    guidance: `rows`: guidance needs an unconditional row for each conditional one;
              `embedded`: its scale is an input (`Pass.guidance`); `none`: it takes none
    multiple: width and height of a picture, in pixels, are multiples of this
    """

    sites: tuple[Site, ...]
    hooks: frozenset[Hook]
    guidance: Literal["rows", "embedded", "none"]
    multiple: int

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture of so many pixels."""
        ...

    def projections(self, site: Site) -> Projections:
        """The linear layers of a site."""
        ...

    def modules(self) -> tuple[nn.Module, ...]:
        """The modules whose weights must lie on the device while the network works."""
        ...

    def compile(self, **options: Any) -> None:
        """Compile the repeated blocks, for good; options as `torch.compile` takes them."""
        ...

    def attached(
        self, hooks: Attachment, capture: ColumnCapture | None = None
    ) -> AbstractContextManager[Predict]:
        """The network with hooks at work; on exit it is bit for bit what it was.

        capture: columns of the text's attention to watch, where sites are `cross`
        """
        ...
