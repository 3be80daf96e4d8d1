"""What a face shows, read from the latents of the pocket VAE: the perceptual loss of the pocket trainings.

The squared error of a latent says little about a face: eyes and mouth are a dozen of the 256 positions. A
small network learns on clean latents to name expression, pose and accessory and to say who it is as the
conditioning recogniser would (`scripts/train_pocket.py face-reader`). Frozen, it compares a denoised estimate
with the clean latent in its own features, as perceptual losses do (Zhang et al. 2018, LPIPS; Berrada et al.
2024 for latent diffusion; the identity loss of PuLID for adapters). It is used in training only and is not
shipped. The recogniser that scores takes no part in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.faces.geometry import TEMPLATE, similarity_transforms
from methods.pocket.world import FACTORS

GRID = 12
MARGIN = 1.2
READ = ("expression", "pose", "accessory", "style")
EMBEDDING = 256
DIM = 512
IDENTITY_WEIGHT = 3.0
HEAD_WEIGHT = 0.05


def face_grids(landmarks: NDArray[np.floating], size: int = 128) -> Tensor:
    """Where an aligned face lies in the picture: float32 `[N,GRID,GRID,2]` for `grid_sample`.

    landmarks: `[N,5,2]` in pixels of a `size` px picture. The grid covers the 112-point crop of ArcFace,
    `MARGIN` times as wide so that hair is in it.
    """
    forward = similarity_transforms(landmarks, TEMPLATE)  # picture -> crop
    axis = ((np.arange(GRID) + 0.5) / GRID - 0.5) * 112.0 * MARGIN
    centre = TEMPLATE.mean(axis=0)
    x, y = np.meshgrid(axis + centre[0], axis + centre[1])
    points = np.stack([x, y], axis=-1).reshape(1, -1, 2) - forward[:, None, :, 2]
    inverse = np.linalg.inv(forward[:, :, :2])
    places = points @ inverse.transpose(0, 2, 1)
    return torch.from_numpy((places / (size / 2) - 1.0).reshape(-1, GRID, GRID, 2)).float()


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.GroupNorm(8, outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
        )
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class FaceReader(nn.Module):
    """Aligned latents float32 `[N,C,GRID,GRID]` to two feature maps and an embedding `[N,EMBEDDING]`.

    channels: C, those of the VAE's latents
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 96, 3, 1, 1)
        self.fine = nn.Sequential(_Block(96, 96), _Block(96, 96))
        self.coarse = nn.Sequential(_Block(96, 192, 2), _Block(192, 192))
        self.embed = nn.Sequential(
            nn.GroupNorm(8, 192), nn.SiLU(), nn.Flatten(), nn.Linear(192 * (GRID // 2) ** 2, EMBEDDING)
        )
        self.heads = nn.ModuleDict({name: nn.Linear(EMBEDDING, len(FACTORS[name])) for name in READ})
        self.identity = nn.Linear(EMBEDDING, DIM)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        return fine, coarse, self.embed(coarse)


def aligned(latents: Tensor, grids: Tensor) -> Tensor:
    """The face region of latents `[N,C,H,W]`, upright and of one size: `[N,C,GRID,GRID]`."""
    return F.grid_sample(latents, grids, align_corners=False, padding_mode="border")


def load_reader(path: Path) -> FaceReader:
    """The reader in the file that its training wrote."""
    weights = load_file(path)
    reader = FaceReader(weights["stem.weight"].shape[1])
    reader.load_state_dict(weights)
    return reader


class FaceDistance:
    """Distance of denoised estimates from clean latents in the features of a frozen `FaceReader`."""

    def __init__(self, reader: FaceReader, device: torch.device | str = "cpu") -> None:
        self.reader = reader.requires_grad_(False).eval().to(device)

    def weighted(self, estimate: Tensor, clean: Tensor, grids: Tensor, signal: Tensor) -> Tensor:
        """Scalar: the mean of `distance`, estimates counting by signal^(1/4).

        signal: its share of the noised latents' power, `[N]` in [0, 1]: the noisier the input, the less it
        says where the face is
        """
        weight = signal**0.25
        return (weight * self.distance(estimate, clean, grids)).sum() / weight.sum()

    def distance(self, estimate: Tensor, clean: Tensor, grids: Tensor) -> Tensor:
        """How far estimates are from clean latents `[N,C,H,W]`, one float32 number each, `[N]`.

        Normalised feature differences, angles of embedding and identity, divergence of the heads; grids as
        `face_grids` gives them.
        """
        with torch.autocast(clean.device.type, torch.bfloat16):
            with torch.no_grad():
                *maps, embedding = self.reader(aligned(clean, grids))
                named = self._name(embedding)
            *guesses, guess = self.reader(aligned(estimate, grids))
            person, truth = self.reader.identity(guess), self.reader.identity(embedding)
            distance = 1.0 - F.cosine_similarity(guess.float(), embedding.float(), dim=1)
            distance += IDENTITY_WEIGHT * (1.0 - F.cosine_similarity(person.float(), truth.float(), dim=1))
            for mine, theirs in zip(self._name(guess), named, strict=True):
                distance = distance + HEAD_WEIGHT * F.kl_div(
                    mine, theirs, reduction="none", log_target=True
                ).sum(1)
        for mine, theirs in zip(guesses, maps, strict=True):
            difference = F.normalize(mine.float(), dim=1) - F.normalize(theirs.float(), dim=1)
            distance = distance + difference.square().sum(1).mean((1, 2))
        return distance

    def _name(self, embedding: Tensor) -> list[Tensor]:
        return [F.log_softmax(head(embedding).float(), dim=1) for head in self.reader.heads.values()]


class PerceptualLoss(FaceDistance):
    """The same for the velocities of a diffusion over discrete timesteps."""

    def __init__(
        self, reader: FaceReader, scheduler: DDIMScheduler, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(reader, device)
        self.alphas = scheduler.alphas_cumprod.to(device)

    @classmethod
    def load(cls, path: Path, scheduler: DDIMScheduler, device: torch.device | str = "cpu") -> PerceptualLoss:
        """From the file that the training wrote."""
        return cls(load_reader(path), scheduler, device)

    def __call__(
        self, velocity: Tensor, noisy: Tensor, clean: Tensor, timesteps: Tensor, grids: Tensor
    ) -> Tensor:
        """Scalar, see `weighted`. velocity, noisy, clean: `[N,C,H,W]`; timesteps int64 `[N]`."""
        level = self.alphas[timesteps][:, None, None, None]
        estimate = level.sqrt() * noisy - (1.0 - level).sqrt() * velocity
        return self.weighted(estimate, clean, grids, level.flatten())
