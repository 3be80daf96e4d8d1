"""The pocket `uniform` adapter: decoupled identity cross-attention on the frozen pocket U-Net.

Trained as public FaceID adapters are: the face embedding comes from the same picture in half of the pairs
and from another picture of the person in the other half; embedding, text or both are dropped in 5 % each.
Beside the weighted squared error stands the perceptual loss of `face_reader`, as the identity loss of PuLID.
Celebrities are left out: the text already knows them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from methods.pocket.training.common import Course
from methods.pocket.training.dataset import PERSON_OFFSET, Dataset
from methods.pocket.training.diffusion import build_scheduler, denoising_loss, velocity_batch
from methods.pocket.training.face_reader import PerceptualLoss
from methods.pocket.training.muon import SharedMuon
from methods.pocket.training.recogniser import embed_pictures
from methods.pocket.world import FACTORS
from methods.uniform.adapter import UniformAdapter
from methods.uniform.method import save_adapter
from methods.uniform.training import identity_attention

BATCH = 32
TOKENS = 16
PEAK_RATE = 7e-4
DROP = 0.05
PERCEPTUAL_WEIGHT = 0.4
AVERAGE = 0.998


class Pairs:
    """Draws (target, reference) picture numbers of one person; references are always photos.

    Only the first `count` pictures take part: those that have latents.
    """

    def __init__(self, data: Dataset, count: int) -> None:
        self.person = data.meta["person"][:count]
        self.photo = data.meta["style"][:count] == FACTORS["style"].index("photo")
        self.references = np.flatnonzero(self.photo & (self.person >= PERSON_OFFSET))
        self.photos_of: dict[int, list[int]] = {}
        for index in self.references:
            self.photos_of.setdefault(int(self.person[index]), []).append(int(index))
        self.targets = np.flatnonzero(np.isin(self.person, list(self.photos_of)))

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """`count` targets and, for each, itself (half of the photos) or another photo of the person."""
        targets = rng.choice(self.targets, count)
        references = targets.copy()
        for row, target in enumerate(targets):
            if not self.photo[target] or rng.random() < 0.5:
                references[row] = rng.choice(self.photos_of[int(self.person[target])])
        return targets, references


def train(
    dataset: Path,
    reader: Path,
    weights: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 3,
) -> dict[str, Any]:
    """Train within the budget on `weights/sd` and `weights/face`; save `weights/uniform`.

    reader: the file that `face_reader.train` wrote.
    """
    data = Dataset(dataset)
    latents = torch.from_numpy(np.load(work.parent / "diffusion" / "latents.npy"))
    pairs = Pairs(data, len(latents))
    recogniser, cache = weights / "face" / "rec.onnx", work / "embeddings.npy"
    embeddings = torch.from_numpy(embed_pictures(data, pairs.references, recogniser, cache))
    tokenizer = CLIPTokenizer.from_pretrained(weights / "sd" / "tokenizer")
    text = CLIPTextModel.from_pretrained(weights / "sd" / "text_encoder", dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(weights / "sd" / "unet", torch_dtype=torch.float32)
    text.requires_grad_(False).eval()
    unet.requires_grad_(False).eval()
    scheduler = build_scheduler()
    perceptual = PerceptualLoss.load(reader, scheduler)
    torch.manual_seed(seed)
    adapter = UniformAdapter.from_backbone(unet, tokens=TOKENS)
    optimizer = SharedMuon(adapter, PEAK_RATE)
    course = Course(
        work, adapter, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed, average=AVERAGE
    )
    rng, noise_rng = course.rng, torch.Generator().manual_seed(seed + course.budget.step + 7919 * course.rank)

    def batch() -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        targets, references = pairs.draw(BATCH, rng)
        dropped = rng.random(BATCH)
        embedding = embeddings[references].clone()
        embedding[torch.from_numpy(dropped < 2 * DROP)] = 0.0
        wordless = (dropped >= DROP) & (dropped < 3 * DROP)
        captions = [
            "" if empty else data.random_caption(int(i), rng)
            for i, empty in zip(targets, wordless, strict=True)
        ]
        ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return latents[targets].float(), embedding, ids, data.meta["landmarks"][targets]

    # The plain attention kernel: the fused one's backward pass is many times slower on CPUs.
    with identity_attention(unet, adapter) as denoise, sdpa_kernel(SDPBackend.MATH):
        for _ in course.steps():
            clean, embedding, ids, landmarks = batch()
            noisy, timesteps, target = velocity_batch(scheduler, clean, noise_rng)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    states = text(ids).last_hidden_state
                predicted = denoise(noisy, timesteps, states, embedding)
            loss, terms = denoising_loss(
                predicted.float(), target, noisy, clean, timesteps, landmarks, perceptual, PERCEPTUAL_WEIGHT
            )
            course.learn(loss, **terms)
    if course.first:
        with course.averaged():
            save_adapter(weights / "uniform", adapter, family="pocket", dtype=torch.float16)
    return course.finish(pictures=course.budget.step * BATCH * course.processes)
