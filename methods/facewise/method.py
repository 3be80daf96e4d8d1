"""`facewise`: five pairs of key and value tokens per person, held to the face. SeFi-IDE, a reconstruction.

    tokens = G(v_person) in R^{5 x 2 x n x d},   s(t) = min(4, floor(5 t / 1000))
    K = W_K Text(y(P_s^K)),   V = W_V Text(y(P_s^V))       in every cross-attention
    L = ||target - U-Net(z_t, t, {K, V})||^2 + lambda * L_attn(A_t, A_r)

"Beyond Inserting" (arXiv 2402.00631). Found on the project page: the five pairs, one per stage, through the
frozen text encoder; different text for keys and for values; reference maps with the target's own queries;
lambda = .003. Reconstruction: the generator (see `generator`), the norm (see `loss`), rates and steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.facewise.config import Config
from methods.facewise.generator import TokenGenerator
from methods.facewise.info import INFO
from methods.facewise.loss import AttentionLoss
from methods.fitting.attachment import Spoken
from methods.fitting.denoising import Noising, denoising
from methods.fitting.method import FitMethod
from methods.fitting.optimise import Progress, optimise
from methods.fitting.photo import photo_latents
from methods.fitting.templates import Sentences
from methods.fitting.words import Placed, embedding_widths, encode, noun_embedding, place
from methods.hooks import Attachment, Identity

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class Facewise(FitMethod):
    """SeFi-IDE; tensors of a fit: `tokens` [pairs, 2, 1, C], for keys and for values."""

    info = INFO
    Config = Config

    def fit(
        self, identity: Identity, backbone: Backbone, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        config, text = self.config, backbone.text
        generators = self._generators(backbone)
        noun = noun_embedding(text)[None].split(embedding_widths(text), dim=-1)
        sentences = Sentences(backbone, 1)
        rng = torch.Generator().manual_seed(config.seed)
        noising = Noising(backbone, photo_latents(backbone, identity), rng)
        plain = zip(sentences.texts, sentences.placed, strict=True)
        reference = torch.stack([text.encode(one).hidden[placed.source] for one, placed in plain])
        watch = AttentionLoss(
            backbone,
            reference,
            reduction=config.reduction,
            layers=config.layers,
            precision=config.precision,
        )

        def tokens() -> Tensor:
            made = zip(generators, noun, strict=True)
            return torch.cat([generator(v) for generator, v in made], dim=-1)

        with denoising(backbone, watch if config.weight else Attachment(), config.precision) as denoise:

            def losses() -> dict[str, Tensor]:
                noisy, time, target = noising.draw(config.batch)
                chosen = sentences.choose(config.batch, rng)
                placed = [sentences.placed[number] for number in chosen]
                stage = stages_of(time, config.pairs)
                pairs = tokens()[stage]  # [B, 2, 1, C]
                key, value, pooled = _encode_pairs(backbone, placed, pairs, shared=config.shared)
                if config.weight:
                    watch.expect(chosen, self._columns(placed))
                terms = {"denoising": F.mse_loss(denoise(noisy, time, key, value, pooled), target)}
                if config.weight:
                    terms["attention"] = config.weight * watch.take()
                return terms

            groups = [{"params": list(generators.parameters()), "lr": config.rate}]
            log = optimise(groups, losses, steps=config.steps, progress=progress)
        with torch.no_grad():
            return {"tokens": _without_dropout(generators, tokens), **log}

    def start(self, identity: Identity, backbone: Backbone, rng: torch.Generator) -> dict[str, Tensor]:
        noun = noun_embedding(backbone.text)
        kinds = 1 if self.config.shared else 2
        noise = torch.randn(self.config.pairs, kinds, 1, len(noun), generator=rng).to(noun.device)
        return {"tokens": noun + noise.expand(-1, 2, -1, -1) * noun.std()}

    def speak(self, prompt: str, fitted: Mapping[str, Tensor], backbone: Backbone) -> Spoken | None:
        placed = place(backbone.text, prompt, 1)
        if placed is None:
            return None
        pairs = fitted["tokens"]
        prompts = [placed] * len(pairs)
        key, value, pooled = _encode_pairs(backbone, prompts, pairs, shared=self.config.shared)
        return Spoken(key, value, pooled, placed.source.to(backbone.device))

    def _generators(self, backbone: Backbone) -> torch.nn.ModuleList:
        """One per text encoder, in training mode, weights by the seed whatever the device."""
        torch.manual_seed(self.config.seed)
        made = [
            TokenGenerator(width, self.config.pairs, shared=self.config.shared)
            for width in embedding_widths(backbone.text)
        ]
        return torch.nn.ModuleList(made).to(backbone.device).train()

    def _columns(self, placed: list[Placed]) -> Tensor | None:
        """Tokens that the attention loss counts: bool [B, T], None for all."""
        if self.config.tokens == "all":
            return None
        columns = torch.zeros(len(placed), len(placed[0].source), dtype=torch.bool)
        for row, one in enumerate(placed):
            columns[row, one.at] = True
        return columns


def stages_of(time: Tensor, pairs: int) -> Tensor:
    """s(t) = min(S - 1, floor(S t)) of times float64 [B] in [0, 1] (see `stage_of`)."""
    return (time * pairs + 1e-9).long().clamp(max=pairs - 1)


def _encode_pairs(
    backbone: Backbone, prompts: list[Placed], pairs: Tensor, *, shared: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Text features for keys and for values [B, T, C], and the values' pooled ones; pairs [B, 2, 1, C]."""
    if shared:
        hidden, pooled = encode(backbone.text, prompts, pairs[:, 0])
        return hidden, hidden, pooled
    hidden, pooled = encode(backbone.text, prompts * 2, pairs.transpose(0, 1).flatten(0, 1))
    key, value = hidden.chunk(2)
    return key, value, None if pooled is None else pooled[len(prompts) :]


def _without_dropout(generators: torch.nn.Module, tokens: Callable[[], Tensor]) -> Tensor:
    generators.eval()
    return tokens()
