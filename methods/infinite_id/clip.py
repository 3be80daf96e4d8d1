"""CLIP image states: what the image tower of an open_clip model knows of a face before it pools.

A vision transformer gives its class token and patches (ViT-H/14: 257 states of width 1280), a residual
network the tokens that its attention pool reads: their mean and the cells of its last grid, with positions.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.paths import pocket_dir, user_path
from methods.weights import fingerprint_tensors, load_weights

POCKET = "pocket"
"""The name of the encoder that ships with the pocket models."""


@dataclass(frozen=True, eq=False)
class StatesEncoder:
    """The image tower of an open_clip model.

    name: as it was asked for; size: side of the square picture it reads, in pixels
    fingerprint: SHA-256 of the tower's weights
    """

    name: str
    tower: Any
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int]:
        """(T, S): how many states of which width."""
        if hasattr(self.tower, "attnpool"):
            tokens, width = self.tower.attnpool.positional_embedding.shape
            return tokens, width
        return self.tower.positional_embedding.shape[0], self.tower.positional_embedding.shape[1]

    @torch.no_grad()
    def states(self, face: NDArray[np.uint8]) -> Tensor:
        """States float32 [T, S] of one aligned face, uint8 RGB [H, H, 3] of any size."""
        picture = Image.fromarray(face).resize((self.size, self.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div(255)
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        x = ((pixels - mean) / std)[None].to(self.device)
        if hasattr(self.tower, "attnpool"):
            [grid] = self.tower.forward_intermediates(x, indices=1, intermediates_only=True)[
                "image_intermediates"
            ]
            cells = grid.flatten(2).transpose(1, 2)
            states = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
            return (states + self.tower.attnpool.positional_embedding)[0]
        seen = self.tower.forward_intermediates(
            x, indices=1, intermediates_only=True, output_fmt="NLC", output_extra_tokens=True
        )
        return torch.cat([seen["image_intermediates_prefix"][0], seen["image_intermediates"][0]], dim=1)[0]


@lru_cache(maxsize=2)
def load_states_encoder(name: str, device: torch.device) -> StatesEncoder:
    """The image tower of an open_clip model, float32; nothing is downloaded, the last two are remembered.

    name: `pocket`, a folder with open_clip_config.json and open_clip_model.safetensors, or
          ARCHITECTURE:FILE such as ViT-H-14:open_clip_model.safetensors

    Raises UsageError for an unknown name, WeightsError for missing or damaged files.
    """
    from methods.compat import ensure_torchvision

    ensure_torchvision()
    model, weights = _empty_model(str(pocket_dir() / "clip") if name == POCKET else name)
    try:
        model.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise WeightsError(f"{weights} does not fit {name}: {reason}.", hint="Correct clip.") from error
    tower = model.visual
    if not hasattr(tower, "forward_intermediates"):
        raise UsageError(
            f"The image tower of {name} keeps its states to itself.",
            hint="Give a ViT or ResNet of open_clip.",
        )
    size = tower.image_size
    preprocess = tower.preprocess_cfg
    return StatesEncoder(
        name=name,
        tower=tower.requires_grad_(False).eval().to(device),
        size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        device=device,
        fingerprint=fingerprint_tensors(tower.state_dict()),
    )


def _empty_model(name: str) -> tuple[Any, Path]:
    """An open_clip model without weights, and the file that has them."""
    import open_clip

    folder = user_path(name)
    logging.getLogger().addFilter(_no_weights_yet)
    try:
        if folder.is_dir():
            if not (folder / "open_clip_config.json").is_file():
                raise MissingWeightsError(f"{folder} has no open_clip_config.json.", hint="Correct clip.")
            model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
            return model, folder / "open_clip_model.safetensors"
        architecture, _, file = name.partition(":")
        if not file or architecture not in open_clip.list_models():
            raise UsageError(
                f"There is no CLIP model {name!r}.",
                hint="Give clip a folder, or ARCHITECTURE:FILE such as ViT-H-14:open_clip_model.safetensors.",
            )
        return open_clip.create_model(architecture, load_weights=False), user_path(file)
    finally:
        logging.getLogger().removeFilter(_no_weights_yet)


def _no_weights_yet(record: logging.LogRecord) -> bool:
    """Drops open_clip's warning of a model without weights: they are loaded next, by our own loader."""
    return "No pretrained weights loaded" not in record.getMessage()
