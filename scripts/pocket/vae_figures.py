"""What the pocket VAE keeps of held-out people: pixels, who they are, and what is small in a face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray

from benchmarks.studies.figures import ratio_interval
from methods.faces.types import FaceEncoder
from methods.pocket.probes import IDENTITY, attribute
from methods.pocket.references import PLAIN
from methods.pocket.world import HELD_OUT, Context, render, sample_context, sample_person
from scripts.pocket.common import save_grid, to_pictures, to_pixels
from scripts.pocket.details import DetailReader, aligned_crops, legible, read


@torch.inference_mode()
def reconstructed(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures `[N,128,128,3]` through the mean of the posterior and back."""
    parts = []
    for start in range(0, len(pictures), 16):
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(to_pixels(pictures[start : start + 16])).latent_dist.mean
            parts.append(to_pictures(vae.decode(latents).sample))
    return np.concatenate(parts)


def vae_figures(
    folder: Path,
    scorer: FaceEncoder,
    details: DetailReader,
    *,
    people: int = 128,
    seed: int = 0,
    sheet: Path | None = None,
) -> dict[str, Any]:
    """Figures of the VAE in `folder` over two photographs of each of so many held-out people.

    position: scoring similarity to a plain reference render, 0 where a render of a stranger has it and 1
    where the person's own has it. details: reads eye colour and marks; of those that it reads rightly on the
    render, the share that it reads rightly on the reconstruction. sheet: renders over reconstructions, PNG.
    """
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    rng = np.random.default_rng([seed, 17])
    portraits, strangers, references = [], [], []
    for number in range(people):
        person, stranger = sample_person(HELD_OUT + number), sample_person(HELD_OUT + 500_000 + number)
        plain = render(person, Context.from_dict({**PLAIN, "nuisance": int(rng.integers(2**31))}))
        for _ in range(2):
            context = sample_context(rng, style="photo")
            context = context if legible(context) else replace(context, accessory="none")
            portraits.append(render(person, context))
            strangers.append(render(stranger, context))
            references.append(_seen(scorer, plain.pixels, plain.landmarks))
    truth = np.stack([portrait.pixels for portrait in portraits])
    landmarks = np.stack([portrait.landmarks for portrait in portraits])
    output = reconstructed(vae, truth)

    def likeness(pictures: NDArray[np.uint8], places: NDArray[np.float32]) -> NDArray[np.float64]:
        seen = [_seen(scorer, picture, points) for picture, points in zip(pictures, places, strict=True)]
        pairs = [float(a @ b) for a, b in zip(references, seen, strict=True)]
        return np.array(pairs).reshape(people, 2)

    genuine, kept = likeness(truth, landmarks), likeness(output, landmarks)
    impostor = likeness(
        np.stack([other.pixels for other in strangers]), np.stack([other.landmarks for other in strangers])
    )

    errors = np.abs(output.astype(np.float64) - truth).mean(axis=(1, 2, 3)) / 127.5
    figures: dict[str, Any] = {
        "l1": {"value": round(float(errors.mean()), 5), "n": len(truth)},
        "position": ratio_interval((kept - impostor).mean(axis=1), (genuine - impostor).mean(axis=1)),
    }
    before = read(details, aligned_crops(truth, landmarks))
    after = read(details, aligned_crops(output, landmarks))
    for name in before:
        true = np.array([IDENTITY[name].index(attribute(p.person, name)) for p in portraits])
        right = before[name] == true
        figures[name] = {
            "value": round(float((after[name] == true)[right].mean()), 4) if right.any() else None,
            "on_renders": round(float(right.mean()), 4),
            "n": int(right.sum()),
        }
    if sheet is not None:
        pairs = np.stack([truth[:24:2], output[:24:2]], axis=0).reshape(-1, *truth.shape[1:])
        save_grid(pairs, 12, sheet)
    return figures


def _seen(
    scorer: FaceEncoder, picture: NDArray[np.uint8], landmarks: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Unit embedding by the true landmarks."""
    embedding = scorer.embed(picture, landmarks)
    return embedding / np.linalg.norm(embedding)
