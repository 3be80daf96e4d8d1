"""Training of the reader of faces (`methods.pocket.face_reader`), the judge of the pocket trainings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from methods.pocket.face_reader import DIM, READ, FaceReader, aligned, face_grids
from methods.pocket.world import FACTORS
from methods.weights import save_weights
from scripts.pocket.autoencoder import encode_dataset
from scripts.pocket.common import Course, start_from
from scripts.pocket.dataset import Dataset
from scripts.pocket.perception_loop import identity_targets
from scripts.pocket.recogniser import embed_pictures

BATCH = 128
PEAK_RATE = 2e-3
SHARPNESS = 24.0
PHOTOS = 4


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


def parameter_centres(data: Dataset, count: int) -> tuple[NDArray[np.int64], Tensor]:
    """As `identity_centres`, by the renderer's parameters instead of a recogniser's embeddings.

    A fixed random map takes them to `DIM` dimensions, where angles stay about the same.
    """
    numbers, label = np.unique(data.meta["person"][:count], return_inverse=True)
    targets = torch.from_numpy(identity_targets(numbers))
    targets = targets - targets.mean(dim=0)
    spread = torch.randn(targets.shape[1], DIM, generator=torch.Generator().manual_seed(0))
    return label, F.normalize(targets @ spread, dim=1)


def train(
    dataset: Path,
    autoencoder: Path,
    recogniser: Path | None,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 4,
    device: str = "cpu",
    batch: int = BATCH,
    initial: Path | None = None,
) -> dict[str, Any]:
    """Train a `FaceReader` on clean latents under blur and noise; writes `work/reader.safetensors`.

    recogniser: whose view of people is learned; None takes the renderer's parameters instead.
    initial: file of a reader to go on from; a checkpoint in `work` counts for more.

    Identity is learned as a softmax over the people's fixed centres, as ArcFace's without its margin.
    Returns what it reads on the last twentieth of the pictures, which it did not train on: shares of right
    answers, and `identity` as the share of pictures whose nearest centre is the person's.
    """
    data = Dataset(dataset)
    cache = work.parent / "diffusion" / "latents.npy"
    stored = torch.from_numpy(np.array(encode_dataset(dataset, autoencoder, cache, device=device))).to(device)
    if recogniser is None:
        label, centres = parameter_centres(data, len(stored))
    else:
        label, centres = identity_centres(data, len(stored), recogniser, work / "embeddings.npy")
    person, centres = torch.from_numpy(label).to(device), centres.to(device)
    held_out = max(1, len(stored) // 20)
    torch.manual_seed(seed)
    reader = FaceReader(stored.shape[1])
    if initial is not None:
        start_from(reader, initial)
    reader = reader.to(device)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    course = Course(work, reader, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)

    def likeness(embedding: Tensor) -> Tensor:
        return F.normalize(reader.identity(embedding).float(), dim=1) @ centres.T

    def look(index: NDArray[np.integer], grids: Tensor, seen: Tensor) -> dict[str, Tensor]:
        with torch.autocast(seen.device.type, torch.bfloat16):
            embedding = reader(aligned(seen, grids.to(device)))[2]
            terms = {
                name: F.cross_entropy(
                    reader.heads[name](embedding).float(),
                    torch.from_numpy(data.meta[name][index].astype(np.int64)).to(device),
                )
                for name in READ
            }
            alike = likeness(embedding)
        return terms | {
            "identity": F.cross_entropy(SHARPNESS * alike.float(), person[torch.from_numpy(index).to(device)])
        }

    for _ in course.steps():
        index = course.rng.choice(len(stored) - held_out, min(batch, len(stored) - held_out), replace=False)
        landmarks = data.meta["landmarks"][index]
        landmarks = landmarks + course.rng.normal(0.0, 0.6, landmarks.shape)
        terms = look(
            index, face_grids(landmarks), damaged(stored[torch.from_numpy(index).to(device)].float())
        )
        course.learn(sum(terms.values(), torch.zeros((), device=device)), **terms)
    figures: dict[str, Any] = {}
    if course.first:
        save_weights(work / "reader.safetensors", reader.state_dict())
        index = np.arange(len(stored) - held_out, len(stored))
        with torch.no_grad():
            grids = face_grids(data.meta["landmarks"][index]).to(device)
            embedding = reader(aligned(stored[-held_out:].float(), grids))[2]
            for name in READ:
                right = reader.heads[name](embedding).argmax(1).cpu().numpy() == data.meta[name][index]
                figures[name] = round(float(right.mean()), 4)
            alike = likeness(embedding)
            figures["identity"] = round(float((alike.argmax(1) == person[-held_out:]).float().mean()), 4)
            figures["identity_cosine"] = round(float(alike[range(held_out), person[-held_out:]].mean()), 4)
    return course.finish(**figures)


def damaged(latents: Tensor) -> Tensor:
    """Latents as estimates look: half of them blurred towards their local mean, with some noise."""
    count = len(latents)
    device = latents.device
    blur = (torch.rand(count, 1, 1, 1, device=device) - 0.5).clamp(min=0.0) * 1.2
    mixed = torch.lerp(latents, F.avg_pool2d(latents, 3, 1, 1, count_include_pad=False), blur)
    return mixed + 0.5 * torch.rand(count, 1, 1, 1, device=device).square() * torch.randn_like(latents)
