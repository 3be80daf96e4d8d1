"""A small SCRFD-shaped face detector (Guo et al. 2021) with five landmarks, in insightface's ONNX format.

Nine outputs: scores, box distances and landmark offsets at strides 8, 16 and 32, two anchors per
place, flattened to [places * 2, 1 | 4 | 10]; distances in units of the stride, from the place's
corner (column * stride, row * stride), as insightface's decoder expects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.files import save_json
from scripts.pocket.dataset import Dataset
from scripts.pocket.detector_pictures import SIZE, scene
from scripts.pocket.face_figures import pack_figures
from scripts.pocket.perception_loop import (
    batches,
    begin,
    export_onnx,
    open_dataset,
    to_tensor,
)
from scripts.pocket.recogniser import LICENCE, Residual

STRIDES = (8, 16, 32)
ANCHORS = ((20.0, 33.0), (50.0, 72.0), (98.0, 130.0))
"""Face sizes (square root of the box area, pixels) that the two anchors of each stride answer for."""
MATCH, NEAR = 1.35, 1.7
"""An anchor is positive within a factor MATCH of its size, ignored up to NEAR, negative beyond."""


# ------------------------------------------------------------------ network
class Level(nn.Module):
    """The head of one stride: feature [B,C,h,w] to scores [B,h*w*2,1], boxes [..,4], landmarks [..,10]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.score, self.box, self.kps = (
            nn.Conv2d(width, 2, 1),
            nn.Conv2d(width, 8, 1),
            nn.Conv2d(width, 20, 1),
        )
        # start with no face anywhere and boxes of a plausible size
        self.score.bias = nn.Parameter(torch.full((2,), -4.0))
        self.box.bias = nn.Parameter(torch.full((8,), 1.5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(x)
        batch = x.shape[0]
        flat = [
            y.permute(0, 2, 3, 1).reshape(batch, -1, d)
            for y, d in ((self.score(x), 1), (self.box(x), 4), (self.kps(x), 10))
        ]
        return flat[0], flat[1], flat[2]


class Detector(nn.Module):
    """float32 [B,3,H,W], (x - 127.5) / 128, H and W multiples of 32, to nine maps (scores as logits)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.c8 = nn.Sequential(Residual(32, w, 2), Residual(w, w))
        self.c16 = nn.Sequential(Residual(w, w + 32, 2), Residual(w + 32, w + 32))
        self.c32 = nn.Sequential(Residual(w + 32, w + 64, 2), Residual(w + 64, w + 64))
        self.lateral = nn.ModuleList([nn.Conv2d(c, w, 1) for c in (w, w + 32, w + 64)])
        self.levels = nn.ModuleList([Level(w) for _ in STRIDES])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        c8 = self.c8(self.stem(x))
        c16 = self.c16(c8)
        c32 = self.c32(c16)
        p32 = self.lateral[2](c32)
        p16 = self.lateral[1](c16) + F.interpolate(p32, scale_factor=2.0, mode="nearest")
        p8 = self.lateral[0](c8) + F.interpolate(p16, scale_factor=2.0, mode="nearest")
        maps = [level(p) for level, p in zip(self.levels, (p8, p16, p32), strict=True)]
        return tuple(maps[i][kind] for kind in range(3) for i in range(3))


class Exported(nn.Module):
    """The detector as insightface runs it: one picture, probabilities, no batch axis."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.detector(x)
        widths = (1, 1, 1, 4, 4, 4, 10, 10, 10)
        flat = [m.reshape(-1, w) for m, w in zip(maps, widths, strict=True)]
        return tuple([torch.sigmoid(m) for m in flat[:3]] + flat[3:])


# ------------------------------------------------------------------ targets and loss
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Place [A,2], stride [A] and anchor size [A] of every prediction, in output order."""
    places, strides, sizes = [], [], []
    for stride, pair in zip(STRIDES, ANCHORS, strict=True):
        corners = range(0, SIZE, stride)
        places += [(x, y) for y in corners for x in corners for _ in pair]
        strides += [stride] * (len(corners) ** 2 * len(pair))
        sizes += list(pair) * len(corners) ** 2
    return np.array(places, np.float32), np.array(strides, np.float32), np.array(sizes, np.float32)


PLACES, STRIDE, ANCHOR = _grid()


def assign(boxes: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """State of every anchor (1 positive, 0 negative, -1 ignored) and the face it answers for."""
    state = np.zeros(len(PLACES), np.int8)
    face = np.zeros(len(PLACES), np.int64)
    best = np.full(len(PLACES), np.inf)
    for k, box in enumerate(boxes):
        size = math.sqrt(max(float(np.prod(box[2:] - box[:2])), 1.0))
        ratio = np.maximum(ANCHOR / size, size / ANCHOR)
        distance = np.abs(PLACES - (box[:2] + box[2:]) / 2).max(-1)
        reach = np.maximum(0.2 * size, 0.7 * STRIDE)
        positive = (ratio < MATCH) & (distance < reach) & (distance < best)
        near = (ratio < NEAR) & (distance < 1.7 * reach)
        state[near & (state == 0)] = -1
        state[positive], face[positive], best[positive] = 1, k, distance[positive]
    return state, face


@dataclass
class Batch:
    pictures: Tensor  # float32 [B,3,128,128]
    state: Tensor  # int8 [B,A]
    where: Tensor  # bool [B,A], positives
    boxes: Tensor  # float32 [M,4], left, top, right, bottom distances / stride
    landmarks: Tensor  # float32 [M,10], offsets / stride
    scale: Tensor  # float32 [M], stride / face size


def make_batch(renders: Dataset, seed: int, step: int, size: int) -> Batch:
    rng = np.random.default_rng((seed, step))
    pictures, states, boxes, landmarks, scales = [], [], [], [], []
    for _ in range(size):
        made = scene(renders, rng)
        state, face = assign(made.boxes)
        pictures.append(made.pixels)
        states.append(state)
        on = np.flatnonzero(state == 1)
        if len(on):
            place, stride, box = PLACES[on], STRIDE[on, None], made.boxes[face[on]]
            boxes.append(np.concatenate([place - box[:, :2], box[:, 2:] - place], 1) / stride)
            points = made.landmarks[face[on]] - place[:, None]
            landmarks.append(points.reshape(len(on), 10) / stride)
            scales.append(STRIDE[on] / np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])))
    state_tensor = torch.from_numpy(np.stack(states))
    return Batch(
        to_tensor(np.stack(pictures), 127.5, 128.0),
        state_tensor,
        state_tensor == 1,
        torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
        torch.from_numpy(np.concatenate(landmarks).astype(np.float32)),
        torch.from_numpy(np.concatenate(scales).astype(np.float32)),
    )


def detection_loss(maps: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Focal loss on scores, 1 - IoU on boxes, L1 in face sizes on landmarks."""
    scores, boxes, points = (torch.cat([m.float() for m in maps[i : i + 3]], 1) for i in (0, 3, 6))
    count = max(1, len(batch.scale))
    target = batch.where.float()
    logit = scores[..., 0]
    weight = (target - torch.sigmoid(logit)).abs().pow(2) * (batch.state >= 0)
    score = (
        F.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight.detach()
    ).sum() / count

    d, t = boxes[batch.where], batch.boxes
    overlap = (torch.minimum(d[:, :2], t[:, :2]) + torch.minimum(d[:, 2:], t[:, 2:])).clamp_min(0).prod(1)
    areas = (d[:, :2] + d[:, 2:]).clamp_min(0).prod(1) + (t[:, :2] + t[:, 2:]).prod(1)
    iou = overlap / (areas - overlap).clamp_min(1e-3)
    coarse = ((d - t).abs() * batch.scale[:, None]).mean()
    box = (1 - iou).mean() + 2 * coarse
    error = ((points[batch.where] - batch.landmarks).abs() * batch.scale[:, None]).mean()
    return 2 * score + box + 20 * error, {
        "score": score.item(),
        "iou": iou.mean().item(),
        "landmark": error.item(),
    }


# ------------------------------------------------------------------ training
def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
    batch_size: int = 32,
) -> dict[str, Any]:
    """Train the detector, write `det.onnx` and `pack.json` into `output`; figures on held-out renders.

    With a recogniser `rec.onnx` already in `output`, the figures include verification through the
    whole pack.
    """
    torch.manual_seed(seed)
    renders = open_dataset(dataset)
    detector = Detector().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
    course = begin(work, detector, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    detector.train()
    for batch in batches(course, lambda step: make_batch(renders, seed, step, batch_size)):
        with torch.autocast("cpu", torch.bfloat16):
            maps = detector(batch.pictures)
        loss, figures = detection_loss(maps, batch)
        course.learn(loss, **figures)
    output.mkdir(parents=True, exist_ok=True)
    export(detector, output)
    parameters = sum(p.numel() for p in detector.parameters())
    return course.finish(**pack_figures(output), parameters=parameters)


def export(detector: Detector, output: Path) -> None:
    """Write det.onnx (any picture size that is a multiple of 32) and pack.json."""
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    dynamic = {"input.1": {2: "height", 3: "width"}} | {name: {0: f"n_{name}"} for name in names}
    export_onnx(
        Exported(detector),
        torch.zeros(1, 3, SIZE, SIZE),
        output / "det.onnx",
        input_name="input.1",
        output_names=names,
        dynamic=dynamic,
    )
    if not (output / "pack.json").exists():
        save_json(
            output / "pack.json",
            {"name": output.name, "licence": LICENCE, "det_size": [SIZE, SIZE], "domain": "pocket-render"},
        )
