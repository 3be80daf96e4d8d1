"""Two face recognisers on 112x112 aligned crops, 512-d embeddings, in insightface's ONNX format.

Both learn a margin softmax over people, with one difference from its authors: the centre of a class
is not a free vector but a small network's function of that person's true renderer parameters. Each
centre is then learned from all people, so a few minutes are enough and unseen people land where they
belong. `conditioning` is a small residual network with ArcFace's additive angular margin (Deng et al.
2019), which also has to give the parameters back. `scoring`, which judges what the first one
conditioned, shares no weight with it and differs in architecture (overlapping patches, then plain
convolutions), loss (CosFace's additive cosine margin, Wang et al. 2018, with the supervised
contrastive loss of Khosla et al. 2020, and no parameters read back), damage and seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.faces.geometry import TEMPLATE, similarity_transforms
from methods.files import save_json, write_atomic
from scripts.pocket.dataset import Dataset
from scripts.pocket.face_figures import verification
from scripts.pocket.perception_loop import (
    batches,
    begin,
    degrade,
    export_onnx,
    identity_targets,
    open_dataset,
    to_tensor,
)
from scripts.pocket.processes import join_processes

DIM = 512
LICENCE = "Apache-2.0 (trained by this project on its own renders)"


# ------------------------------------------------------------------ crops
def crop(picture: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    return cv2.warpAffine(picture, matrix, (112, 112), borderValue=0.0)


def jittered_crops(
    renders: Dataset, index: NDArray[np.integer], rng: np.random.Generator, *, strength: float
) -> NDArray[Any]:
    """Aligned crops uint8 [B,112,112,3] with a detector's landmark errors and photometric damage."""
    landmarks = renders.meta["landmarks"][index]
    span = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=-1)[:, None, None]
    noise = rng.normal(0.0, 0.03, landmarks.shape) + rng.normal(0.0, 0.02, (len(index), 1, 2))
    matrices = similarity_transforms(landmarks + strength * span * noise, TEMPLATE)
    return np.stack(
        [
            degrade(crop(np.asarray(renders.pictures[i]), m), rng, strength)
            for i, m in zip(index, matrices, strict=True)
        ]
    )


