"""What a method has to say about its own training; the engine (`methods.training.engine`) does the rest.

    class MyTask(TrainingTask):
        def __init__(self, backbone, config):
            super().__init__(backbone, config)
            self.module = MyAdapter(...)                            # float32, on backbone.device
            self.hooks = MyAttention(self.module)                   # an `Attachment`
            self.stages = (Stage("train", config.steps),)

        def features(self, example):                                # once per picture, cached on disk
            return {"latents": encode_picture(self.backbone, example.picture),
                    "embedding": torch.from_numpy(example.face.embedding)}

        def losses(self, batch, rng):
            noised = rng.noised(self.backbone.noise, batch.target["latents"])
            self.hooks.tokens = ...                                 # hooks stay in place until after backward
            predicted = self.predict(noised.latents, noised.time, text)
            ...
            return {"loss": loss, "mse": loss}

The engine calls `attached`, `begin(stage)`, then per step `losses` and backward; `export` runs outside
`attached`, with the averaged weights in `module`, and sample sheets are made by the method that loads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from methods.errors import UsageError
from methods.hooks import Attachment

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.backbone.denoiser import Predict
    from methods.faces import Face
    from methods.learning.draws import SampleRng


@dataclass(frozen=True)
class Stage:
    """A part of a training with an optimizer and a learning-rate curve of its own.

    name: of letters, digits and dashes; steps: optimizer steps; rate: factor on the configured peak rate
    """

    name: str
    steps: int
    rate: float = 1.0


@dataclass(frozen=True, eq=False)
class Example:
    """One picture of the training set, as `TrainingTask.features` sees it.

    picture: RGB, square, at the training size; face and mask are in its pixels
    prompt:  the sentence that describes it
    face:    box, landmarks, embedding and aligned crop by the face encoder of the training
    mask:    bool [H, W], True on the face: the true region in the pocket world, else an ellipse in the box
    """

    picture: Image.Image
    identity: str
    prompt: str
    face: Face
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples on the device of the backbone.

    target:    what `features` gave for the pictures to be denoised, each stacked to [B, ...]
    reference: the same for the pictures that the identity comes from
    prompts:   of the targets; never dropped by the engine, a task drops what its recipe says
    same:      bool [B], reference and target are one picture
    """

    target: dict[str, Tensor]
    reference: dict[str, Tensor]
    prompts: list[str]
    same: Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return replace(
            self,
            target={name: value.to(device) for name, value in self.target.items()},
            reference={name: value.to(device) for name, value in self.reference.items()},
            same=self.same.to(device),
        )


class TrainingTask(ABC):
    """What is learned, from what, and by which loss. One object per training and process.

    backbone: frozen; nothing of it may require gradients
    config:   the task's own frozen dataclass of options
    """

    module: nn.Module
    """Everything that learns, and only that: float32 on the backbone's device. Checkpoints keep its
    `state_dict`; the optimizer gets its parameters that require gradients after `begin`."""

    stages: tuple[Stage, ...]
    """In order; most tasks have one."""

    same_share: float = 0.5
    """How often the reference is the target's own picture. Otherwise it is another one of the person, and
    people with a single picture are left out of a training with 0."""

    rates: Mapping[str, float] = {}
    """Factors on the learning rate by last part of a parameter's name; 1 for all others. For numbers that
    have far to go: an optimizer like AdamW moves each by about the rate in a step, whatever its gradient."""

    predict: Predict
    """The network under `hooks`, within `attached`."""

    def __init__(self, backbone: Backbone, config: Any) -> None:
        self.backbone = backbone
        self.config = config
        self.hooks = Attachment()

    def method_options(self) -> Mapping[str, Any]:
        """Options that the method needs to load what `export` wrote, where no default of its does."""
        return {}

    def features_key(self) -> Mapping[str, Any]:
        """What `features` depends on besides picture, face encoder and backbone, as JSON-able values.

        Cached features are found again under the same key only.
        """
        return {}

    @abstractmethod
    def features(self, example: Example) -> dict[str, Tensor]:
        """Whatever `losses` needs of one picture; computed once, without gradients, and cached on disk.

        Tensors of fixed shapes and dtypes (the same for all examples), on any device. Raise SpidError for a
        picture that cannot serve: it is skipped, counted and listed.
        """

    def begin(self, stage: Stage) -> None:
        """Prepare a stage: freeze (`requires_grad_(False)`) what it leaves alone, thaw what it trains."""
        return None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """What has to be in place around `losses` *and* backward: `hooks` at work, `predict` made.

        Under gradient checkpointing backward runs the network's blocks again: hooks must still be there then,
        and in the state of the call they belong to.
        """
        with self.backbone.denoiser.attached(self.hooks) as self.predict:
            yield

    @abstractmethod
    def losses(self, batch: Batch, rng: SampleRng) -> dict[str, Tensor]:
        """Scalar terms: `loss` is minimised, all are logged, in this order.

        Every term is a mean over the samples of the batch, and every random number comes from `rng`, which
        has one stream per sample: then neither batch size nor number of processes changes what is learned.
        Runs under the engine's autocast; compute the losses themselves in float32.
        """

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the adapter as users load it: safetensors, and config.json with method, family, version."""


def check_embedding(example: Example, wanted: int) -> None:
    """Raise UsageError for a face encoder whose embeddings are not as long as the adapter reads."""
    if (found := len(example.face.embedding)) != wanted:
        raise UsageError(
            f"the face encoder gives embeddings of length {found}, not {wanted}.",
            hint="Correct options.embedding_dim.",
        )


def without_words(prompts: Sequence[str], wordless: Sequence[bool]) -> list[str]:
    """Prompts, empty where a sample loses its words (see `SampleRng.drops`)."""
    return ["" if empty else prompt for empty, prompt in zip(wordless, prompts, strict=True)]
