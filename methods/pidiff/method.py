"""`pidiff`, a *reconstruction*: identity through W+ styles in a gated residual cross-attention.

    w   = E(head) - wbar in R^{18 x d},    f_r = LayerNorm(W_r w_r + e_r)
    h  <- h_txt + alpha * Attn(W_q' h_txt, W_k' f, G (.) W_v' f)         at every cross-attention

PIDiff (arXiv 2505.05081) is known by its abstract only; the block is w-plus-adapter's (CVPR 2024), whose
query is the text attention's output h_txt, not the image tokens. The identity enters after 20 % of the steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from methods.adapters import AdapterMethod
from methods.backbone.device import seeded
from methods.config import build
from methods.errors import UsageError, WeightsError
from methods.hooks import Identity, Job
from methods.pidiff.adapter import StyleAdapter
from methods.pidiff.attention import StyleAttention
from methods.pidiff.config import Config, parse_levels
from methods.pidiff.folder import facts_of, load_adapter
from methods.pidiff.info import INFO
from methods.pidiff.style import mix_rows
from methods.pidiff.stylespace.load import StyleSpace, load_style_space, random_style_space
from methods.provenance import named_file
from methods.weights import fingerprint_tensors

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.faces import Face
    from methods.learning.task import TrainingTask

MEAN = "mean"
"""The `style_from` that means the average face instead of a picture."""


class PIDiff(AdapterMethod[StyleAdapter]):
    """PIDiff (reconstruction) on the shared backbone."""

    info = INFO
    Config = Config

    space: StyleSpace
    """The W+ encoder at work, set with the adapter."""

    def __init__(self, config: Any = None, adapter: StyleAdapter | None = None) -> None:
        super().__init__(config, adapter)
        self._style: Tensor | None = None

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """Load an adapter folder of ours, or a w-plus-adapter checkpoint as it is (with its e4e encoder).

        `folder` None means the adapter shipped for the pocket backbone.
        """
        config = cls.Config() if config is None else config
        adapter, space, stored = load_adapter(folder, backbone, config.style_encoder)
        method = cls.ready(adapter, space, backbone, config)
        method._training = stored.training
        return method

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        """Random weights with open gates, so that the blocks show; a training starts with closed ones."""
        config = cls.Config() if config is None else config
        space = (
            load_style_space(config.style_encoder) if config.style_encoder else random_style_space(seed=seed)
        )
        with seeded(seed):
            shape = space.shape
            adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=shape.rows, dim=shape.dim, gate=1.0)
        return cls.ready(adapter, space, backbone, config)

    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        from methods.pidiff.config import TaskConfig
        from methods.pidiff.task import PIDiffTask

        return PIDiffTask(backbone, build(TaskConfig, options, where=f"the training of {cls.info.name}"))

    @classmethod
    def ready(cls, adapter: StyleAdapter, space: StyleSpace, backbone: Backbone, config: Any = None) -> Self:
        """The method from its parts; the adapter is frozen and moved to the backbone's device and dtype."""
        if (adapter.rows, adapter.dim) != (space.shape.rows, space.shape.dim):
            raise WeightsError(
                f"The adapter reads {adapter.rows} rows of {adapter.dim}, the style encoder {space.name} "
                f"gives {space.shape.rows} of {space.shape.dim}.",
                hint="Give the style encoder that the adapter was trained with.",
            )
        method = cls._ready(adapter, backbone, config)
        method.space = space
        return method

    def facts(self, folder: Path) -> Mapping[str, Any]:
        return facts_of(self.space, folder)

    def weights_fingerprint(self) -> str | None:
        """SHA-256 over the adapter and the W+ encoder: both decide the pictures."""
        if self._fingerprint is None:
            own = fingerprint_tensors(self.adapter.state_dict())
            self._fingerprint = hashlib.sha256(f"{own}\n{self.space.fingerprint}\n".encode()).hexdigest()
        return self._fingerprint

    def record(self) -> dict[str, Any]:
        """The picture of `style_from` by its content."""
        source = self.config.style_from
        if source in (None, MEAN):
            return {}
        return {"style_reference": named_file(source)}

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """`codes`: centred W+ [rows, dim], edited if asked; `tokens`: f [rows, C].

        Raises UsageError for an identity without a picture.
        """
        if identity.face is None:
            raise UsageError(f"{identity.name} has no face.", hint="Give a picture with a face.")
        seen = [self._centred(image, face.landmarks) for image, face in _photographs(identity, identity.face)]
        codes = torch.stack(seen).mean(dim=0)  # of several photographs: W+ is linear
        if self.config.style_from is not None:
            rows = parse_levels(self.config.style_levels)
            codes = mix_rows(codes, self._style_codes(identity), rows, self.config.style_strength)
        return {"codes": codes, "tokens": self._project(codes.to(backbone.device))}

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> StyleAttention:
        tokens = self.tokens_of(jobs, backbone)
        zero = torch.zeros(self.adapter.rows, self.adapter.dim, device=backbone.device)
        return StyleAttention(self.adapter, jobs, tokens, self._project(zero), self.config.delayed_start)

    def _centred(self, picture: Image.Image, landmarks: Any) -> Tensor:
        return self.space.encode_picture(picture, landmarks) - self.space.average

    def _style_codes(self, identity: Identity) -> Tensor:
        """Centred codes of the picture that gives the style, [rows, dim]; zeros for the average face."""
        source = self.config.style_from
        if source == MEAN:
            return torch.zeros(self.adapter.rows, self.adapter.dim)
        if self._style is None:
            if identity.encoder is None:
                raise UsageError(
                    f"The face in {source} cannot be found without a face encoder.",
                    hint="Give --face-encoder, or make the identity with one.",
                )
            from methods.faces import analyse
            from methods.images import load_picture

            face = analyse(source, identity.encoder)
            self._style = self._centred(load_picture(source), face.landmarks)
        return self._style

    @torch.no_grad()
    def _project(self, codes: Tensor) -> Tensor:
        with torch.inference_mode(False):
            return self.adapter.tokens(codes[None])[0]


def _photographs(identity: Identity, first: Face) -> Iterator[tuple[Image.Image, Face]]:
    """Every photograph of a person with its face."""
    if not identity.faces:
        yield reference_image(identity), first
        return
    from methods.images import load_picture

    for path, face in zip(identity.pictures, identity.faces, strict=True):
        yield load_picture(path), face


def reference_image(identity: Identity) -> Image.Image:
    """The picture that an identity's face was found in. Raises UsageError for one that has none."""
    if identity.image is not None:
        return identity.image
    if not identity.pictures:
        raise UsageError(
            f"{identity.name} has no picture: a W+ code comes from pixels, not from an embedding.",
            hint="Give a reference picture.",
        )
    from methods.images import load_picture

    return load_picture(identity.pictures[0])