def embed_pictures(data: Dataset, chosen: np.ndarray, recogniser: Path, path: Path) -> np.ndarray:
    """Face embeddings, float32 `[N,512]` of unit length for the `chosen` pictures, zero for others.

    Crops follow the true landmarks with a detector's jitter; cached in `path`. Of several processes the
    first one computes and the others wait.
    """
    rank, processes = join_processes()
    if rank == 0 and not path.is_file():
        session = onnxruntime.InferenceSession(str(recogniser), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        rng = np.random.default_rng(0)
        embeddings = np.zeros((len(data), 512), np.float32)
        for index in np.array_split(chosen, max(1, len(chosen) // 64)):
            crops = jittered_crops(data, index, rng, strength=0.3)
            blob = (crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5
            raw = np.asarray(session.run(None, {name: blob})[0])
            embeddings[index] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: np.save(file, embeddings))
    if processes > 1:
        dist.barrier()
    return np.load(path)


# ------------------------------------------------------------------ networks
class Residual(nn.Module):
    """Two 3x3 convolutions, BatchNorm and PReLU, with an average-pooled shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs and stride == 1
            else nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class ResidualRecogniser(nn.Module):
    """float32 [B,3,112,112] in [-1,1] to embeddings [B,512] (not normalised)."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            nn.Conv2d(3, w // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(w // 2),
            nn.PReLU(w // 2),
            Residual(w // 2, w, 2),
            Residual(w, 2 * w, 2),
            Residual(2 * w, 2 * w),
            Residual(2 * w, 4 * w, 2),
            Residual(4 * w, 4 * w),
            nn.Conv2d(4 * w, 64, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.PReLU(64),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 49, DIM), nn.BatchNorm1d(DIM))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class PlainRecogniser(nn.Module):
    """float32 [B,3,112,112] in [-1,1] to embeddings [B,512]: overlapping patches, then plain convolutions."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        w = width

        def convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
                nn.BatchNorm2d(outputs),
                nn.GELU(),
            )

        self.body = nn.Sequential(
            convolution(3, 64, 8, 4, 2),
            convolution(64, w, 3, 2, 1),
            convolution(w, w, 3, 1, 1),
            convolution(w, 2 * w, 3, 2, 1),
            convolution(2 * w, 2 * w, 3, 1, 1),
            convolution(2 * w, 64, 1, 1, 0),
        )
        self.head = nn.Linear(64 * 49, DIM)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


# ------------------------------------------------------------------ losses
class ParametricMargin(nn.Module):
    """Margin softmax whose class centres are a learned function of the people's parameters p_j.

    L = -log softmax_j( s (cos theta_j, with the margin m at j = y) ), centres c_j = g(p_j);
    angular (ArcFace): cos(theta_y + m); else (CosFace): cos(theta_y) - m.
    """

    def __init__(self, parameters: NDArray[np.float32], *, angular: bool, scale: float = 24.0) -> None:
        super().__init__()
        self.scale, self.angular = scale, angular
        self.parameters_of: Tensor
        self.register_buffer("parameters_of", torch.from_numpy(parameters), persistent=False)
        self.centre = nn.Sequential(nn.Linear(parameters.shape[1], 384), nn.GELU(), nn.Linear(384, DIM))

    def forward(self, embedding: Tensor, label: Tensor, margin: float) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast("cpu", torch.bfloat16):
            centres = self.centre(self.parameters_of)
        cosine = F.normalize(embedding.float(), dim=-1) @ F.normalize(centres.float(), dim=-1).T
        own = cosine.gather(1, label[:, None]).clamp(-0.9999, 0.9999)
        shifted = torch.cos(torch.acos(own) + margin) if self.angular else own - margin
        loss = F.cross_entropy(self.scale * cosine.scatter(1, label[:, None], shifted), label)
        accuracy = (cosine.argmax(1) == label).float().mean()
        return loss, {"margin_softmax": loss.item(), "accuracy": accuracy.item()}


class ParameterReading(nn.Module):
    """How well a linear map reads a person's parameters from the normalised embedding (smooth L1)."""

    def __init__(self, parameters: NDArray[np.float32]) -> None:
        super().__init__()
        self.parameters_of: Tensor
        self.register_buffer("parameters_of", torch.from_numpy(parameters), persistent=False)
        self.read = nn.Linear(DIM, parameters.shape[1])

    def forward(self, embedding: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
        read = self.read(F.normalize(embedding.float(), dim=-1) * DIM**0.5)
        loss = F.smooth_l1_loss(read, self.parameters_of[label])
        return loss, {"reading": loss.item()}


def supervised_contrastive(
    embedding: Tensor, label: Tensor, temperature: float
) -> tuple[Tensor, dict[str, float]]:
    """SupCon (L_out of Khosla et al. 2020, eq. 2) over one batch of several pictures per person."""
    e = F.normalize(embedding.float(), dim=-1)
    logits = e @ e.T / temperature
    logits.fill_diagonal_(-1e4)
    same = (label[:, None] == label[None]).float().fill_diagonal_(0.0)
    log_p = logits - logits.logsumexp(1, keepdim=True)
    loss = -((log_p * same).sum(1) / same.sum(1).clamp_min(1)).mean()
    return loss, {"contrastive": loss.item()}


# ------------------------------------------------------------------ training
@dataclass(frozen=True)
class Recipe:
    """One recogniser: its network, batch (people x pictures of each), damage of the crops and losses."""

    name: str
    network: Callable[[], nn.Module]
    people: int
    pictures: int
    strength: float
    learning_rate: float
    margin: float
    other_weight: float


CONDITIONING = Recipe(
    "pocket",
    ResidualRecogniser,
    people=128,
    pictures=2,
    strength=1.0,
    learning_rate=3e-3,
    margin=0.35,
    other_weight=2.0,
)
SCORING = Recipe(
    "pocket-scoring",
    PlainRecogniser,
    people=128,
    pictures=2,
    strength=1.3,
    learning_rate=3e-3,
    margin=0.25,
    other_weight=0.5,
)


def train(
    dataset: Path, output: Path, work: Path, *, minutes: float, steps: int | None, resume: bool, seed: int
) -> dict[str, Any]:
    """Train the conditioning recogniser and write `rec.onnx` into `output`; see `train_recipe`."""
    return train_recipe(
        CONDITIONING, dataset, output, work, minutes=minutes, steps=steps, resume=resume, seed=seed
    )


def train_scoring(
    dataset: Path, output: Path, work: Path, *, minutes: float, steps: int | None, resume: bool, seed: int
) -> dict[str, Any]:
    """Train the scoring recogniser and write `rec.onnx` into `output`; see `train_recipe`."""
    return train_recipe(
        SCORING, dataset, output, work, minutes=minutes, steps=steps, resume=resume, seed=seed + 77
    )


def train_recipe(
    recipe: Recipe,
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
) -> dict[str, Any]:
    """Train one recogniser on a rendered set and return its verification figures on held-out people."""
    torch.manual_seed(seed)
    renders = open_dataset(dataset)
    numbers, label = np.unique(renders.meta["person"], return_inverse=True)
    order = np.argsort(label, kind="stable")
    first = np.searchsorted(label[order], np.arange(len(numbers) + 1))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((seed, step))
        chosen = rng.choice(len(numbers), min(recipe.people, len(numbers)), replace=False)
        picks = np.concatenate([order[rng.integers(first[c], first[c + 1], recipe.pictures)] for c in chosen])
        pictures = jittered_crops(renders, picks, rng, strength=recipe.strength)
        return to_tensor(pictures), torch.from_numpy(label[picks].astype(np.int64))

    network = recipe.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    modules: nn.ModuleDict = nn.ModuleDict({"network": network})
    parameters = identity_targets(numbers)
    modules["margin"] = ParametricMargin(parameters, angular=recipe is CONDITIONING)
    if recipe is CONDITIONING:
        modules["reading"] = ParameterReading(parameters)
    optimizer = torch.optim.AdamW(
        modules.parameters(), lr=recipe.learning_rate, weight_decay=0.02, fused=True
    )
    course = begin(work, modules, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    modules.train()
    for pictures, labels in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            embedding = network(pictures)
        margin = recipe.margin * min(1.0, course.budget.progress / 0.4)
        softmax, terms = modules["margin"](embedding, labels, margin)
        if recipe is CONDITIONING:
            other, more = modules["reading"](embedding, labels)
        else:
            other, more = supervised_contrastive(embedding, labels, temperature=0.1)
        loss, terms = softmax + recipe.other_weight * other, terms | more
        course.learn(loss, **terms)

    output.mkdir(parents=True, exist_ok=True)
    export_onnx(
        network,
        torch.zeros(1, 3, 112, 112),
        output / "rec.onnx",
        input_name="data",
        output_names=["embedding"],
        dynamic={"data": {0: "batch"}, "embedding": {0: "batch"}},
    )
    figures = verification(output / "rec.onnx")
    pack = {"name": recipe.name, "licence": LICENCE, "det_size": [128, 128], "domain": "pocket-render"}
    save_json(output / "pack.json", pack | {"threshold": figures["threshold"]})
    size = sum(p.numel() for p in network.parameters())
    return course.finish(**figures, parameters=size)
