"""`id-ea`: two tokens that start at the celebrities and know the face embedding, 320 steps per person.

    E_0 = Text(BOS, c_1, c_2, EOS)[1:3],   f = W_f W MHA(W_q W_a a, W_kv E_0)
    y' = y + beta tanh(gamma) MHA([y; f])[:T],   K = (W_K + dW_K) y',   V = (W_V + dW_V) y'
    L = ||target - U-Net(z_t, t, y')||^2 + w R(V - E_0)

ID-EA (arXiv 2507.11990). The equations are those of the public code. Mode `paper` trains and applies all of
it, as the abstract says (reconstruction); mode `release` does what the code does: only tokens and ID-Adapter
are in the optimizer, behind an ID-Enhancer that stays random, and a picture is made with the tokens alone.
The face embedding is the face pack's, of the aligned face; the released script resizes the whole photograph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbone.device import seeded
from methods.errors import UsageError
from methods.fitting.attachment import Spoken, WordAttachment
from methods.fitting.celebrities import celebrity_names
from methods.fitting.denoising import Noising, denoising
from methods.fitting.method import FitMethod
from methods.fitting.optimise import Progress, optimise
from methods.fitting.photo import photo_latents
from methods.fitting.templates import Sentences
from methods.fitting.words import celebrity_anchor, encode, noun_embedding, place
from methods.hooks import Attachment, Identity, Job
from methods.id_ea.config import Config
from methods.id_ea.info import INFO
from methods.id_ea.keys_values import KeyValueDeltas, TunedText, TunedWordAttachment
from methods.id_ea.modules import Adapter, Enhancer
from methods.id_ea.regulariser import Regulariser
from methods.provenance import named_file
from methods.weights import fill_module, fingerprint_tensors

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


class IDEA(FitMethod):
    """ID-EA; tensors of a fit: `word` [2, C]; in mode paper also `enhanced` [2, 2C], `adapter.*` and `kv.*`.

    `enhanced` is E_f: after the fit the ID-Enhancer's answer to this identity is a constant.
    """

    info = INFO
    Config = Config
    rows = 2
    keep_noun = True

    def record(self) -> dict[str, Any]:
        """The list of celebrities by its content."""
        names = self.config.celebrities
        return {} if names is None else {"celebrities": named_file(names)}

    def fit(
        self, identity: Identity, backbone: Backbone, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        if identity.embedding is None:
            raise UsageError(f"{identity.name} has no face embedding.", hint="Give a picture with a face.")
        config, text = self.config, backbone.text
        face = identity.embedding.clone().to(backbone.device, torch.float32)
        anchor = celebrity_anchor(text, celebrity_names(config.celebrities, backbone))
        word = nn.Parameter(anchor.clone())
        enhancer, adapter = self._modules(len(face), backbone)
        deltas = KeyValueDeltas(backbone)
        kind, weight = config.regularisation()
        distance = Regulariser(kind, anchor)
        sentences = Sentences(backbone, self.rows, keep_noun=True)
        rng = torch.Generator().manual_seed(config.seed)
        latents = photo_latents(backbone, identity, flipped=config.mirror)
        noising = Noising(backbone, latents, rng)

        modules = list(adapter.parameters())
        groups: list[dict[str, Any]] = [{"params": [word], "lr": config.rate}]
        if config.mode == "paper":
            modules += enhancer.parameters()
            groups.append({"params": list(deltas.parameters()), "lr": config.kv_rate})
        else:
            enhancer.requires_grad_(False)
        groups.append({"params": modules, "lr": config.rate_of_modules()})

        hooks = TunedText(dict(deltas.items())) if config.mode == "paper" else Attachment()
        with denoising(backbone, hooks, config.precision) as denoise:

            def losses() -> dict[str, Tensor]:
                noisy, time, target = noising.draw(config.batch)
                hidden, pooled = encode(text, sentences.draw(config.batch, rng), word[None])
                hidden = adapter(hidden.float(), enhancer(face, anchor))
                predicted = denoise(noisy, time, hidden, hidden, pooled)
                return {"denoising": F.mse_loss(predicted, target), "distance": weight * distance(word)}

            log = optimise(groups, losses, steps=config.steps, progress=progress, eps=1e-7)
        if config.mode == "release":
            return {"word": word, **log}
        with torch.no_grad():
            enhanced = enhancer(face, anchor)
        return {"word": word, "enhanced": enhanced, **_state(adapter, deltas), **log}

    def start(self, identity: Identity, backbone: Backbone, rng: torch.Generator) -> dict[str, Tensor]:
        noun = noun_embedding(backbone.text)
        word = noun + torch.randn(2, len(noun), generator=rng).to(noun.device) * noun.std()
        if self.config.mode == "release":
            return {"word": word}
        _, adapter = self._modules(1, backbone)
        adapter.gamma.fill_(0.5)
        deltas = KeyValueDeltas(backbone)
        for name in sorted(deltas):
            shape = deltas[name].shape
            deltas[name].copy_(torch.randn(shape, generator=rng) * 0.1 / shape[1] ** 0.5)
        enhanced = torch.randn(2, 2 * len(noun), generator=rng).to(noun.device)
        return {"word": word, "enhanced": enhanced, **_state(adapter, deltas)}

    def speak(self, prompt: str, fitted: Mapping[str, Tensor], backbone: Backbone) -> Spoken | None:
        placed = place(backbone.text, prompt, self.rows, keep_noun=True)
        if placed is None:
            return None
        hidden, pooled = encode(backbone.text, [placed], fitted["word"][None])
        if "enhanced" in fitted:
            with torch.device("meta"):
                adapter = Adapter(backbone.context_width)
            own = {
                name.removeprefix("adapter."): fitted[name] for name in fitted if name.startswith("adapter.")
            }
            fill_module(adapter, own, "The kept fit of ID-EA", hint="Fit again with --refit.")
            hidden = adapter(hidden.float(), fitted["enhanced"].float()).to(hidden.dtype)
        return Spoken(hidden, hidden, pooled, placed.source.to(backbone.device))

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        spoken = self.spoken(jobs, backbone)
        if self.config.mode == "release":
            return WordAttachment(jobs, spoken)
        return TunedWordAttachment(jobs, spoken, [self._deltas(job, backbone) for job in jobs])

    def fit_inputs(self, identity: Identity, backbone: Backbone) -> Mapping[str, Any]:
        return {
            "names": celebrity_names(self.config.celebrities, backbone),
            "face_encoder": None if identity.encoder is None else identity.encoder.fingerprint,
            "embedding": None
            if identity.embedding is None
            else fingerprint_tensors({"embedding": identity.embedding}),
        }

    def _modules(self, embedding: int, backbone: Backbone) -> tuple[Enhancer, Adapter]:
        """Fresh modules by the seed, the same on every device."""
        with seeded(self.config.seed):
            enhancer = Enhancer(embedding, backbone.context_width)
            adapter = Adapter(backbone.context_width)
        return enhancer.to(backbone.device), adapter.to(backbone.device)

    def _deltas(self, job: Job, backbone: Backbone) -> Mapping[str, Tensor] | None:
        if job.identity is None or not job.id_weight:
            return None
        fitted = self.tokens(job.identity, backbone)
        return {name.removeprefix("kv."): fitted[name] for name in fitted if name.startswith("kv.")}


def _state(adapter: Adapter, deltas: KeyValueDeltas) -> dict[str, Tensor]:
    """Trained weights by name. The additions to keys and values, the bulk of it, in half precision."""
    own = {f"adapter.{name}": value.detach() for name, value in adapter.state_dict().items()}
    half = {f"kv.{name}": value.detach().to(torch.float16) for name, value in sorted(deltas.items())}
    return own | half
