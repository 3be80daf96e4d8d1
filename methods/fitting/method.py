"""What a method is that fits one person at a time.

    class Mine(FitMethod):
        def fit(self, identity, backbone, progress):      # photographs -> what was learned, with gradients
        def start(self, identity, backbone, rng):         # the same tensors before the first step, shaken
        def speak(self, prompt, fitted, backbone):        # a prompt with the learned word in it

A fit runs on first use and is kept in the cache folder under the hash of all that decides its numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from methods.adapters import load_adapter_folder, save_adapter_folder
from methods.config import build
from methods.contract import Method
from methods.errors import UsageError
from methods.fitting import cache
from methods.fitting.attachment import Spoken, WordAttachment
from methods.fitting.optimise import Progress
from methods.fitting.precision import in_force
from methods.fitting.words import NOUN, place
from methods.hooks import Attachment, Identity, Job
from methods.images import picture_hash
from methods.prompts import shown
from methods.weights import check_finite, fingerprint_tensors

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone

FitProgress = Callable[[str, int, int], object]
"""Called after every step of a fit with (name of the identity, steps done, steps in all)."""

_REMEMBERED = 32  # prompts with a learned word kept per method; ten encodings of SDXL take 6 MB


class FitMethod(Method):
    """A method that learns a word (and what belongs to it) for each identity.

    The word stands wherever a prompt says "person"; `{person}` becomes that noun. With `id_weight` 0, or
    outside `id_start`..`id_end`, the prompt is the plain one.

    refit:    fit again although the cache knows the identity
    progress: told of every step of every fit
    """

    version: ClassVar[int] = 2  # attention under gradients as plain matrix products
    """Raise it when the same fit comes out differently: older cache entries are left alone."""

    rows: int = 1
    """Token embeddings of the learned word."""
    keep_noun: bool = False
    """Whether they precede "person" instead of replacing it."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self.refit = False
        self.progress: FitProgress | None = None
        self._seed: int | None = None
        self._loaded: dict[str, dict[str, Tensor]] = {}
        self._names: dict[str, str] = {}
        self._family: str | None = None
        self._spoken: OrderedDict[tuple[str, str], Spoken | None] = OrderedDict()

    @abstractmethod
    def fit(
        self, identity: Identity, backbone: Backbone, progress: Progress | None = None
    ) -> dict[str, Tensor]:
        """Learn an identity: tensors by name, as they are kept in the cache, on any device.

        Gradients are enabled and random numbers seeded by the config; entries `log.*` are the loss terms by
        step. Raises UsageError for an identity that cannot be fitted, NonFiniteError when the fit diverges.
        """

    @abstractmethod
    def start(self, identity: Identity, backbone: Backbone, rng: torch.Generator) -> dict[str, Tensor]:
        """The tensors of `fit` before its first step, with some noise in them; needs no picture."""

    @abstractmethod
    def speak(self, prompt: str, fitted: Mapping[str, Tensor], backbone: Backbone) -> Spoken | None:
        """Text features of a prompt with the learned word in it; None when it has no "person"."""

    def fit_inputs(self, identity: Identity, backbone: Backbone) -> Mapping[str, Any]:
        """What else than pictures, options and backbone decides a fit, as JSON-able values."""
        return {}

    def word(self, identity: Identity) -> str:
        return NOUN

    def check_prompt(self, prompt: str, backbone: Backbone) -> None:
        if place(backbone.text, prompt, 1) is None:
            if re.search(rf"\b{NOUN}\b", backbone.text.overflow(prompt)):
                raise UsageError(
                    f"The prompt {shown(prompt)} names its person where the text encoder no longer reads.",
                    hint="Put {person} nearer to the beginning.",
                )
            raise UsageError(
                f"The prompt {shown(prompt)} has no place for the word that {self.info.name} learns.",
                hint='Put {person} where the person is: "a photo of a {person} at the beach".',
            )

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """The method for a backbone; `folder` holds fits that `save` wrote, None means fit on first use.

        The options of a folder are those its fits were made with, whatever `config` says.
        """
        if folder is None:
            method = cls(config)
            method._family = backbone.family
            return method
        state, stored = load_adapter_folder(folder, method=cls.info.name, backbone=backbone)
        method = cls(build(cls.Config, stored.get("config"), where=f"{folder}: config.json"))
        method._family = backbone.family
        method._seed = stored.get("untrained")
        method._names = dict(stored.get("identities", {}))
        for name, tensor in state.items():
            key, _, inner = name.partition("/")
            method._loaded.setdefault(key, {})[inner] = tensor
        return method

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        """The method without any fit: everybody gets the start of one, shaken by the seed and the person."""
        method = cls(config)
        method._family = backbone.family
        method._seed = seed
        return method

    def save(self, folder: str | Path) -> None:
        """Write the fits made so far: adapter.safetensors (`<identity>/<name>`) and config.json."""
        state = {f"{key}/{name}": value for key, fit in self._loaded.items() for name, value in fit.items()}
        extra: dict[str, Any] = {"identities": self._names}
        if self._seed is not None:
            extra["untrained"] = self._seed
        config = dataclasses.asdict(self.config)
        save_adapter_folder(
            folder, state, method=self.info.name, family=self._family, config=config, extra=extra
        )

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """What was learned about an identity: loaded, from the cache, or fitted now."""
        key = identity_key(identity)
        if key not in self._loaded:
            self._names[key] = identity.name
            self._loaded[key] = self._fit(identity, backbone, key)
        # copies: tensors of a file lie at its offsets, and matrix products round by alignment
        return {name: value.to(backbone.device, copy=True) for name, value in self._loaded[key].items()}

    def knows(self, identity: Identity, backbone: Backbone) -> bool:
        """Whether `encode` answers without fitting."""
        if self._seed is not None or identity_key(identity) in self._loaded:
            return True
        path = cache.entry(self.info.name, self.describe_fit(identity, backbone))
        return not self.refit and path.is_file()

    @property
    def fit_work(self) -> float:
        """Pictures that a fit sees, steps times batch: which of several fits takes longest, roughly."""
        return float(getattr(self.config, "steps", 1) * getattr(self.config, "batch", 1))

    def identity_fingerprint(self, identity: Identity, backbone: Backbone) -> str | None:
        if not self.info.identity or identity_key(identity) not in self._loaded:
            return None
        return fingerprint_tensors(self._loaded[identity_key(identity)])

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        return WordAttachment(jobs, self.spoken(jobs, backbone))

    def spoken(self, jobs: Sequence[Job], backbone: Backbone) -> list[Spoken | None]:
        """The prompt of every job with the word of its identity; None without identity, weight or place."""
        return [
            self._speak(job.identity, job.prompt, backbone)
            if job.identity is not None and job.id_weight
            else None
            for job in jobs
        ]

    def _speak(self, identity: Identity, prompt: str, backbone: Backbone) -> Spoken | None:
        key = (identity_key(identity), prompt)
        if key not in self._spoken:
            with torch.inference_mode(False), torch.no_grad():
                self._spoken[key] = self.speak(prompt, self.tokens(identity, backbone), backbone)
            if len(self._spoken) > _REMEMBERED:
                self._spoken.popitem(last=False)
        self._spoken.move_to_end(key)
        return self._spoken[key]

    def _fit(self, identity: Identity, backbone: Backbone, key: str) -> dict[str, Tensor]:
        if self._seed is not None:
            rng = torch.Generator().manual_seed(int(key[:12], 16) ^ self._seed)
            with torch.inference_mode(False), torch.no_grad():
                return self.start(identity, backbone, rng)
        if not identity.pictures:
            raise UsageError(
                f"{identity.name} has no reference picture to fit to.", hint="Give --reference face.png."
            )
        description = self.describe_fit(identity, backbone)
        path = cache.entry(self.info.name, description)
        if not self.refit and (known := cache.read(path)) is not None:
            return known

        def tell(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(identity.name, done, total)

        cuda = [backbone.device] if backbone.device.type == "cuda" else []
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=cuda):
            torch.manual_seed(self.config.seed)
            fitted = self.fit(identity, backbone, tell)
            check_finite(fitted, f"The fit of {self.info.name} to {identity.name}", hint="Try a lower rate.")
        fitted = {name: tensor.detach().to("cpu").clone() for name, tensor in fitted.items()}
        cache.write(path, fitted, description)
        return fitted

    def describe_fit(self, identity: Identity, backbone: Backbone) -> dict[str, Any]:
        """All that decides the numbers of a fit, as JSON-able values: its key in the cache."""
        boxes = [
            [round(float(side), 2) for side in face.box] for face in identity.faces or [identity.face] if face
        ]
        # files that options name count by what they hold (`fit_inputs`), not by where they lie
        files = {one["path"] for one in self.record().values()}
        options = dataclasses.asdict(self.config)
        return {
            "method": self.info.name,
            "version": self.version,
            "config": {name: None if value in files else value for name, value in options.items()},
            "backbone": backbone.fingerprint,
            "family": backbone.family,
            "dtype": str(backbone.dtype).removeprefix("torch."),
            "precision": in_force(getattr(self.config, "precision", "float32"), backbone),
            "device": backbone.device.type,
            "size": list(backbone.default_size),
            "pictures": [picture_hash(path) for path in identity.pictures],
            "face": boxes if identity.faces else next(iter(boxes), None),
            **self.fit_inputs(identity, backbone),
        }


def identity_key(identity: Identity) -> str:
    """Who it is by content: SHA-256 of the pictures, or of name and embedding where there are none."""
    if identity.pictures:
        content: Any = [picture_hash(path) for path in identity.pictures]
    else:
        embedding = None if identity.embedding is None else identity.embedding.tolist()
        content = [identity.name, embedding]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
