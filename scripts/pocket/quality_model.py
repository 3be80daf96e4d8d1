"""The quality twin: pyiqa's MUSIQ architecture, small, trained on renders whose damage is known.

What it learns to read off a single picture is the structural similarity (SSIM) between a damaged render and
the undamaged one, so that 1 is an intact picture. The architecture is pyiqa's own (Ke et al., "MUSIQ:
Multi-scale Image Quality Transformer", ICCV 2021); weights are stored as safetensors beside its options.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.errors import MissingWeightsError
from methods.files import save_json
from methods.iqa import create, load_musiq
from methods.pocket.world import HELD_OUT, render, sample_context, sample_person
from methods.weights import save_weights
from scripts.pocket.perception_loop import batches, begin, half_precision, open_dataset, to_tensor

OPTIONS: dict[str, Any] = {
    "patch_size": 16,
    "hidden_size": 96,
    "mlp_dim": 192,
    "num_heads": 4,
    "num_layers": 3,
    "num_scales": 2,
    "longer_side_lengths": [64],
}
"""Of pyiqa's MUSIQ: the picture itself and its half size, in patches of 16 pixels; 0.7 M parameters."""


# ------------------------------------------------------------------ damage
def blur(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.3 + 3.2 * amount), np.uint8)


def shrink(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Fewer pixels, blown up again; every other time as squares."""
    side = picture.shape[0]
    small = cv2.resize(
        picture, (max(8, round(side * (0.9 - 0.78 * amount))),) * 2, interpolation=cv2.INTER_AREA
    )
    how = cv2.INTER_CUBIC if rng.random() < 0.5 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, (side, side), interpolation=how), np.uint8)


def compress(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, round(80 - 76 * amount)])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def noise(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(picture + rng.normal(0.0, 1.0 + 45.0 * amount**1.5, picture.shape), 0, 255).astype(
        np.uint8
    )


def smear(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Detail flattened to patches, as autoencoders and unfinished diffusion models do."""
    return np.asarray(cv2.medianBlur(picture, 3 + 2 * round(5 * amount)), np.uint8)


def warp(picture: NDArray[np.uint8], amount: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lines bent by a smooth random displacement of up to some pixels."""
    side = picture.shape[0]
    bend = cv2.GaussianBlur(
        rng.normal(0.0, 1.0, (side, side, 2)).astype(np.float32), (0, 0), 4.0 + 4.0 * rng.random()
    )
    bend = np.asarray(bend * ((0.5 + 5.0 * amount) / max(float(np.abs(bend).max()), 1e-6)), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return np.asarray(
        cv2.remap(
            picture, x + bend[..., 0], y + bend[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        ),
        np.uint8,
    )


DAMAGE = (blur, shrink, compress, noise, smear, warp)


def damage(picture: NDArray[Any], rng: np.random.Generator) -> NDArray[np.uint8]:
    """None (one time in six), one or two kinds of damage of any strength; uint8 [H,W,3] in and out."""
    done = np.asarray(picture, np.uint8)
    for kind in rng.choice(
        len(DAMAGE), size=int(rng.choice([0, 1, 2], p=[1 / 6, 1 / 2, 1 / 3])), replace=False
    ):
        done = DAMAGE[kind](done, float(rng.random()), rng)
    return done


# ------------------------------------------------------------------ model
def load_quality_model(folder: Path) -> Any:
    """The twin that `train` wrote into `folder`, as `methods.iqa.load_musiq` gives it; raises the same."""
    folder = Path(folder)
    try:
        recipe = json.loads((folder / "musiq.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingWeightsError(
            f"No quality model in {folder}: {error}.", hint="Run `python scripts/train_pocket.py quality`."
        ) from error
    return load_musiq(folder / "musiq.safetensors", **recipe["options"])


def patches(network: nn.Module, pictures: Tensor) -> Tensor:
    """MUSIQ's multi-scale patches [B,L,D] of pictures [B,3,H,W] in [0,1]; in training it wants them made."""
    from pyiqa.data.multiscale_trans_util import get_multiscale_patches

    return torch.as_tensor(get_multiscale_patches((pictures - 0.5) * 2, **network.data_preprocess_opts))  # type: ignore[arg-type]


def similarity(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean SSIM of two RGB pictures uint8 [H,W,3], on luma (Wang et al. 2004: Gaussian of 1.5, K 0.01, 0.03).

    Without the border of five pixels, like pyiqa's, which takes a hundred times longer on a CPU.
    """
    x, y = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (a, b))

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5))[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(np.clip(ssim.mean(), 0.0, 1.0))


def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
    batch_size: int = 32,
    evaluated: int = 600,
) -> dict[str, Any]:
    """Train the twin, write it into `output`, return its rank correlation on `evaluated` held-out renders."""
    torch.manual_seed(seed)
    renders = open_dataset(dataset)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([seed, step])
        # quarters cost less than half; every other batch shows half as many whole pictures, as in use
        whole = step % 2 == 0
        intact = []
        for i in rng.integers(0, len(renders), batch_size // 2 if whole else batch_size):
            y, x = (0, 0) if whole else rng.integers(0, 64, 2)
            intact.append(
                np.array(
                    renders.pictures[i, y:, x:] if whole else renders.pictures[i, y : y + 64, x : x + 64]
                )
            )
        damaged = [damage(picture, rng) for picture in intact]
        truth = [similarity(a, b) for a, b in zip(damaged, intact, strict=True)]
        return to_tensor(np.stack(damaged), 0.0, 255.0), torch.tensor(truth)

    metric = create("musiq", pretrained=False, **OPTIONS)
    network: nn.Module = metric.net
    nn.init.constant_(network.head.bias, 0.8)  # type: ignore[union-attr, arg-type]  # the mean of the targets
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02, fused=True)
    course = begin(work, network, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    network.train()
    for damaged, target in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(patches(network, damaged))
        error = F.smooth_l1_loss(predicted.float().flatten(), target, beta=0.05)
        course.learn(error, error=error, mae=(predicted.flatten() - target).abs().mean())

    output.mkdir(parents=True, exist_ok=True)
    save_weights(output / "musiq.safetensors", half_precision(network.state_dict()))
    save_json(output / "musiq.json", {"metric": "musiq", "options": OPTIONS})
    return course.finish(**figures(load_quality_model(output), evaluated))


def figures(metric: Any, pictures: int, seed: int = HELD_OUT) -> dict[str, float]:
    """How well the twin ranks damaged renders of people nobody trained on (Spearman, Pearson, mean error)."""
    from scipy.stats import pearsonr, spearmanr

    rng = np.random.default_rng(seed + 2)
    intact = [render(sample_person(seed + i), sample_context(rng)).pixels for i in range(pictures)]
    damaged = [damage(picture, rng) for picture in intact]
    metric.net.eval()
    predicted = []
    for start in range(0, pictures, 50):
        shown = to_tensor(np.stack(damaged[start : start + 50]), 0.0, 255.0)
        predicted.append(torch.as_tensor(metric(shown)).flatten())
    seen = torch.cat(predicted).numpy()
    true = np.array([similarity(a, b) for a, b in zip(damaged, intact, strict=True)])
    return {
        "rank_correlation": round(float(spearmanr(seen, true).statistic), 4),
        "correlation": round(float(pearsonr(seen, true).statistic), 4),
        "mean_error": round(float(np.abs(seen - true).mean()), 4),
    }
