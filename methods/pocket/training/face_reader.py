"""What a face shows, read from the latents of the pocket VAE: the perceptual loss of the pocket trainings.

The squared error of a latent says little about a face: eyes and mouth are a dozen of the 256 positions. A
small network learns on clean latents to name expression, pose and accessory and to say who it is as the
conditioning recogniser would. Frozen, it compares a denoised estimate with the clean latent in its own
features, as perceptual losses do (Zhang et al. 2018, LPIPS; Berrada et al. 2024 for latent diffusion; the
identity loss of PuLID for adapters). It is used in training only and is not shipped. The recogniser that
scores takes no part in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.faces.geometry import TEMPLATE
from methods.pocket.training.autoencoder import encode_dataset
from methods.pocket.training.common import Course
from methods.pocket.training.dataset import Dataset
from methods.pocket.training.recogniser import DIM, embed_pictures, similarity
from methods.pocket.world import FACTORS
from methods.weights import save_weights

GRID = 12
MARGIN = 1.2
READ = ("expression", "pose", "accessory", "style")
EMBEDDING = 256
BATCH = 128
PEAK_RATE = 2e-3
SHARPNESS = 24.0
IDENTITY_WEIGHT = 3.0
HEAD_WEIGHT = 0.05
PHOTOS = 4


def face_grids(landmarks: NDArray[np.floating], size: int = 128) -> Tensor:
    """Where an aligned face lies in the picture: float32 `[N,GRID,GRID,2]` for `grid_sample`.

    landmarks: `[N,5,2]` in pixels of a `size` px picture. The grid covers the 112-point crop of ArcFace,
    `MARGIN` times as wide so that hair is in it.
    """
    forward = similarity(landmarks).astype(np.float64)  # picture -> crop
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
    """Aligned latents float32 `[N,8,GRID,GRID]` to two feature maps and an embedding `[N,EMBEDDING]`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(8, 96, 3, 1, 1)
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
    """The face region of latents `[N,8,H,W]`, upright and of one size: `[N,8,GRID,GRID]`."""
    return F.grid_sample(latents, grids, align_corners=False, padding_mode="border")


class PerceptualLoss:
    """Distance of denoised estimates from clean latents in the features of a frozen `FaceReader`."""

    def __init__(
        self, reader: FaceReader, scheduler: DDIMScheduler, device: torch.device | str = "cpu"
    ) -> None:
        self.reader = reader.requires_grad_(False).eval().to(device)
        self.alphas = scheduler.alphas_cumprod.to(device)

    @classmethod
    def load(cls, path: Path, scheduler: DDIMScheduler, device: torch.device | str = "cpu") -> PerceptualLoss:
        """From the file that `train` wrote."""
        reader = FaceReader()
        reader.load_state_dict(load_file(path))
        return cls(reader, scheduler, device)

    def __call__(
        self, velocity: Tensor, noisy: Tensor, clean: Tensor, timesteps: Tensor, grids: Tensor
    ) -> Tensor:
        """Scalar: normalised feature differences, angles of embedding and identity, divergence of the heads.

        Estimates count by alpha_bar^(1/4): the noisier the input, the less it says where the face is.
        velocity, noisy, clean: `[N,8,H,W]`; timesteps int64 `[N]`; grids as `face_grids` gives them.
        """
        level = self.alphas[timesteps][:, None, None, None]
        estimate = level.sqrt() * noisy - (1.0 - level).sqrt() * velocity
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
        weight = level.flatten() ** 0.25
        return (weight * distance).sum() / weight.sum()

    def _name(self, embedding: Tensor) -> list[Tensor]:
        return [F.log_softmax(head(embedding).float(), dim=1) for head in self.reader.heads.values()]


