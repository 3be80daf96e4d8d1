"""The pocket dual encoder: open_clip's own ResNet and text tower, trained on caption-picture pairs.

CLIP's contrastive loss, and beside it one linear reading of every factor of the picture that must hold
for both towers' features alike; it aligns them within minutes and is thrown away afterwards.
Saved as an open_clip `local-dir:` folder, so that
`open_clip.create_model_and_transforms("local-dir:<folder>")` and `open_clip.get_tokenizer` need no hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from methods.compat import ensure_torchvision
from methods.files import save_json
from methods.pocket.world import FACTORS, HELD_OUT, caption, render, sample_context, sample_person
from methods.weights import save_weights
from scripts.pocket.perception_loop import (
    batches,
    begin,
    degrade,
    half_precision,
    open_dataset,
    to_tensor,
)
from scripts.pocket.tokenizer import CONTEXT_LENGTH, build_tokenizer

MEAN = STD = 127.5


def configuration(vocabulary: int) -> dict[str, Any]:
    """open_clip_config.json: a ResNet with one bottleneck per stage and a three-layer text tower."""
    return {
        "model_cfg": {
            "embed_dim": 256,
            "vision_cfg": {"image_size": 128, "layers": [1, 1, 1, 1], "width": 20, "head_width": 40},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "local",
                "width": 128,
                "heads": 4,
                "layers": 3,
            },
        },
        "preprocess_cfg": {
            "mean": [MEAN / 255] * 3,
            "std": [STD / 255] * 3,
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


class SharedReading(nn.Module):
    """Cross-entropy of every factor, read by one linear map from the features of either tower."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in FACTORS.items()})

    def forward(self, features: Tensor, truth: dict[str, Tensor]) -> Tensor:
        """Mean over factors for L2-normalised features [B,D]; truth int64 [B] per factor."""
        scaled = features * features.shape[-1] ** 0.5
        losses = [F.cross_entropy(head(scaled), truth[name]) for name, head in self.heads.items()]
        return torch.stack(losses).mean()


def contrastive_loss(pictures: Tensor, texts: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, float]]:
    """CLIP's symmetric cross-entropy over one batch of L2-normalised features [B,D]."""
    logits = scale * pictures @ texts.T
    target = torch.arange(len(logits))
    loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    return loss, {"accuracy": (logits.argmax(1) == target).float().mean().item(), "scale": scale.item()}


def train(
    dataset: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
    batch_size: int = 128,
) -> dict[str, Any]:
    """Train the dual encoder on a rendered set, write the open_clip folder, return retrieval figures."""
    ensure_torchvision()
    import open_clip

    torch.manual_seed(seed)
    renders = open_dataset(dataset)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(output)
    save_json(output / "open_clip_config.json", configuration(len(tokenizer)))
    model = open_clip.create_model(f"local-dir:{output}", load_weights=False)
    model = model.to(memory_format=torch.channels_last)

    def batch(step: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng([seed, step])
        picks = rng.choice(len(renders), min(batch_size, len(renders)), replace=False)
        pictures = np.stack([degrade(np.asarray(renders.pictures[i]), rng, 0.7) for i in picks])
        texts = [renders.random_caption(int(i), rng) for i in picks]
        ids = tokenizer(
            texts, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True, return_tensors="pt"
        ).input_ids
        truth = {name: torch.from_numpy(renders.meta[name][picks].astype(np.int64)) for name in FACTORS}
        return to_tensor(pictures, MEAN, STD), ids, truth

    reading = SharedReading(configuration(0)["model_cfg"]["embed_dim"])
    modules = nn.ModuleDict({"model": model, "reading": reading})
    decayed = [p for p in modules.parameters() if p.ndim > 1]
    plain = [p for p in modules.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=1.5e-3,
        betas=(0.9, 0.98),
        fused=True,
    )
    course = begin(work, modules, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed)
    modules.train()
    for pictures, ids, truth in batches(course, batch):
        with torch.autocast("cpu", torch.bfloat16):
            seen, read = model.encode_image(pictures), model.encode_text(ids)
        seen, read = F.normalize(seen.float(), dim=-1), F.normalize(read.float(), dim=-1)
        contrast, figures = contrastive_loss(seen, read, model.logit_scale.exp().clamp(max=100.0))
        of_picture, of_text = reading(seen, truth), reading(read, truth)
        figures |= {"picture_reading": of_picture.item(), "text_reading": of_text.item()}
        course.learn(contrast + of_picture + of_text, **figures)

    save_weights(output / "open_clip_model.safetensors", half_precision(model.state_dict()))
    parameters = sum(p.numel() for p in model.parameters())
    return course.finish(**retrieval(output), parameters=parameters)


def load(folder: Path) -> tuple[Any, Any]:
    """The dual encoder (float32, eval) and its tokenizer, through open_clip."""
    ensure_torchvision()
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}")
    return model.eval(), open_clip.get_tokenizer(f"local-dir:{folder}")


@torch.inference_mode()
def features(folder: Path, pictures: NDArray[np.uint8], texts: list[str]) -> tuple[Tensor, Tensor]:
    """L2-normalised features [N,D] of pictures uint8 [N,128,128,3] and [M,D] of texts."""
    model, tokenizer = load(folder)
    seen = [
        model.encode_image(to_tensor(pictures[i : i + 100], MEAN, STD), normalize=True)
        for i in range(0, len(pictures), 100)
    ]
    read = [
        model.encode_text(tokenizer(texts[i : i + 100]), normalize=True) for i in range(0, len(texts), 100)
    ]
    return torch.cat(seen), torch.cat(read)


def retrieval(folder: Path, draws: int = 10, pairs: int = 100, seed: int = HELD_OUT) -> dict[str, Any]:
    """Caption -> picture and picture -> caption R@1 among held-out pairs with distinct captions.

    Mean over `draws` sets of `pairs` people nobody trained on, in random contexts of every style,
    with their canonical captions.
    """
    rng = np.random.default_rng(seed)
    to_picture, to_text = [], []
    pictures, texts = [], []
    for draw in range(draws):
        distinct: set[str] = set()
        while len(distinct) < pairs:
            who, context = sample_person(seed + draw * 10_000 + len(distinct)), sample_context(rng)
            text = caption(who, context)
            if text not in distinct:
                distinct.add(text)
                texts.append(text)
                pictures.append(render(who, context).pixels)
    seen, read = features(folder, np.stack(pictures), texts)
    for draw in range(draws):
        part = slice(draw * pairs, (draw + 1) * pairs)
        similarity = read[part] @ seen[part].T
        target = torch.arange(pairs)
        to_picture.append((similarity.argmax(1) == target).float().mean().item())
        to_text.append((similarity.argmax(0) == target).float().mean().item())
    return {
        "caption_to_picture_r@1": round(float(np.mean(to_picture)), 4),
        "caption_to_picture_r@1_worst_draw": round(float(np.min(to_picture)), 4),
        "picture_to_caption_r@1": round(float(np.mean(to_text)), 4),
        "draws": draws,
        "pairs": pairs,
    }
