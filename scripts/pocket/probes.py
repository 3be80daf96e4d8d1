"""Training of the attribute probes (`methods.pocket.probes`) on damaged renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from methods.files import save_json
from methods.pocket.probes import IDENTITY, JUDGED, OUTPUTS, Probes, ProbeSet, attribute, load_probes
from methods.pocket.world import FACTORS, HELD_OUT, Portrait, render, sample_context, sample_person
from methods.weights import save_weights
from scripts.pocket.dataset import person_of
from scripts.pocket.perception_loop import (
    batches,
    begin,
    degrade,
    half_precision,
    open_dataset,
    to_tensor,
)


def where_to_look(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Where faces show mood, turn and gender: cells of the 16x16 map around the mouth and around the eyes.

    landmarks [B,5,2] in pixels of a 128 px picture -> float32 [B,2,256], 1 inside.
    """
    y, x = np.mgrid[:16, :16].reshape(2, -1) * 8.0 + 4.0
    cells = np.stack([x, y], -1)[None, :, None]  # [1,256,1,2]
    span = np.linalg.norm(landmarks[:, 1] - landmarks[:, 0], axis=-1)[:, None]
    mouth = landmarks[:, 3:].mean(1, keepdims=True)
    brows = landmarks[:, :2] - np.array([0.0, 0.15]) * span[..., None]
    inside = [
        np.linalg.norm(cells - points[:, None], axis=-1).min(-1) < np.maximum(0.5 * span, 7.0)
        for points in (mouth, brows)
    ]
    return np.stack(inside, axis=1).astype(np.float32)


def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
    batch_size: int = 64,
    width: int = 48,
    evaluated: int = 2000,
) -> dict[str, Any]:
    """Train the probes, write them into `output`, return accuracies on `evaluated` held-out renders."""
    torch.manual_seed(seed)
    renders = open_dataset(dataset)
    numbers, inverse = np.unique(renders.meta["person"], return_inverse=True)
    people = [person_of(int(number)) for number in numbers]
    truth = {name: renders.meta[name] for name in FACTORS}
    for name in (*IDENTITY, "gender"):
        truth[name] = np.array([OUTPUTS[name].index(attribute(person, name)) for person in people])[inverse]

    def batch(step: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([seed, step])
        picks = rng.integers(0, len(renders), batch_size)
        pictures = np.stack([degrade(np.asarray(renders.pictures[i]), rng, 0.7) for i in picks])
        face = torch.from_numpy(where_to_look(renders.meta["landmarks"][picks]))
        named = {name: torch.from_numpy(truth[name][picks].astype(np.int64)) for name in OUTPUTS}
        return to_tensor(pictures), face, named

    network = Probes(width, OUTPUTS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02, fused=True)
    course = begin(work, network, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    network.train()
    facial = [list(OUTPUTS).index(name) for name in ("expression", "pose", "gender", "beard", "iris")]
    for pictures, face, named in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            attention, logits = network.look_and_name(pictures)
        losses = {
            name: F.cross_entropy(logits[name].float(), named[name], label_smoothing=0.02) for name in OUTPUTS
        }
        # a mouth is 2 of 256 cells: told where to look, what faces say is learned within minutes
        focus = -(attention[:, facial] * face[:, None]).sum(-1).clamp_min(1e-4).log().mean()
        figures = {name: losses[name].item() for name in JUDGED} | {"focus": focus.item()}
        total = torch.stack([*losses.values(), losses["expression"], focus]).sum() / len(OUTPUTS)
        course.learn(total, **figures)

    output.mkdir(parents=True, exist_ok=True)
    save_weights(output / "probes.safetensors", half_precision(network.state_dict()))
    save_json(output / "probes.json", {"width": width, "heads": {n: list(v) for n, v in OUTPUTS.items()}})
    return course.finish(**accuracies(load_probes(output), evaluated))


def true_value(portrait: Portrait, name: str) -> int:
    """What a head should say about a render, by index."""
    if name in FACTORS:
        return FACTORS[name].index(getattr(portrait.context, name))
    return OUTPUTS[name].index(attribute(portrait.person, name))


def accuracies(probes: ProbeSet, pictures: int = 2000, seed: int = HELD_OUT) -> dict[str, float]:
    """Share of held-out renders (people nobody trained on, all styles) that each probe names rightly."""
    rng = np.random.default_rng(seed + 1)
    portraits = [render(sample_person(seed + i), sample_context(rng)) for i in range(pictures)]
    found = probes.predict(np.stack([portrait.pixels for portrait in portraits]))
    figures = {}
    for name in found:
        true = np.array([true_value(portrait, name) for portrait in portraits])
        figures[name] = round(float((found[name] == true).mean()), 4)
    return figures
