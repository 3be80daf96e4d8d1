"""Figures of face models on held-out rendered people: verification pairs, detection, landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.faces.geometry import align
from methods.pocket.world import HELD_OUT, render, sample_context, sample_person


def embed_crops(model: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """L2-normalised embeddings [N,512] of RGB crops uint8 [N,112,112,3] by an exported recogniser."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(crops), 128):
        data = (crops[start : start + 128].transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
        parts.append(session.run(None, {"data": data})[0])
    embedding = np.concatenate(parts)
    return embedding / np.linalg.norm(embedding, axis=1, keepdims=True)


def pair_figures(embedding: NDArray[np.float32], person: NDArray[np.integer]) -> dict[str, float]:
    """Genuine and impostor similarity and TAR at FAR 1e-3 over all pairs of embeddings [N,D]."""
    upper = np.triu_indices(len(person), 1)
    similarities = (embedding @ embedding.T)[upper]
    same = (person[:, None] == person[None])[upper]
    genuine, impostor = similarities[same], similarities[~same]
    threshold = float(np.quantile(impostor, 1 - 1e-3))
    return {
        "tar_at_far_1e-3": round(float((genuine > threshold).mean()), 4),
        "threshold": round(threshold, 4),
        "genuine_mean": round(float(genuine.mean()), 4),
        "impostor_mean": round(float(impostor.mean()), 4),
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
    }


def verification(
    model: Path, people: int = 300, contexts: int = 8, style: str = "photo", seed: int = HELD_OUT
) -> dict[str, float]:
    """`pair_figures` on held-out people in random contexts of one style, cropped by true landmarks."""
    rng = np.random.default_rng(seed)
    crops, person = [], []
    for number in range(people):
        who = sample_person(seed + number)
        for _ in range(contexts):
            portrait = render(who, sample_context(rng, style=style))
            crops.append(align(portrait.pixels, portrait.landmarks))
            person.append(number)
    return pair_figures(embed_crops(model, np.stack(crops)), np.asarray(person))


def pack_figures(
    folder: Path, people: int = 300, contexts: int = 8, style: str | None = "photo", seed: int = HELD_OUT
) -> dict[str, Any]:
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
    analysis.prepare(ctx_id=-1, det_size=(128, 128))
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
        "recall": round(found / total, 4),
        "false_per_picture": round(extra / total, 4),
        "pictures": total,
        "landmark_error": round(float(np.mean(errors)), 4) if errors else None,
        "landmark_error_p95": round(float(np.quantile(errors, 0.95)), 4) if errors else None,
    }
    if len(set(person)) > 1:
        figures["verification"] = pair_figures(np.stack(embeddings), np.asarray(person))
    return figures


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes x1,y1,x2,y2."""
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))
