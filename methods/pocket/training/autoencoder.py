"""The pocket VAE: diffusers' AutoencoderKL, factor 8, 8 latent channels, trained on renders.

The loss cares for what a recogniser needs: L1, L1 of the picture's gradients at two scales (edges), both
weighted up around the eyes and mouth, whose places the renderer knows. KL is a whisper, as in LDM. The
first part of the budget goes to small windows, mostly on faces: four times as many of them fit in a second;
whole pictures then settle the statistics of the group norms.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from methods.pocket.training.common import (
    Average,
    Budget,
    Checkpoint,
    Log,
    save_grid,
    seed_everything,
    to_pictures,
    to_pixels,
)
from methods.pocket.training.dataset import Dataset

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
FEATURE_WEIGHT = 2.0
BATCH = 8
CROP = 64
CROP_SHARE = 0.6
FACE_CROPS = 0.5
PEAK_RATE = 1e-3


def build_autoencoder() -> AutoencoderKL:
    """The untrained VAE: `[N,3,128,128]` in [-1,1] to latents `[N,8,16,16]` and back, 1.0 M parameters.

    One norm group: with two channels a group, as the usual 8 groups would give here, normalisation erases
    the colour of whole areas, and clothes lose theirs.
    """
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=1,
        sample_size=128,
        mid_block_add_attention=False,
    )
    _initialise(model)
    return model


@torch.no_grad()
def _initialise(model: AutoencoderKL) -> None:
    """Start as a plain convolutional pyramid that keeps the variance, with silent residual branches.

    With torch's defaults the signal shrinks at every plain convolution and the random branches drown the
    rest: measured on one core for 75 seconds, held-out L1 0.285 against 0.164 from here. The posterior
    starts almost without noise for the same reason.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        gain = 0.0 if name.endswith("conv2") else 2.0 if name.endswith("conv1") else 1.0
        torch.nn.init.normal_(layer.weight, std=(gain / layer.weight[0].numel()) ** 0.5)
        torch.nn.init.zeros_(layer.bias)
    quantiser = model.quant_conv
    quantiser.weight[model.config.latent_channels :] = 0.0
    quantiser.bias[model.config.latent_channels :] = -6.0


def feature_weights(landmarks: np.ndarray, size: int = 128) -> Tensor:
    """`1 + FEATURE_WEIGHT * bump` around each landmark `[N,5,2]` (pixels): float32 `[N,1,size,size]`.

    The bump is a Gaussian whose width is a third of the distance between the eyes.
    """
    points = torch.from_numpy(landmarks).float()
    width = (points[:, 1] - points[:, 0]).norm(dim=-1).clamp(min=8.0) / 3.0
    axis = torch.arange(size).float()
    dx = (axis[None, None, :] - points[..., 0:1]) / width[:, None, None]
    dy = (axis[None, None, :] - points[..., 1:2]) / width[:, None, None]
    bumps = torch.exp(-0.5 * dy[..., :, None].square()) * torch.exp(-0.5 * dx[..., None, :].square())
    return 1.0 + FEATURE_WEIGHT * bumps.amax(dim=1, keepdim=True)


def crop_windows(landmarks: np.ndarray, rng: np.random.Generator, size: int = 128) -> np.ndarray:
    """Upper left corners int `[N,2]` (x, y) of `CROP`-sized windows, `FACE_CROPS` of them on the face."""
    anywhere = rng.integers(0, size - CROP + 1, (len(landmarks), 2))
    jitter = rng.integers(-12, 13, (len(landmarks), 2))
    on_face = (landmarks.mean(axis=1) - CROP / 2 + jitter).astype(int).clip(0, size - CROP)
    return np.where(rng.random((len(landmarks), 1)) < FACE_CROPS, on_face, anywhere)


def _cropped(tensor: Tensor, windows: np.ndarray) -> Tensor:
    pieces = zip(tensor, windows, strict=True)
    return torch.stack([piece[:, y : y + CROP, x : x + CROP] for piece, (x, y) in pieces])