def identity_centres(
    data: Dataset, count: int, recogniser: Path, path: Path
) -> tuple[NDArray[np.int64], Tensor]:
    """Who is on each of the first `count` pictures, and what the recogniser thinks of everybody there.

    Returns the index of the person `[count]` and, for each person, the mean embedding of `PHOTOS`
    photographs (other pictures where there are none), float32 `[P,512]` of unit length. Embeddings are
    cached in `path`.
    """
    _, label = np.unique(data.meta["person"][:count], return_inverse=True)
    painted = data.meta["style"][:count] != FACTORS["style"].index("photo")
    order = np.lexsort((painted, label))
    first = np.searchsorted(label[order], np.arange(label.max() + 1))
    rank = np.arange(count) - first[label[order]]
    chosen = np.sort(order[rank < PHOTOS])
    embeddings = torch.from_numpy(embed_pictures(data, chosen, recogniser, path)[chosen])
    centres = torch.zeros(len(first), DIM).index_add_(0, torch.from_numpy(label[chosen]), embeddings)
    return label, F.normalize(centres, dim=1)


def train(
    dataset: Path,
    autoencoder: Path,
    recogniser: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 4,
) -> dict[str, Any]:
    """Train a `FaceReader` on clean latents under blur and noise; writes `work/reader.safetensors`.

    Identity is learned as a softmax over the people's fixed centres, as ArcFace's without its margin.
    Returns what it reads on the last twentieth of the pictures, which it did not train on: shares of right
    answers, and `identity` as the share of pictures whose nearest centre is the person's.
    """
    data = Dataset(dataset)
    cache = work.parent / "diffusion" / "latents.npy"
    stored = torch.from_numpy(np.array(encode_dataset(dataset, autoencoder, cache)))
    label, centres = identity_centres(data, len(stored), recogniser, work / "embeddings.npy")
    person = torch.from_numpy(label)
    held_out = len(stored) // 20
    torch.manual_seed(seed)
    reader = FaceReader()
    optimizer = torch.optim.AdamW(reader.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    course = Course(work, reader, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)

    def likeness(embedding: Tensor) -> Tensor:
        return F.normalize(reader.identity(embedding).float(), dim=1) @ centres.T

    def look(index: NDArray[np.integer], grids: Tensor, seen: Tensor) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            embedding = reader(aligned(seen, grids))[2]
            terms = {
                name: F.cross_entropy(
                    reader.heads[name](embedding).float(),
                    torch.from_numpy(data.meta[name][index].astype(np.int64)),
                )
                for name in READ
            }
            alike = likeness(embedding)
        return terms | {"identity": F.cross_entropy(SHARPNESS * alike.float(), person[index])}

    for _ in course.steps():
        index = course.rng.choice(len(stored) - held_out, BATCH, replace=False)
        landmarks = data.meta["landmarks"][index]
        landmarks = landmarks + course.rng.normal(0.0, 0.6, landmarks.shape)
        terms = look(index, face_grids(landmarks), damaged(stored[index].float()))
        course.learn(sum(terms.values(), torch.zeros(())), **terms)
    figures: dict[str, Any] = {}
    if course.first:
        save_weights(work / "reader.safetensors", reader.state_dict())
        index = np.arange(len(stored) - held_out, len(stored))
        with torch.no_grad():
            embedding = reader(aligned(stored[index].float(), face_grids(data.meta["landmarks"][index])))[2]
            for name in READ:
                right = reader.heads[name](embedding).argmax(1).numpy() == data.meta[name][index]
                figures[name] = round(float(right.mean()), 4)
            alike = likeness(embedding)
            figures["identity"] = round(float((alike.argmax(1) == person[index]).float().mean()), 4)
            figures["identity_cosine"] = round(float(alike[range(held_out), person[index]].mean()), 4)
    return course.finish(**figures)


def damaged(latents: Tensor) -> Tensor:
    """Latents as estimates look: half of them blurred towards their local mean, with some noise."""
    count = len(latents)
    blur = (torch.rand(count, 1, 1, 1) - 0.5).clamp(min=0.0) * 1.2
    mixed = torch.lerp(latents, F.avg_pool2d(latents, 3, 1, 1, count_include_pad=False), blur)
    return mixed + 0.5 * torch.rand(count, 1, 1, 1).square() * torch.randn_like(latents)
