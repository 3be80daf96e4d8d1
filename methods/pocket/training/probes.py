"""Attribute probes: what a picture shows, read by one small network with one head per factor.

Trained on renders only, under the damage that an autoencoder or a camera does, they judge generated
pictures: the accuracy they reach on held-out renders bounds what they can say.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.errors import MissingWeightsError, WeightsError
from methods.files import save_json
from methods.pocket.training.dataset import person_of
from methods.pocket.training.perception_loop import (
    batches,
    begin,
    degrade,
    half_precision,
    open_dataset,
    to_tensor,
)
from methods.pocket.world import FACTORS, HELD_OUT, render, sample_context, sample_person
from methods.weights import fingerprint_tensors, save_weights

GENDERS = ("man", "woman")
HEADS: dict[str, tuple[str, ...]] = {**FACTORS, "gender": GENDERS}
JUDGED = ("scene", "clothing_color", "style", "accessory", "expression")
"""Factors on which generated pictures are judged; their probes must be at least 98 % accurate."""


class Probes(nn.Module):
    """float32 [B,3,128,128] in [-1,1] to one array of logits [B,values] per factor.

    Every factor looks at the same feature map [B,C,16,16] through its own learned attention, since a
    mouth, a hat and a horizon are found in different places.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        w = width

        def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
            )

        self.fine = nn.Sequential(
            convolution(3, w // 2, 2),
            convolution(w // 2, w, 2),
            convolution(w, w, 1),
            convolution(w, 2 * w, 2),
            convolution(2 * w, 2 * w, 1),
        )
        self.coarse = nn.Sequential(convolution(2 * w, 3 * w, 2), convolution(3 * w, 3 * w, 1))
        self.merge = nn.Sequential(nn.Conv2d(5 * w, 3 * w, 1, bias=False), nn.BatchNorm2d(3 * w), nn.ReLU())
        self.look = nn.Conv2d(3 * w, 2 * len(HEADS), 1)
        self.heads = nn.ModuleDict({name: nn.Linear(6 * w, len(values)) for name, values in HEADS.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.look_and_name(x)[1]

    def look_and_name(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The two attention maps of every factor, [B,factors,2,256] (rows of 16), and the logits."""
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        features = self.merge(torch.cat([fine, coarse], 1))
        attention = self.look(features).flatten(2).float().softmax(-1)  # [B, 2 heads, 256]
        seen = attention @ features.flatten(2).transpose(1, 2).float()  # [B, 2 heads, 3w]
        seen = seen.reshape(len(x), len(HEADS), -1)
        logits = {name: head(seen[:, i]) for i, (name, head) in enumerate(self.heads.items())}
        return attention.reshape(len(x), len(HEADS), 2, -1), logits


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


class ProbeSet:
    """Loaded probes: `predict` names the values of every factor by index into `HEADS`."""

    def __init__(self, network: Probes) -> None:
        self.network = network.eval()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return fingerprint_tensors(self.network.state_dict())

    @torch.inference_mode()
    def predict(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
        """Indices int64 [N] per factor of pictures uint8 [N,128,128,3] RGB."""
        parts = [self.network(to_tensor(pictures[i : i + 64])) for i in range(0, len(pictures), 64)]
        return {name: torch.cat([part[name] for part in parts]).argmax(1).numpy() for name in HEADS}


def load_probes(folder: Path) -> ProbeSet:
    """Load `probes.safetensors` of a folder whose `probes.json` names the same factors and values.

    Raises:
        WeightsError: a missing file, or probes of another world.
    """
    folder = Path(folder)
    try:
        recipe = json.loads((folder / "probes.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "probes.safetensors")
    except OSError as error:
        raise MissingWeightsError(
            f"No probes in {folder}: {error}.", hint="Run `python scripts/train_pocket.py probes`."
        ) from error
    if recipe["heads"] != {name: list(values) for name, values in HEADS.items()}:
        raise WeightsError(
            f"The probes in {folder} were trained on other factors.",
            hint="Run `python scripts/train_pocket.py probes`.",
        )
    network = Probes(recipe["width"])
    network.load_state_dict(weights)
    return ProbeSet(network)


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
    genders = np.array([GENDERS.index(person_of(int(number)).gender) for number in numbers])[inverse]
    truth = {name: renders.meta[name] for name in FACTORS} | {"gender": genders}

    def batch(step: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([seed, step])
        picks = rng.integers(0, len(renders), batch_size)
        pictures = np.stack([degrade(np.asarray(renders.pictures[i]), rng, 0.7) for i in picks])
        face = torch.from_numpy(where_to_look(renders.meta["landmarks"][picks]))
        named = {name: torch.from_numpy(truth[name][picks].astype(np.int64)) for name in HEADS}
        return to_tensor(pictures), face, named

    network = Probes(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02, fused=True)
    course = begin(work, network, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    network.train()
    facial = [list(HEADS).index(name) for name in ("expression", "pose", "gender")]
    for pictures, face, named in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            attention, logits = network.look_and_name(pictures)
        losses = {
            name: F.cross_entropy(logits[name].float(), named[name], label_smoothing=0.02) for name in HEADS
        }
        # a mouth is 2 of 256 cells: told where to look, what faces say is learned within minutes
        focus = -(attention[:, facial] * face[:, None]).sum(-1).clamp_min(1e-4).log().mean()
        figures = {name: losses[name].item() for name in JUDGED} | {"focus": focus.item()}
        total = torch.stack([*losses.values(), losses["expression"], focus]).sum() / len(HEADS)
        course.learn(total, **figures)

    output.mkdir(parents=True, exist_ok=True)
    save_weights(output / "probes.safetensors", half_precision(network.state_dict()))
    save_json(output / "probes.json", {"width": width, "heads": {n: list(v) for n, v in HEADS.items()}})
    return course.finish(**accuracies(load_probes(output), evaluated))


def accuracies(probes: ProbeSet, pictures: int = 2000, seed: int = HELD_OUT) -> dict[str, float]:
    """Share of held-out renders (people nobody trained on, all styles) that each probe names rightly."""
    rng = np.random.default_rng(seed + 1)
    portraits = [render(sample_person(seed + i), sample_context(rng)) for i in range(pictures)]
    found = probes.predict(np.stack([portrait.pixels for portrait in portraits]))
    figures = {}
    for name, values in HEADS.items():
        owner = [p.person if name == "gender" else p.context for p in portraits]
        true = np.array([values.index(getattr(o, name)) for o in owner])
        figures[name] = round(float((found[name] == true).mean()), 4)
    return figures
