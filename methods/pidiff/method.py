"""`pidiff`, a *reconstruction*: identity through W+ styles in a gated residual cross-attention.

    w   = E(head) - wbar in R^{18 x d},    f_r = LayerNorm(W_r w_r + e_r)
    h  <- h_txt + alpha * Attn(W_q' h_txt, W_k' f, G (.) W_v' f)         at every cross-attention

PIDiff (arXiv 2505.05081) is known by its abstract only; the block is w-plus-adapter's (CVPR 2024), whose
query is the text attention's output h_txt, not the image tokens. The identity enters after 20 % of the steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from methods.adapters import (
    WEIGHTS_FILE,
    AdapterMethod,
    load_adapter_folder,
    shipped_adapter,
)
from methods.backbone.device import seeded
from methods.config import build
from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.hooks import Identity, Job
from methods.pidiff.adapter import StyleAdapter, save_adapter
from methods.pidiff.attention import StyleAttention
from methods.pidiff.config import Config, parse_levels
from methods.pidiff.info import INFO
from methods.pidiff.style import mix_rows
from methods.pidiff.stylespace.load import StyleSpace, load_style_space, random_style_space
from methods.pidiff.wplus import initialise_from_wplus, is_wplus_checkpoint
from methods.provenance import named_file
from methods.weights import fingerprint_tensors, load_weights

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.training.task import TrainingTask

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
        path = shipped_adapter(INFO.name, backbone) if folder is None else Path(folder).expanduser()
        if path.is_file():
            return cls._from_wplus(path, backbone, config)
        state, stored = load_adapter_folder(path, method=INFO.name, backbone=backbone)
        space = _recorded_space(path, stored.get("style_space"), config)
        adapter = StyleAdapter.from_state_dict(state, backbone.sites, str(path / WEIGHTS_FILE))
        return cls.ready(adapter, space, backbone, config)

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

    @classmethod
    def _from_wplus(cls, path: Path, backbone: Backbone, config: Any) -> Self:
        state = load_weights(path)
        if not is_wplus_checkpoint(state):
            raise WeightsError(
                f"{path} is no pidiff adapter.", hint="Give a folder of ours, or a w-plus-adapter checkpoint."
            )
        if config.style_encoder is None:
            raise MissingWeightsError(
                f"{path} was trained with e4e's W+ encoder, which is not shipped.",
                hint="Give it: --set style_encoder=e4e_ffhq_encode.pt",
            )
        space = load_style_space(config.style_encoder)
        adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=space.shape.rows, dim=space.shape.dim)
        initialise_from_wplus(adapter, state, space.average, str(path))
        return cls.ready(adapter, space, backbone, config)

    def save(self, folder: str | Path) -> None:
        save_adapter(folder, self.adapter, self.space, family=self._family)

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
        codes = self._centred(reference_image(identity), identity.face.landmarks)
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


def _recorded_space(folder: Path, recorded: Any, config: Config) -> StyleSpace:
    """The W+ encoder that an adapter folder was trained with, wherever it is."""
    if not isinstance(recorded, Mapping) or not {"kind", "fingerprint"} <= recorded.keys():
        raise WeightsError(
            f"{folder / 'config.json'} does not say which style encoder it belongs to.",
            hint="Give a folder that spid train wrote.",
        )
    if config.style_encoder is not None:
        space = load_style_space(config.style_encoder)
    elif recorded["kind"] == "pocket":
        space = load_style_space()
    elif recorded["kind"] == "beside":
        space = load_style_space(folder / "style")
    else:
        raise MissingWeightsError(
            f"{folder} was trained with a W+ encoder that is not in it.",
            hint="Give that encoder: --set style_encoder=e4e_ffhq_encode.pt",
        )
    if space.fingerprint != recorded["fingerprint"]:
        raise WeightsError(
            f"{folder} was trained with another style encoder than {space.name}.",
            hint="Give the one it was trained with: --set style_encoder=PATH",
        )
    return space
