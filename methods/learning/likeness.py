"""A loss on who is seen, for trainings on the pocket backbones: a frozen reader of faces.

Adapters of Stable Diffusion learn identity from the squared error over millions of pictures; PuLID adds
a loss on the recogniser's embedding of the denoised estimate. On the few thousand pictures of a pocket
training the squared error hardly gets to the person, and the perceptual loss of the pocket models' own
training (`methods.pocket.face_reader`) stands in for PuLID's. It reads latents of the pocket VAE
and no others.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from methods.backbone.noise import Noise, Noised
from methods.errors import UsageError, WeightsError
from methods.pocket.face_reader import FaceDistance, face_grids, load_reader
from methods.shipped import is_pocket

if TYPE_CHECKING:
    import torch

    from methods.backbone.backbone import Backbone
    from methods.faces import Face
    from methods.pocket.face_reader import FaceReader


class FaceLoss(FaceDistance):
    """What a reader sees of a backbone's predictions."""

    def __init__(self, reader: FaceReader, noise: Noise, device: torch.device) -> None:
        super().__init__(reader, device)
        self._noise = noise

    def of(self, predicted: Tensor, noised: Noised, clean: Tensor, grid: Tensor) -> Tensor:
        """Scalar, see `FaceDistance.weighted`; arguments as `with_face` takes them."""
        estimate = self._noise.clean(noised.latents, predicted, noised.time)
        signal = self._noise.signal(noised.time).to(predicted.device)
        return self.weighted(estimate, clean, grid, signal)


def face_loss(path: str | None, backbone: Backbone) -> FaceLoss | None:
    """The loss of a reader's file (a training's `options.face_reader`); None without one.

    Raises UsageError for another backbone than a pocket one, WeightsError for a file that is not there.
    """
    if path is None:
        return None
    if not is_pocket(backbone.family):
        raise UsageError(
            f"options.face_reader reads the latents of the pocket VAE, not those of {backbone.name}.",
            hint="Leave it out.",
        )
    if not Path(path).is_file():
        raise WeightsError(
            f"{path}: no such file, which options.face_reader names.",
            hint="Make it with: python scripts/train_pocket.py face-reader (it writes reader.safetensors).",
        )
    return FaceLoss(load_reader(Path(path)), backbone.noise, backbone.device)


def face_grid(face: Face, size: int) -> Tensor:
    """Where the face lies in a square picture of `size` pixels: float32 [G, G, 2], for `face_loss`."""
    return face_grids(face.landmarks[None], size)[0]


def with_face(
    terms: dict[str, Tensor],
    loss: FaceLoss | None,
    weight: float,
    predicted: Tensor,
    noised: Noised,
    clean: Tensor,
    grid: Tensor,
) -> dict[str, Tensor]:
    """Loss terms with what `face_loss` sees as `face`, weighed into `loss`; without a reader as they are.

    predicted, clean: float32 [B, C, h, w]; grid: of the targets' faces, [B, G, G, 2]
    """
    if loss is None:
        return terms
    face = loss.of(predicted, noised, clean, grid)
    return {**terms, "loss": terms["loss"] + weight * face, "face": face}
