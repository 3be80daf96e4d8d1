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

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.pocket.training.common import seed_everything
from methods.pocket.training.dataset import HELD_OUT_SEED, Dataset
from methods.pocket.training.perception_loop import (
    Course,
    degrade,
    export_onnx,
    open_dataset,
    to_tensor,
    write_json,
)
from methods.pocket.training.recogniser import LICENCE, Residual, pair_figures
from methods.pocket.world import render, sample_context, sample_person

SIZE = 128
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
        self.stem = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.score, self.box, self.kps = nn.Conv2d(width, 2, 1), nn.Conv2d(width, 8, 1), nn.Conv2d(width, 20, 1)
        nn.init.constant_(self.score.bias, -4.0)
        nn.init.constant_(self.box.bias, 1.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(x)
        batch = x.shape[0]
        flat = [y.permute(0, 2, 3, 1).reshape(batch, -1, d)
                for y, d in ((self.score(x), 1), (self.box(x), 4), (self.kps(x), 10))]
        return flat[0], flat[1], flat[2]


class Detector(nn.Module):
    """float32 [B,3,H,W], (x - 127.5) / 128, H and W multiples of 32, to nine maps (scores as logits)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                                  nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
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


# ------------------------------------------------------------------ training pictures
@dataclass
class Scene:
    """One training picture with its faces: pixels uint8 [128,128,3], boxes [K,4], landmarks [K,5,2]."""

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]


EMPTY = (np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))


def _moved(boxes: NDArray[np.float32], landmarks: NDArray[np.float32], scale: float,
           shift: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    offset = np.asarray(shift, np.float32)
    return boxes * np.float32(scale) + np.tile(offset, 2), landmarks * np.float32(scale) + offset


def _placed(renders: Dataset, i: int, rng: np.random.Generator) -> Scene:
    """A picture scaled by 0.4..1.35 and moved so that its face stays visible; the rest is filled."""
    picture, box, points = np.asarray(renders.pictures[i]), renders.meta["box"][i], renders.meta["landmarks"][i]
    scale = math.exp(rng.uniform(math.log(0.4), math.log(1.35)))
    size = max(box[2:] - box[:2]) * scale
    centre = (box[:2] + box[2:]) / 2 * scale
    if rng.random() < 0.5:      # letterboxed as insightface does: top left corner, black
        shift, fill = np.zeros(2), 0
    else:
        room = min(0.45 * size, SIZE / 2 - 1)
        shift, fill = rng.uniform(room, SIZE - room, 2) - centre, int(rng.integers(0, 256))
        if scale > 1:           # keep the canvas covered where possible
            shift = np.clip(shift, SIZE * (1 - scale), 0)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    area = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR
    if scale < 0.7:             # warpAffine does not average; shrink first
        small = cv2.resize(picture, (round(SIZE * scale),) * 2, interpolation=area)
        matrix[0, 0] = matrix[1, 1] = 1.0
        pixels = cv2.warpAffine(small, matrix, (SIZE, SIZE), borderValue=(fill,) * 3)
    else:
        pixels = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=area, borderValue=(fill,) * 3)
    boxes, landmarks = _moved(box[None], points[None], scale, shift)
    middle = (boxes[0, :2] + boxes[0, 2:]) / 2
    if (middle < 2).any() or (middle > SIZE - 3).any():
        return Scene(pixels, *EMPTY)
    return Scene(pixels, boxes, landmarks)


def _tiled(renders: Dataset, indices: NDArray[np.integer]) -> Scene:
    """Two or four pictures beside each other at half size."""
    canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
    boxes, landmarks = [], []
    half = SIZE // 2
    for place, i in enumerate(indices):
        corner = np.array([(place % 2) * half, (place // 2) * half])
        tile = cv2.resize(np.asarray(renders.pictures[i]), (half, half), interpolation=cv2.INTER_AREA)
        canvas[corner[1]:corner[1] + half, corner[0]:corner[0] + half] = tile
        b, p = _moved(renders.meta["box"][i][None], renders.meta["landmarks"][i][None], 0.5, corner)
        boxes.append(b)
        landmarks.append(p)
    return Scene(canvas, np.concatenate(boxes), np.concatenate(landmarks))


def _faceless(renders: Dataset, i: int, rng: np.random.Generator) -> Scene:
    """A window of a picture beside, above or below its face, or texture without anything."""
    if rng.random() < 0.25:
        coarse = rng.integers(0, 256, (int(rng.integers(1, 24)),) * 2 + (3,), dtype=np.uint8)
        return Scene(cv2.resize(coarse, (SIZE, SIZE), interpolation=int(rng.integers(0, 3))), *EMPTY)
    picture, (x1, y1, x2, y2) = np.asarray(renders.pictures[i]), renders.meta["box"][i].round().astype(int)
    strips = [picture[:, :max(x1 - 2, 0)], picture[:, x2 + 2:], picture[:max(y1 - 2, 0)], picture[y2 + 2:]]
    strip = max(strips, key=lambda s: s.size) if rng.random() < 0.5 else strips[int(rng.integers(4))]
    if min(strip.shape[:2]) < 8:
        strip = picture[:8, :8]
    side = min(strip.shape[:2])
    top, left = (int(rng.integers(0, length - side + 1)) for length in strip.shape[:2])
    return Scene(cv2.resize(np.ascontiguousarray(strip[top:top + side, left:left + side]), (SIZE, SIZE)), *EMPTY)


def scene(renders: Dataset, rng: np.random.Generator) -> Scene:
    """A random training picture: mostly one face as rendered or moved, some with several, some with none."""
    i, choice = int(rng.integers(len(renders))), rng.random()
    if choice < 0.3:
        made = Scene(np.asarray(renders.pictures[i]), renders.meta["box"][i][None], renders.meta["landmarks"][i][None])
    elif choice < 0.8:
        made = _placed(renders, i, rng)
    elif choice < 0.88:
        made = _tiled(renders, rng.integers(0, len(renders), int(rng.choice([2, 4]))))
    else:
        made = _faceless(renders, i, rng)
    made.pixels = degrade(np.ascontiguousarray(made.pixels), rng)
    return made


# ------------------------------------------------------------------ targets and loss
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Place [A,2], stride [A] and anchor size [A] of every prediction, in output order."""
    places, strides, sizes = [], [], []
    for stride, pair in zip(STRIDES, ANCHORS, strict=True):
        count = SIZE // stride
        xy = np.stack(np.mgrid[:count, :count][::-1], -1).reshape(-1, 2).astype(np.float32) * stride
        places.append(np.repeat(xy, 2, axis=0))
        strides.append(np.full(2 * count * count, stride, np.float32))
        sizes.append(np.tile(np.asarray(pair, np.float32), count * count))
    return np.concatenate(places), np.concatenate(strides), np.concatenate(sizes)


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
    pictures: Tensor        # float32 [B,3,128,128]
    state: Tensor           # int8 [B,A]
    where: Tensor           # bool [B,A], positives
    boxes: Tensor           # float32 [M,4], left, top, right, bottom distances / stride
    landmarks: Tensor       # float32 [M,10], offsets / stride
    scale: Tensor           # float32 [M], stride / face size


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
    return Batch(to_tensor(np.stack(pictures), 127.5, 128.0), state_tensor, state_tensor == 1,
                 torch.from_numpy(np.concatenate(boxes).astype(np.float32)),
                 torch.from_numpy(np.concatenate(landmarks).astype(np.float32)),
                 torch.from_numpy(np.concatenate(scales).astype(np.float32)))


def detection_loss(maps: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Focal loss on scores, 1 - IoU on boxes, L1 in face sizes on landmarks."""
    scores, boxes, points = (torch.cat([m.float() for m in maps[i:i + 3]], 1) for i in (0, 3, 6))
    count = max(1, len(batch.scale))
    target = batch.where.float()
    logit = scores[..., 0]
    weight = (target - torch.sigmoid(logit)).abs().pow(2) * (batch.state >= 0)
    score = (F.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight.detach()).sum() / count

    d, t = boxes[batch.where], batch.boxes
    overlap = (torch.minimum(d[:, :2], t[:, :2]) + torch.minimum(d[:, 2:], t[:, 2:])).clamp_min(0).prod(1)
    areas = (d[:, :2] + d[:, 2:]).clamp_min(0).prod(1) + (t[:, :2] + t[:, 2:]).prod(1)
    iou = overlap / (areas - overlap).clamp_min(1e-3)
    coarse = ((d - t).abs() * batch.scale[:, None]).mean()
    box = (1 - iou).mean() + 2 * coarse
    error = ((points[batch.where] - batch.landmarks).abs() * batch.scale[:, None]).mean()
    return 2 * score + box + 12 * error, {"score": score.item(), "iou": iou.mean().item(), "landmark": error.item()}


# ------------------------------------------------------------------ training
def train(dataset: Path, output: Path, work: Path, *, minutes: float, steps: int | None, resume: bool,
          seed: int, batch_size: int = 128) -> dict[str, Any]:
    """Train the detector, write `det.onnx` and `pack.json` into `output`; figures on held-out renders.

    With a recogniser `rec.onnx` already in `output`, the figures include verification through the
    whole pack.
    """
    seed_everything(seed)
    renders = open_dataset(dataset)
    detector = Detector().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=3e-3, weight_decay=0.01, fused=True)
    course = Course(work, detector, optimiser, minutes=minutes, steps=steps, resume=resume, seed=seed)
    detector.train()
    for batch in course.batches(lambda step: make_batch(renders, seed, step, batch_size)):
        with torch.autocast("cpu", torch.bfloat16):
            maps = detector(batch.pictures)
        loss, figures = detection_loss(maps, batch)
        course.learn(loss, figures)
    output.mkdir(parents=True, exist_ok=True)
    export(detector, output)
    parameters = sum(p.numel() for p in detector.parameters())
    return course.finish(pack_figures(output) | {"parameters": parameters})


def export(detector: Detector, output: Path) -> None:
    """Write det.onnx (any picture size that is a multiple of 32) and pack.json."""
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    dynamic = {"input.1": {2: "height", 3: "width"}} | {name: {0: f"n_{name}"} for name in names}
    export_onnx(Exported(detector), torch.zeros(1, 3, SIZE, SIZE), output / "det.onnx", input_name="input.1",
                output_names=names, dynamic=dynamic)
    if not (output / "pack.json").exists():
        write_json(output / "pack.json", {"name": output.name, "licence": LICENCE, "det_size": [SIZE, SIZE],
                                          "domain": "pocket-render"})


# ------------------------------------------------------------------ evaluation
def pack_figures(folder: Path, people: int = 300, contexts: int = 8, style: str | None = "photo",
                 seed: int = HELD_OUT_SEED) -> dict[str, Any]:
    """Recall, landmark error and, with a recogniser, verification of a face pack through insightface.

    Args:
        folder: a pack: det.onnx, perhaps rec.onnx.
        style: the style of the rendered pictures, None for all styles.

    Returns:
        recall: share of pictures with a detection of IoU >= 0.5 with the true face;
        false_per_picture: other detections; landmark_error: mean distance / inter-ocular distance;
        landmark_error_p95; verification pairs as `pair_figures` (undetected pictures left out).
    """
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"])
    analysis.prepare(ctx_id=-1, det_size=(SIZE, SIZE))
    rng = np.random.default_rng(seed)
    found = extra = total = 0
    errors: list[float] = []
    embeddings, person = [], []
    for number in range(people):
        who = sample_person(seed + number)
        for _ in range(contexts):
            context = sample_context(rng) if style is None else sample_context(rng, style=style)
            portrait = render(who, context)
            total += 1
            faces = analysis.get(portrait.pixels[..., ::-1].copy())
            hits = [face for face in faces if iou(face.bbox, portrait.box) >= 0.5]
            extra += len(faces) - len(hits)
            if not hits:
                continue
            found += 1
            span = np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0])
            errors.append(float(np.linalg.norm(hits[0].kps - portrait.landmarks, axis=-1).mean() / span))
            if "recognition" in analysis.models:
                embeddings.append(hits[0].normed_embedding)
                person.append(number)
    figures: dict[str, Any] = {
        "recall": round(found / total, 4), "false_per_picture": round(extra / total, 4), "pictures": total,
        "landmark_error": round(float(np.mean(errors)), 4) if errors else None,
        "landmark_error_p95": round(float(np.quantile(errors, 0.95)), 4) if errors else None}
    if len(set(person)) > 1:
        figures["verification"] = pair_figures(np.stack(embeddings), np.asarray(person))
    return figures


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes x1,y1,x2,y2."""
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))
