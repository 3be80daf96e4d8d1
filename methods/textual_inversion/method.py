"""`textual-inversion`: one word per person, learned by denoising the photograph.

    v* = argmin_v  E_{t, eps} || target - U-Net(z_t, t, Text(y(v))) ||^2

with y(v) a neutral sentence whose word "person" has the embedding rows v. Textual Inversion
(arXiv 2208.01618), and as an option the start of Cross Initialization (arXiv 2312.15905).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.fitting.attachment import Spoken
from methods.fitting.celebrities import celebrity_names
from methods.fitting.denoising import Noising, denoising
from methods.fitting.method import FitMethod, identity_key
from methods.fitting.optimise import Progress, optimise
from methods.fitting.photo import photo_latents
from methods.fitting.templates import Sentences
from methods.fitting.words import celebrity_anchor, embedding_widths, encode, noun_embedding, place
from methods.hooks import Attachment, Identity
from methods.provenance import named_file
from methods.textual_inversion.config import Config
from methods.textual_inversion.files import read_embedding
from methods.textual_inversion.info import INFO

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone


class TextualInversion(FitMethod):
    """A learned word for every identity; tensors of a fit: `word` [n, C]."""

    info = INFO
    Config = Config

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.keep_noun = self.config.init == "celebrity"
        self.rows = 2 if self.keep_noun else self.config.rows
        self._given: Tensor | None = None

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """As `FitMethod.load`; `folder` may also be a file of A1111 or diffusers with a word for everybody.

        Nothing is fitted then. Raises WeightsError for a file made for other text encoders.
        """
        if folder is None or not Path(folder).is_file():
            return super().load(folder, backbone, config)
        method = super().load(None, backbone, config)
        method._given = read_embedding(folder, embedding_widths(backbone.text))
        method.keep_noun, method.rows = False, len(method._given)
        return method

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        if self._given is not None:
            self._loaded.setdefault(identity_key(identity), {"word": self._given})
        return super().encode(identity, backbone)

    def knows(self, identity: Identity, backbone: Backbone) -> bool:
        return self._given is not None or super().knows(identity, backbone)

    def record(self) -> dict[str, Any]:
        """The list of celebrities by its content."""
        names = self.config.celebrities
        return {} if names is None else {"celebrities": named_file(names)}

    def fit(
        self, identity: Identity, backbone: Backbone, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        config = self.config
        initial = self.initial(backbone)
        word = nn.Parameter(initial.clone())
        sentences = Sentences(backbone, self.rows, keep_noun=self.keep_noun)
        rng = torch.Generator().manual_seed(config.seed)
        noising = Noising(backbone, photo_latents(backbone, identity), rng)

        with denoising(backbone, Attachment(), config.precision) as denoise:

            def losses() -> dict[str, Tensor]:
                noisy, time, target = noising.draw(config.batch)
                hidden, pooled = encode(backbone.text, sentences.draw(config.batch, rng), word[None])
                predicted = denoise(noisy, time, hidden, hidden, pooled)
                terms = {"denoising": F.mse_loss(predicted, target)}
                if config.anchor:
                    terms["anchor"] = config.anchor * (word - initial).square().sum(-1).mean()
                return terms

            groups = [{"params": [word], "lr": config.rate}]
            log = optimise(groups, losses, steps=config.steps, progress=progress)
        return {"word": word, **log}

    def start(self, identity: Identity, backbone: Backbone, rng: torch.Generator) -> dict[str, Tensor]:
        noun = noun_embedding(backbone.text)
        noise = torch.randn(self.rows, len(noun), generator=rng).to(noun.device)
        return {"word": noun + noise * noun.std()}

    def speak(self, prompt: str, fitted: Mapping[str, Tensor], backbone: Backbone) -> Spoken | None:
        word = fitted["word"]
        placed = place(backbone.text, prompt, self.rows, keep_noun=self.keep_noun)
        if placed is None:
            return None
        hidden, pooled = encode(backbone.text, [placed], word[None])
        return Spoken(hidden, hidden, pooled, placed.source.to(backbone.device))

    def fit_inputs(self, identity: Identity, backbone: Backbone) -> Mapping[str, Any]:
        if self.config.init == "word":
            return {}
        return {"names": celebrity_names(self.config.celebrities, backbone)}

    def initial(self, backbone: Backbone) -> Tensor:
        """Rows before the first step: float32 [n, C]."""
        if self.config.init == "celebrity":
            names = celebrity_names(self.config.celebrities, backbone)
            return celebrity_anchor(backbone.text, names)
        return noun_embedding(backbone.text).repeat(self.config.rows, 1)
