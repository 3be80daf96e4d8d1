"""The reading lesson of `pocket-flux`'s T5: it learns to say of every word what the pocket CLIP says of it.

Both tokenizers have a piece for every word of the world. Names take a text encoder longest to learn, and
CLIP has learned them beside the U-Net; a few thousand batches of captions hand them over in minutes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from scripts.pocket.captions import Captions
from scripts.pocket.common import Course

BATCH = 64
RATE = 1e-3


def shared_words(clip: CLIPTokenizer, t5: T5Tokenizer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for every piece of CLIP and of T5, the same for the same word, -1 for what is no word."""
    bare = {piece.removesuffix("</w>"): i for piece, i in clip.get_vocab().items() if piece.endswith("</w>")}
    words = {word: number for number, word in enumerate(sorted(bare)) if word.isalpha()}
    of_clip = np.full(len(clip), -1)
    for word, number in words.items():
        of_clip[bare[word]] = number
    of_t5 = np.full(len(t5), -1)
    for piece, i in t5.get_vocab().items():
        if piece.startswith("▁"):
            of_t5[i] = words.get(piece[1:].rstrip(","), -1)
    return of_clip, of_t5


def pairs(
    clip_ids: Tensor, t5_ids: Tensor, of_clip: NDArray[np.int64], of_t5: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Row and place of the same words in both, int64 `[P,2]` each; captions that differ are left out."""
    ours, theirs = of_clip[clip_ids.numpy()], of_t5[t5_ids.numpy()]
    found: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        here, there = np.flatnonzero(a >= 0), np.flatnonzero(b >= 0)
        if len(here) == len(there) and np.array_equal(a[here], b[there]):
            for places, seen in zip(found, (here, there), strict=True):
                places.append(np.stack([np.full_like(seen, row), seen], axis=1))
    return torch.from_numpy(np.concatenate(found[0])), torch.from_numpy(np.concatenate(found[1]))


def teach(
    t5: T5EncoderModel,
    clip: CLIPTextModel,
    captions: Captions,
    pictures: int,
    work: Path,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
    device: str = "cpu",
    batch: int = BATCH,
) -> dict[str, float]:
    """Train `t5` in place on captions of the first `pictures`; says what share of CLIP's states it explains.

    A linear layer between the two is thrown away: T5 may say it in a basis of its own. captions: with the
    tokenizers of CLIP and T5, in this order. Both models are on the device.
    """
    of_clip, of_t5 = shared_words(*captions.tokenizers)
    bridge = nn.Linear(t5.config.d_model, clip.config.hidden_size).to(device)
    learning = nn.ModuleList([t5, bridge])
    optimizer = torch.optim.AdamW(learning.parameters(), lr=RATE, betas=(0.9, 0.98))
    course = Course(
        work, learning, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed, warmup=50
    )

    def unexplained(rng: np.random.Generator) -> Tensor:
        clip_ids, t5_ids = captions.draw(rng.integers(0, pictures, batch), rng, drop=0.0)
        here, there = (places.to(device).unbind(1) for places in pairs(clip_ids, t5_ids, of_clip, of_t5))
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            with torch.no_grad():
                wanted = clip(clip_ids.to(device)).last_hidden_state[here].float()
            said = bridge(t5(t5_ids.to(device))[0][there]).float()
        return (said - wanted).square().mean() / wanted.var(dim=0).mean()

    for _ in course.steps():
        loss = unexplained(course.rng)
        course.learn(loss, unexplained=loss)
    with torch.no_grad():
        return course.finish(explained=1 - unexplained(np.random.default_rng(seed + 1)).item())
