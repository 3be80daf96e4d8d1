"""The pocket VAE: AutoencoderKL, factor 8, 16 latent channels, trained on renders.

The loss cares for what a recogniser needs: L1, L1 of the picture's gradients at two scales (edges), both
weighted up around the eyes and mouth, whose places the renderer knows. KL is a whisper, as in LDM. From
`CRITIC_FROM` on a patch critic (LDM, Rombach et al. 2022, section 3.1) asks for sharp edges. The first part
of the budget goes to small windows, mostly on faces: four times as many of them fit in a second; whole
pictures then settle the statistics of the norms, the conditioning recogniser has to see the same person, and
a reader of details (`details`) the same eyes and marks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from scripts.pocket.common import Course, compiled, save_grid, start_from, to_pictures, to_pixels
from scripts.pocket.critic import PatchCritic, SeenIdentity, critic_loss, detail_loss, identity_loss
from scripts.pocket.dataset import Dataset
from scripts.pocket.details import load_details

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 1.0
FEATURE_WEIGHT = 2.0
BATCH = 8
CROP = 64
CROP_SHARE = 0.55
CRITIC_FROM = 0.4
CRITIC_WEIGHT = 0.03
CRITIC_RATE = 4e-4
IDENTITY_WEIGHT = 0.2
READING_WEIGHT = 0.02
DETAIL_WEIGHT = 0.2
FACE_CROPS = 0.5
AVERAGE = 0.998
HELD_BACK = 256
PEAK_RATE = 1e-3


def build_autoencoder() -> AutoencoderKL:
    """The untrained VAE: `[N,3,128,128]` in [-1,1] to latents `[N,16,16,16]` and back, 3.1 M parameters.

    One norm group: with a few channels a group, as the usual 8 groups would give here, normalisation erases
    the colour of whole areas, and clothes lose theirs.
    """
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 96, 128),
        layers_per_block=1,
        latent_channels=16,
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
        if layer.bias is not None:
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
    device = model.device
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        latents = model.encode(to_pixels(pictures).to(device)).latent_dist.mean
    return float(1.0 / latents.float().std())


def train(
    dataset: Path,
    recogniser: Path | None,
    details: Path | None,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 1,
    device: str = "cpu",
    batch: int = BATCH,
    initial: Path | None = None,
) -> dict[str, Any]:
    """Train within the budget, save a diffusers folder, return the L1 on the last 256 pictures.

    recogniser: the conditioning recogniser's ONNX file, which has to see the same person; None where there is
    none yet. details: the file of `details.train`, whose reader has to read the same eyes and marks, or None.
    batch: whole pictures a step, or half as many windows. initial: folder of a VAE to go on from; a
    checkpoint in `work` counts for more. The last 256 pictures of the set are never trained on.
    """
    data = Dataset(dataset)
    count = len(data) - min(HELD_BACK, len(data) // 10)
    torch.manual_seed(seed)
    model = build_autoencoder()
    if initial is not None:
        start_from(model, initial)
    model = model.to(device, memory_format=torch.channels_last)
    critic = PatchCritic().to(device)
    judge = None if recogniser is None else SeenIdentity(recogniser).to(device)
    small = None if details is None else load_details(details).requires_grad_(False).to(device)
    encode, decode = compiled(model.encode, device), compiled(model.decode, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=CRITIC_RATE, betas=(0.5, 0.99))
    course = Course(
        work,
        model,
        optimizer,
        minutes=minutes,
        steps=steps,
        resume=resume,
        seed=seed,
        average=AVERAGE,
        others={"critic": critic, "critic_optimizer": critic_optimizer},
    )
    rng, truth = course.rng, data.pictures[count:]

    def reconstruct(pixels: Tensor) -> Tensor:
        return model(pixels).sample

    for step in course.steps():
        progress = course.budget.progress
        crops = progress < CROP_SHARE
        chosen = np.sort(rng.integers(0, count, 2 * batch if crops else batch))
        target = to_pixels(data.pictures[chosen])
        landmarks = data.meta["landmarks"][chosen]
        weight = feature_weights(landmarks)
        if crops:
            windows = crop_windows(landmarks, rng)
            target, weight = _cropped(target, windows), _cropped(weight, windows)
            if rng.random() < 0.5:
                target, weight = target.flip(-1), weight.flip(-1)
        target = target.to(device).contiguous(memory_format=torch.channels_last)
        weight = weight.to(device)
        with torch.autocast(target.device.type, torch.bfloat16):
            posterior = encode(target).latent_dist
            restored = decode(posterior.sample()).sample
        l1, edges = reconstruction_loss(restored, target, weight)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        loss = l1 + GRADIENT_WEIGHT * edges + KL_WEIGHT * kl
        terms = {"l1": l1, "edges": edges, "kl": kl}
        if not crops and judge is not None:
            who, features = identity_loss(judge, restored.float(), target, landmarks)
            loss = loss + IDENTITY_WEIGHT * (who + features)
            terms |= {"who": who, "features": features}
        if not crops and small is not None:
            reading, fine = detail_loss(small, restored.float(), target, landmarks)
            loss = loss + READING_WEIGHT * reading + DETAIL_WEIGHT * fine
            terms |= {"reading": reading, "fine": fine}
        if progress >= CRITIC_FROM:
            for group in critic_optimizer.param_groups:
                group["lr"] = CRITIC_RATE * min(1.0, (1.0 - progress) / (1.0 - CRITIC_FROM) + 0.05)
            with torch.autocast(target.device.type, torch.bfloat16):
                judged = critic_loss(critic, target, restored)
            critic_optimizer.zero_grad(set_to_none=True)
            judged.backward()
            critic_optimizer.step()
            with torch.autocast(target.device.type, torch.bfloat16):
                realness = critic(restored).float().mean()
            loss = loss - CRITIC_WEIGHT * realness
            terms |= {"critic": judged, "realness": realness}
        course.learn(loss, **terms)
        if (step + 1) % 1000 == 0:
            with course.averaged():
                course.note(held_out_l1=_judge(reconstruct, to_pixels(truth).to(device), truth, work))
    with course.averaged():
        held_out = _judge(reconstruct, to_pixels(truth).to(device), truth, work)
        model.register_to_config(scaling_factor=_scaling_factor(model, truth))
        model.to(torch.float16).save_pretrained(output)
    return course.finish(held_out_l1=round(held_out, 5))


@torch.no_grad()
def _judge(restore: Callable[[Tensor], Tensor], inputs: Tensor, truth: np.ndarray, work: Path) -> float:
    """Mean absolute error of `restore(inputs)` in [-1,1]; writes `preview.png` (truth, output)."""
    with torch.autocast(inputs.device.type, torch.bfloat16):
        outputs = torch.cat([restore(part).float().cpu() for part in inputs.split(32)])
    pairs = np.stack([truth[:24], to_pictures(outputs[:24])], axis=1).reshape(-1, *truth.shape[1:])
    save_grid(pairs, 12, work / "preview.png")
    return float((outputs - to_pixels(truth)).abs().mean())


@torch.no_grad()
def encode_dataset(
    dataset: Path,
    autoencoder: Path,
    path: Path,
    *,
    count: int | None = None,
    batch: int = 32,
    device: str = "cpu",
) -> np.ndarray:
    """Scaled posterior means of the first `count` pictures (all), float16 `[N,C,16,16]`, cached in `path`.

    The set is shuffled, so its beginning is a fair sample; trainings use the pictures that have latents.
    """
    if path.is_file():
        return np.load(path, mmap_mode="r")
    path.parent.mkdir(parents=True, exist_ok=True)
    model = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32)
    model = model.to(device, memory_format=torch.channels_last)
    data = Dataset(dataset)
    channels = model.config.latent_channels
    latents = np.zeros((count or len(data), channels, 16, 16), dtype=np.float16)
    for start in range(0, len(latents), batch):
        end = min(start + batch, len(latents))
        with torch.autocast(model.device.type, torch.bfloat16):
            mean = model.encode(to_pixels(data.pictures[start:end]).to(device)).latent_dist.mean
        latents[start:end] = (mean.float() * model.config.scaling_factor).half().cpu().numpy()
    partial = path.with_suffix(".partial.npy")
    np.save(partial, latents)
    partial.replace(path)
    return latents
