"""Attribute probes: what a picture shows, read by one small network with one head per factor.

Trained on renders only, under the damage that an autoencoder or a camera does, they judge generated
pictures: the accuracy they reach on held-out renders bounds what they can say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.errors import MissingWeightsError, WeightsError
from methods.pocket.world import FACTORS, Person
from methods.pocket.world.looks import HAIR_LENGTHS
from methods.pocket.world.person import BEARDS, HAIR_COLOURS, HAIR_STYLES, IRIS_COLOURS, MARKS
from methods.weights import fingerprint_tensors

GENDERS = ("man", "woman")
HEADS: dict[str, tuple[str, ...]] = {**FACTORS, "gender": GENDERS}
IDENTITY: dict[str, tuple[str, ...]] = {
    "hair_style": HAIR_STYLES,
    "hair_length": tuple(dict.fromkeys(HAIR_LENGTHS.values())),
    "hair_colour": HAIR_COLOURS,
    "beard": BEARDS,
    "iris": IRIS_COLOURS,
    "mark": MARKS,
}
"""Who somebody is, attribute by attribute."""
OUTPUTS = HEADS | IDENTITY
"""All that the probes were trained on."""
JUDGED = ("scene", "clothing_color", "style", "accessory", "expression")
"""Factors on which generated pictures are judged; their probes must be at least 98 % accurate."""


class Probes(nn.Module):
    """float32 [B,3,128,128] in [-1,1] to one array of logits [B,values] per factor.

    Every factor looks at the same feature map [B,C,16,16] through its own learned attention, since a
    mouth, a hat and a horizon are found in different places.
    """

    def __init__(self, width: int = 48, heads: Mapping[str, Sequence[str]] = HEADS) -> None:
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
        self.look = nn.Conv2d(3 * w, 2 * len(heads), 1)
        self.heads = nn.ModuleDict({name: nn.Linear(6 * w, len(values)) for name, values in heads.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.look_and_name(x)[1]

    def look_and_name(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The two attention maps of every factor, [B,factors,2,256] (rows of 16), and the logits."""
        fine = self.fine(x)
        coarse = F.interpolate(self.coarse(fine), scale_factor=2.0, mode="nearest")
        features = self.merge(torch.cat([fine, coarse], 1))
        attention = self.look(features).flatten(2).float().softmax(-1)  # [B, 2 heads, 256]
        seen = attention @ features.flatten(2).transpose(1, 2).float()  # [B, 2 heads, 3w]
        seen = seen.reshape(len(x), len(self.heads), -1)
        logits = {name: head(seen[:, i]) for i, (name, head) in enumerate(self.heads.items())}
        return attention.reshape(len(x), len(self.heads), 2, -1), logits


class ProbeSet:
    """Loaded probes: `predict` names the values of every head by index into `HEADS`, or `IDENTITY`."""

    def __init__(self, network: Probes) -> None:
        self.network = network.eval()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the weights."""
        return fingerprint_tensors(self.network.state_dict())

    @torch.inference_mode()
    def predict(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
        """Indices int64 [N] per factor of pictures uint8 [N,128,128,3] RGB."""
        parts = [self.network(_to_tensor(pictures[i : i + 64])) for i in range(0, len(pictures), 64)]
        return {
            name: torch.cat([part[name] for part in parts]).argmax(1).numpy() for name in self.network.heads
        }


def attribute(person: Person, name: str) -> str:
    """The true value of a person's attribute out of `IDENTITY`, or of their gender."""
    return HAIR_LENGTHS[person.hair_style] if name == "hair_length" else getattr(person, name)


def load_probes(folder: Path) -> ProbeSet:
    """Load `probes.safetensors` of a folder whose `probes.json` names the same heads and values.

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
    known = {name: list(values) for name, values in OUTPUTS.items()}
    if recipe["heads"] != known:
        raise WeightsError(
            f"The probes in {folder} were trained on other factors.",
            hint="Run `python scripts/train_pocket.py probes`.",
        )
    network = Probes(recipe["width"], recipe["heads"])
    network.load_state_dict(weights)
    return ProbeSet(network)


def _to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """float32 [N,3,H,W] in [-1,1], channels_last in memory."""
    tensor = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    return tensor.float().sub_(127.5).div_(127.5).contiguous(memory_format=torch.channels_last)
