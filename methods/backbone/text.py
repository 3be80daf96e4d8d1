"""Prompts to text features, as diffusers' pipelines encode them."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from methods.backbone.device import Placement
from methods.hooks import Conditioning, Job, RowLayout

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_REMEMBERED = 256  # encodings kept per backbone; one of SDXL takes 0.3 MB


class TextFeatures(NamedTuple):
    """One encoded prompt: hidden [T, C], pooled [P] or None, and what did not fit into T tokens."""

    hidden: Tensor
    pooled: Tensor | None
    truncated: str


class TextEncoder(ABC):
    """Prompts to features: what the loop, the methods and the trainings may ask of a pipeline's encoders.

    Every prompt is encoded alone and remembered, so its features do not depend on its company in a batch.

    offers:    what methods may need of it: `insert_tokens`, learned words among the tokens of a prompt
    placement: where the encoders lie
    again:     loads the encoders once more; None where they are to stay
    zero_empty_negative: an empty negative prompt is all zeros (SDXL's `force_zeros_for_empty_prompt`)
    """

    offers: frozenset[str] = frozenset()

    def __init__(
        self,
        models: Sequence[nn.Module],
        placement: Placement,
        *,
        again: Callable[[], Sequence[nn.Module]] | None = None,
        zero_empty_negative: bool = False,
    ) -> None:
        self.loaded = tuple(models)
        self.placement = placement
        self.zero_empty_negative = zero_empty_negative
        self._again = again
        self._room = _REMEMBERED
        self._known: OrderedDict[str, TextFeatures] = OrderedDict()

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """The encoders, loaded again where they were let go; `loaded` are those in memory."""
        if not self.loaded and self._again is not None:
            self.loaded = tuple(self._again())
            for model in self.loaded:
                model.requires_grad_(False).eval()
                if not self.placement.offload:
                    model.to(self.device)
        return self.loaded

    def let_go(self, prompts: Collection[str]) -> bool:
        """Encode all that will be asked for, then give the memory of the encoders back: 9.5 GB of FLUX's T5.

        They stay where they cannot be loaded again, and where the features would take more than they do. What
        is asked for later and not among `prompts` loads them again. Returns whether they are gone.
        """
        if self._again is None or not self.loaded or not prompts:
            return not self.loaded
        weights = sum(tensor.nbytes for model in self.loaded for tensor in model.state_dict().values())
        first, *others = dict.fromkeys(prompts)
        hidden, pooled, _ = self.encode(first)
        each = hidden.nbytes + (0 if pooled is None else pooled.nbytes)
        if each * (1 + len(others)) >= weights:
            return False
        self._room = _REMEMBERED + len(prompts)
        for prompt in others:
            self.encode(prompt)
        self.loaded = ()
        gc.collect()  # parts of a model know each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.placement.device

    @abstractmethod
    def _encode(self, prompt: str) -> TextFeatures:
        """Features of one prompt, computed."""

    @abstractmethod
    def encode_batch(self, prompts: Sequence[str]) -> Conditioning:
        """Features of prompts in one pass, key and value [B, T, C] (the same tensor), pooled [B, P] or None.

        Without gradients. An empty prompt gives what the network was trained to drop to.
        """

    @abstractmethod
    def overflow(self, prompt: str) -> str:
        """The words of a prompt that do not fit into T tokens; "" where all do. Runs no encoder."""

    @abstractmethod
    def token_positions(self, prompt: str, word: str) -> list[int]:
        """Places in T of the first occurrence of a word (or words) among the tokens; [] if absent."""

    def encode(self, prompt: str) -> TextFeatures:
        """Features of one prompt, on the device; plain tensors also inside `torch.inference_mode`."""
        if prompt in self._known:
            self._known.move_to_end(prompt)
            return self._known[prompt]
        with torch.inference_mode(False), torch.no_grad():
            features = self._encode(prompt)
        self._known[prompt] = features
        if len(self._known) > self._room:
            self._known.popitem(last=False)
        return features

    def encode_negative(self, prompt: str) -> TextFeatures:
        """Features of one negative prompt; the empty one is what the pipeline was trained to drop to."""
        features = self.encode(prompt)
        if prompt or not self.zero_empty_negative:
            return features
        hidden, pooled, _ = features
        return TextFeatures(
            torch.zeros_like(hidden), None if pooled is None else torch.zeros_like(pooled), ""
        )

    def conditioning(self, jobs: Sequence[Job], rows: RowLayout) -> Conditioning:
        """Features of every row of a batch: of every stream the negative prompts, then the prompts."""
        features: list[TextFeatures] = []
        for stream in rows.members:
            followed = [jobs[place] for place in stream.jobs]
            if rows.guided:
                features += [self.encode_negative(job.negative_prompt) for job in followed]
            features += [self.encode(job.prompt) for job in followed]
        hidden = torch.stack([one.hidden for one in features])
        pooled = [one.pooled for one in features if one.pooled is not None]
        return Conditioning(key=hidden, value=hidden, pooled=torch.stack(pooled) if pooled else None)


class TokenEncoder(TextEncoder):
    """Encoders that read tokens, so that a learned word can stand among them.

    tokenizers: one for each encoder; lengths: tokens that each pads or cuts a prompt to. The features' places
                are those of the last one's tokens
    """

    offers = frozenset({"insert_tokens"})
    tokenizers: tuple[Any, ...]

    @property
    @abstractmethod
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each tokenizer."""

    @abstractmethod
    def forward(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Run the encoders on token ids, one tensor per tokenizer, with gradients where enabled.

        Returns hidden [B, T, C] and pooled [B, P] or None.
        """


class ClipEncoder(TokenEncoder):
    """CLIP's: one pair of tokenizer and encoder for SD 1.x and 2.x, two for SDXL."""

    def __init__(
        self,
        tokenizers: Sequence[CLIPTokenizer],
        models: Sequence[nn.Module],
        placement: Placement,
        *,
        again: Callable[[], Sequence[nn.Module]] | None = None,
        zero_empty_negative: bool = False,
    ) -> None:
        super().__init__(models, placement, again=again, zero_empty_negative=zero_empty_negative)
        self.tokenizers = tuple(tokenizers)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(tokenizer.model_max_length for tokenizer in self.tokenizers)

    def token_positions(self, prompt: str, word: str) -> list[int]:
        """Places of the first occurrence of a word (or words) among the tokens of a prompt; [] if absent.

        Place 0 is the begin token. The same for both tokenizers of SDXL, which share their vocabulary.
        """
        ids = self.tokenizers[0](prompt).input_ids
        wanted = self.tokenizers[0](word, add_special_tokens=False).input_ids
        for start in range(1, len(ids) - len(wanted) + 1):
            if ids[start : start + len(wanted)] == wanted:
                return list(range(start, start + len(wanted)))
        return []

    def token_ids(self, prompts: Sequence[str]) -> list[Tensor]:
        """Token ids of prompts, int64 [B, T] for each tokenizer: padded to T, cut where they are longer."""
        return [
            tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids
            for tokenizer in self.tokenizers
        ]

    def forward(self, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Run the encoders on token ids [B, T], one tensor per tokenizer, with gradients where enabled.

        Returns hidden [B, T, C] and pooled [B, P] (SDXL) or None.
        """
        hidden: list[Tensor] = []
        pooled = None
        for own, model in zip(ids, self.models, strict=True):
            with self.placement.resident(model):
                output = model(own.to(self.device), output_hidden_states=len(self.models) > 1)
            if len(self.models) == 1:
                hidden.append(output[0])
            else:  # SDXL reads the penultimate layers, and the projected pooled output of the last encoder
                hidden.append(output.hidden_states[-2])
                pooled = output[0]
        return torch.cat(hidden, dim=-1), pooled

    @torch.no_grad()
    def encode_batch(self, prompts: Sequence[str]) -> Conditioning:
        hidden, pooled = self.forward(self.token_ids(prompts))
        if self.zero_empty_negative:
            worded = torch.tensor([bool(prompt) for prompt in prompts], device=hidden.device)
            hidden = hidden * worded.view(-1, 1, 1)
            pooled = None if pooled is None else pooled * worded.view(-1, 1)
        return Conditioning(hidden, hidden, pooled)

    def _encode(self, prompt: str) -> TextFeatures:
        hidden, pooled = self.forward(self.token_ids([prompt]))
        return TextFeatures(hidden[0], None if pooled is None else pooled[0], self.overflow(prompt))

    def overflow(self, prompt: str) -> str:
        tokenizer = self.tokenizers[0]
        ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
        return tokenizer.decode(ids[tokenizer.model_max_length - 1 : -1]).strip()
