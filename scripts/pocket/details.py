"""A reader of what is small in a face, eye colour and marks, in aligned crops: an instrument for the VAE.

Whole-picture probes hardly read a mole of two pixels. This one looks at the 112 x 112 crop of recognisers.
It is trained on renders in a few minutes; the VAE learns from it, and `pocket_quality.py` measures by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.faces.geometry import TEMPLATE, similarity_transforms
from methods.pocket.probes import IDENTITY, attribute
from methods.pocket.world import FACTORS, Context
from methods.weights import save_weights
from scripts.pocket.dataset import Dataset, person_of
from scripts.pocket.perception_loop import batches, begin, to_tensor
from scripts.pocket.recogniser import crop, jittered_crops

READ = ("iris", "mark")


class DetailReader(nn.Module):
    """float32 `[N,3,112,112]` in [-1,1] to logits by attribute; places matter, so nothing is pooled."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 3 * width, 3 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.Conv2d(outputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        size = widths[-1] * 7 * 7
        self.heads = nn.ModuleDict({name: nn.Linear(size, len(IDENTITY[name])) for name in READ})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.seen(x)[0]

    def seen(self, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The logits, and the activations at full, half and quarter resolution."""
        fine: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU) and len(fine) < 5:
                fine.append(x)
        return {name: head(x) for name, head in self.heads.items()}, [fine[0], fine[2], fine[4]]


def legible(context: Context) -> bool:
    """Whether eyes and cheeks can be seen: photographs without sunglasses."""
    return context.style == "photo" and context.accessory != "sunglasses"


def aligned_crops(pictures: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """uint8 `[N,112,112,3]` by the true landmarks `[N,5,2]`."""
    matrices = similarity_transforms(landmarks, TEMPLATE)
    return np.stack([crop(picture, matrix) for picture, matrix in zip(pictures, matrices, strict=True)])


@torch.inference_mode()
def read(reader: DetailReader, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Indices into `IDENTITY` of every crop, by attribute."""
    parts = [reader(to_tensor(crops[i : i + 64])) for i in range(0, len(crops), 64)]
    return {name: torch.cat([part[name] for part in parts]).argmax(1).numpy() for name in READ}


def load_details(path: Path) -> DetailReader:
    """From the file that `train` wrote."""
    reader = DetailReader()
    reader.load_state_dict(load_file(path))
    return reader.eval()


def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 6,
    batch_size: int = 48,
) -> dict[str, Any]:
    """Train on legible renders, write `output/details.safetensors`, return the shares read on others."""
    torch.manual_seed(seed)
    data = Dataset(dataset)
    photo = data.meta["style"] == FACTORS["style"].index("photo")
    shaded = data.meta["accessory"] == FACTORS["accessory"].index("sunglasses")
    usable = np.flatnonzero(photo & ~shaded)
    learned, held_out = usable[: -(len(usable) // 20)], usable[-(len(usable) // 20) :]
    numbers, inverse = np.unique(data.meta["person"], return_inverse=True)
    people = [person_of(int(number)) for number in numbers]
    truth = {
        name: np.array([IDENTITY[name].index(attribute(person, name)) for person in people])[inverse]
        for name in READ
    }

    def batch(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([seed, step])
        picks = rng.choice(learned, batch_size)
        crops = jittered_crops(data, picks, rng, strength=0.25)
        return to_tensor(crops), {name: torch.from_numpy(truth[name][picks]) for name in READ}

    reader = DetailReader().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    course = begin(work, reader, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    reader.train()
    for pictures, named in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            logits = reader(pictures)
        terms = {name: F.cross_entropy(logits[name].float(), named[name]) for name in READ}
        course.learn(torch.stack([*terms.values()]).sum(), **terms)
    reader.eval()
    output.mkdir(parents=True, exist_ok=True)
    save_weights(output / "details.safetensors", reader.state_dict())
    crops = aligned_crops(data.pictures[held_out], data.meta["landmarks"][held_out])
    found = read(reader, crops)
    return course.finish(**{n: round(float((found[n] == truth[n][held_out]).mean()), 4) for n in READ})
