"""What limits a learned word: the text features themselves fitted, with no text encoder before them.

    c'_j = c_j + f_j,   j in places;   L = ||target - U-Net(z_t, t, c')||^2

Not a method, but a bound for those that learn one word for all noise levels by the same loss. Features at the
word's own place (`word`) are free of what the text encoder can say there; features at every place (`all`)
show what the frozen U-Net can be made to draw, photograph and all, whatever the prompt says. For backbones
without pooled text features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.config import Batch, Count, Positive, Precision, Seed, options
from methods.contract import MethodInfo
from methods.fitting.attachment import Spoken
from methods.fitting.denoising import Noising, denoising
from methods.fitting.method import FitMethod
from methods.fitting.optimise import Progress, optimise
from methods.fitting.photo import photo_latents
from methods.fitting.templates import Sentences
from methods.fitting.words import Placed, place
from methods.hooks import Attachment, Identity

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

INFO = MethodInfo(
    name="free-features",
    title="Fitted text features",
    paper="no method: a bound for methods that learn a word",
    kind="fit",
    status="reconstruction",
    licence="Apache-2.0",
    summary="Text features of a neutral sentence, fitted to one photograph without the text encoder.",
    needs=("reference picture", "a fit per identity"),
    equations="c'_j = c_j + f_j,   j in places",
)


@options
class Config:
    """Options of the bound.

    places:             `word`: where the word stands; `all`: every place, padding included
    steps, batch, rate: of AdamW on the features
    precision:          as for the methods that learn a word
    seed:               of noise, noise levels and sentences
    """

    places: Literal["word", "all"] = "word"
    steps: Count = 600
    batch: Batch = 8
    rate: Positive = 1e-2
    precision: Precision = "auto"
    seed: Seed = 0


class FreeFeatures(FitMethod):
    """Tensors of a fit: `features` [1, C] at the word's place, or [T, C] at all places."""

    info = INFO
    Config = Config

    def fit(
        self, identity: Identity, backbone: Backbone, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        config = self.config
        sentences = Sentences(backbone, 1)
        plain = torch.stack([backbone.text.encode(one).hidden for one in sentences.texts]).float()
        features = torch.nn.Parameter(torch.zeros_like(plain[0] if config.places == "all" else plain[0, :1]))
        rng = torch.Generator().manual_seed(config.seed)
        noising = Noising(backbone, photo_latents(backbone, identity), rng)

        with denoising(backbone, Attachment(), config.precision) as denoise:

            def losses() -> dict[str, Tensor]:
                noisy, time, target = noising.draw(config.batch)
                chosen = sentences.choose(config.batch, rng)
                hidden = torch.stack(
                    [self._add(plain[one], sentences.placed[one], features) for one in chosen]
                )
                return {"denoising": F.mse_loss(denoise(noisy, time, hidden, hidden, None), target)}

            groups = [{"params": [features], "lr": config.rate}]
            log = optimise(groups, losses, steps=config.steps, progress=progress)
        return {"features": features, **log}

    def start(self, identity: Identity, backbone: Backbone, rng: torch.Generator) -> dict[str, Tensor]:
        hidden = backbone.text.encode("").hidden
        shape = hidden.shape if self.config.places == "all" else (1, hidden.shape[-1])
        return {"features": torch.randn(shape, generator=rng).to(hidden.device)}

    def speak(self, prompt: str, fitted: Mapping[str, Tensor], backbone: Backbone) -> Spoken | None:
        placed = place(backbone.text, prompt, 1)
        if placed is None:
            return None
        said = prompt if self.config.places == "word" else Sentences(backbone, 1).texts[0]
        plain = backbone.text.encode(said).hidden
        hidden = self._add(plain, placed, fitted["features"].to(plain.dtype))[None]
        return Spoken(hidden, hidden, None, placed.source.to(backbone.device))

    def _add(self, plain: Tensor, placed: Placed, features: Tensor) -> Tensor:
        """Text features [T, C] of a sentence with the fitted ones added where they belong."""
        if self.config.places == "all":
            return plain + features
        return plain.index_put((placed.at,), features, accumulate=True)  # at every "person" the same