def _gradient_l1(error: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute finite difference of the error; edges of truth and output must agree."""
    horizontal = (error[..., :, 1:] - error[..., :, :-1]).abs() * weight[..., :, 1:]
    vertical = (error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]
    return horizontal.mean() + vertical.mean()


def reconstruction_loss(output: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted L1 and the two-scale gradient L1 of `output - target`, both `[N,3,H,W]` in [-1,1]."""
    error = output.float() - target
    half, half_weight = F.avg_pool2d(error, 2), F.avg_pool2d(weight, 2)
    edges = _gradient_l1(error, weight) + _gradient_l1(half, half_weight)
    return (error.abs() * weight).mean(), edges


def _scaling_factor(model: AutoencoderKL, pictures: np.ndarray) -> float:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latents = model.encode(to_pixels(pictures)).latent_dist.mean
    return float(1.0 / latents.float().std())


def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 1,
) -> dict[str, float]:
    """Train within the budget, save a diffusers folder, return the L1 on the last 256 pictures.

    The last 256 pictures of the set are never trained on.
    """
    rng = seed_everything(seed)
    data = Dataset(dataset)
    count = len(data) - 256
    model = build_autoencoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    budget, average, log = Budget(minutes, steps), Average([model], 0.998), Log(work)
    checkpoint = Checkpoint(work, budget, model=model, optimizer=optimizer, average=average)
    if resume:
        checkpoint.resume(rng)

    def preview() -> float:
        average.swap()
        truth = np.asarray(data.pictures[-256:])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            outputs = [model(to_pixels(truth[i : i + 32])).sample.float() for i in range(0, 256, 32)]
        average.swap()
        mixed = np.stack([truth[:24], to_pictures(torch.cat(outputs)[:24])], axis=1).reshape(-1, 128, 128, 3)
        save_grid(mixed, 12, work / "preview.png")
        return float((torch.cat(outputs) - to_pixels(truth)).abs().mean())

    while not budget.finished:
        crops = budget.progress < CROP_SHARE
        chosen = np.sort(rng.integers(0, count, 2 * BATCH if crops else BATCH))
        target = to_pixels(data.pictures[chosen])
        landmarks = data.meta["landmarks"][chosen]
        weight = feature_weights(landmarks)
        if crops:
            windows = crop_windows(landmarks, rng)
            target, weight = _cropped(target, windows), _cropped(weight, windows)
        if rng.random() < 0.5:
            target, weight = target.flip(-1), weight.flip(-1)
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate(PEAK_RATE)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(target).latent_dist
            restored = model.decode(posterior.sample()).sample
        l1, edges = reconstruction_loss(restored, target, weight)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = l1 + GRADIENT_WEIGHT * edges + KL_WEIGHT * kl
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        budget.step += 1
        log.add(budget, l1=l1.detach(), edges=edges.detach(), kl=kl.detach())
        if budget.step % 500 == 0:
            print(f"held-out L1 {preview():.4f}", flush=True)
        checkpoint.save(rng)
    checkpoint.save(rng, force=True)
    held_out = preview()
    average.swap()
    model.register_to_config(scaling_factor=_scaling_factor(model, np.asarray(data.pictures[-256:])))
    model.to(torch.float16).save_pretrained(output)
    figures = {"held_out_l1": round(held_out, 5), "steps": budget.step, "minutes": round(budget.elapsed / 60, 1)}
    (work / "figures.json").write_text(json.dumps(figures))
    return figures


@torch.no_grad()
def encode_dataset(
    dataset: Path, autoencoder: Path, path: Path, *, count: int | None = None, batch: int = 32
) -> np.ndarray:
    """Scaled posterior means of the first `count` pictures (all), float16 `[N,8,16,16]`, cached in `path`.

    The set is shuffled, so its beginning is a fair sample; trainings use the pictures that have latents.
    """
    if path.is_file():
        return np.load(path, mmap_mode="r")
    path.parent.mkdir(parents=True, exist_ok=True)
    model = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32)
    data = Dataset(dataset)
    latents = np.zeros((count or len(data), 8, 16, 16), dtype=np.float16)
    for start in range(0, len(latents), batch):
        end = min(start + batch, len(latents))
        with torch.autocast("cpu", torch.bfloat16):
            mean = model.encode(to_pixels(data.pictures[start:end])).latent_dist.mean
        latents[start:end] = (mean.float() * model.config.scaling_factor).half().numpy()
    partial = path.with_suffix(".partial.npy")
    np.save(partial, latents)
    partial.replace(path)
    return latents


def refine_decoder(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 4,
) -> dict[str, float]:
    """Train the decoder of `output` further on the cached latents; the encoder, hence the latent space, stays.

    Latents get a little noise, since a sampler's are never exact. Half the cost of a whole step buys sharper
    pictures without invalidating the U-Net.
    """
    rng = seed_everything(seed)
    data = Dataset(dataset)
    model = AutoencoderKL.from_pretrained(output, torch_dtype=torch.float32)
    latents = np.load(work.parent / "diffusion" / "latents.npy", mmap_mode="r")
    trained = torch.nn.ModuleList([model.post_quant_conv, model.decoder])
    optimizer = torch.optim.AdamW(trained.parameters(), lr=PEAK_RATE / 2, betas=(0.9, 0.99), weight_decay=1e-4)
    budget, average, log = Budget(minutes, steps), Average([trained], 0.998), Log(work)
    checkpoint = Checkpoint(work, budget, decoder=trained, optimizer=optimizer, average=average)
    if resume:
        checkpoint.resume(rng)

    def batch(chosen: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(latents[chosen])).float() / model.config.scaling_factor

    while not budget.finished:
        chosen = np.sort(rng.integers(0, len(latents) - 256, BATCH))
        target = to_pixels(data.pictures[chosen])
        weight = feature_weights(data.meta["landmarks"][chosen])
        clean = batch(chosen)
        noisy = clean + 0.03 / model.config.scaling_factor * torch.randn_like(clean)
        for group in optimizer.param_groups:
            group["lr"] = budget.learning_rate(PEAK_RATE / 2)
        with torch.autocast("cpu", torch.bfloat16):
            restored = model.decode(noisy).sample
        l1, edges = reconstruction_loss(restored, target, weight)
        optimizer.zero_grad(set_to_none=True)
        (l1 + GRADIENT_WEIGHT * edges).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        average.update()
        budget.step += 1
        log.add(budget, l1=l1.detach(), edges=edges.detach())
        checkpoint.save(rng)
    checkpoint.save(rng, force=True)
    average.swap()
    held_back = np.arange(len(latents) - 256, len(latents))
    truth = data.pictures[held_back]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = [model.decode(batch(numbers)).sample.float() for numbers in np.split(held_back, 8)]
    outputs = torch.cat(parts)
    mixed = np.stack([truth[:24], to_pictures(outputs[:24])], axis=1).reshape(-1, 128, 128, 3)
    save_grid(mixed, 12, work / "preview.png")
    held_out = float((outputs - to_pixels(truth)).abs().mean())
    model.to(torch.float16).save_pretrained(output)
    figures = {"held_out_l1": round(held_out, 5), "steps": budget.step, "minutes": round(budget.elapsed / 60, 1)}
    (work / "figures.json").write_text(json.dumps(figures))
    return figures
