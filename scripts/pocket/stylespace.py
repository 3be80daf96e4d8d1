"""The pocket style space: W+ encoder and style decoder, trained together as an autoencoder of aligned heads.

e4e is trained against a finished StyleGAN; there is none here, so encoder and decoder learn from each other.
What makes rows separate, ours throughout:

- mixtures are decoded too, rows 0-7 of one head with rows 8-17 of another (style mixing, StyleGAN's section
  3.1). Of such a picture no truth exists, but what it should share with either head does: edges with the
  giver of the coarse rows (shape), mean colours over a coarse grid with the giver of the fine (colouring);
- deltas are kept small (e4e, section 4.2), so that W+ stays near W.

That codes say who it is, as the conditioning recogniser would, is a loss too (pSp and e4e have one on the
recogniser's embedding of the reconstruction; here a linear reading of the codes is asked, which is dropped
afterwards).

Losses are weighted by the head's ellipse: what is around it was whitened and carries nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.pidiff.stylespace.align import aligned_head, head_ellipse
from methods.pidiff.stylespace.decoder import StyleDecoder
from methods.pidiff.stylespace.encoder import POCKET, StyleEncoder, StyleHead
from methods.pidiff.stylespace.load import StyleSpace, save_style_space
from methods.pocket.world import FACTORS
from scripts.pocket.common import Course, save_grid, to_pictures, to_pixels
from scripts.pocket.dataset import Dataset
from scripts.pocket.face_reader import SHARPNESS, identity_centres
from scripts.pocket.recogniser import DIM

BATCH = 16
PEAK_RATE = 2e-3
AVERAGE = 0.995
SPLIT = 8
"""The first fine row: rows below it are swapped as one, rows from it on as the other."""
EDGES, MIX_EDGES, MIX_COLOUR, DELTA, IDENTITY = 1.0, 0.5, 0.5, 1e-3, 0.03
HELD_BACK = 256
STATISTICS = 8
"""Batches of 64 heads from which the final norms and the average code are taken."""
JITTER = 0.6
"""Standard deviation of landmark noise in pixels of 128: a detector's are not the true ones."""


class Heads:
    """Aligned heads of the photos of a data set; the last `HELD_BACK` pictures are never trained on."""

    def __init__(self, data: Dataset) -> None:
        photos = np.flatnonzero(data.meta["style"] == FACTORS["style"].index("photo"))
        self.data = data
        self.training = photos[photos < len(data) - HELD_BACK]
        self.held_out = photos[photos >= len(data) - HELD_BACK]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Heads of random training pictures, uint8 [count, 64, 64, 3], and which pictures, int64 [count].

        Some are mirrored: people's faces are symmetric but for the parting of their hair.
        """
        chosen = rng.choice(self.training, count)
        heads = self.cut(chosen, rng.normal(0.0, JITTER, (count, 5, 2)))
        mirrored = rng.random(count) < 0.5
        heads[mirrored] = heads[mirrored, :, ::-1]
        return heads, chosen

    def cut(self, chosen: np.ndarray, jitter: np.ndarray | float = 0.0) -> np.ndarray:
        """Heads of chosen pictures, uint8 [N, 64, 64, 3]."""
        landmarks = self.data.meta["landmarks"][chosen] + jitter
        pairs = zip(chosen, landmarks, strict=True)
        return np.stack([aligned_head(self.data.pictures[i], points, POCKET.size) for i, points in pairs])


class StyleAutoencoder(nn.Module):
    """Encoder, decoder and the linear reading of the person, as one module to train."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = StyleEncoder(POCKET)
        self.decoder = StyleDecoder(POCKET.dim)
        self.person = nn.Linear(POCKET.rows * POCKET.dim, DIM)


def luminance(pictures: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 1, H, W], Rec. 601 weights."""
    weights = pictures.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (pictures * weights).sum(1, keepdim=True)


def edges(pictures: Tensor) -> Tensor:
    """Where a picture has edges, whatever their strength: [B, 3, H, W] -> [B, 2, H-1, W-1] in (-1, 1).

    Horizontal and vertical differences of the luminance over their local size.
    """
    y = luminance(pictures)
    right = y[..., :-1, 1:] - y[..., :-1, :-1]
    down = y[..., 1:, :-1] - y[..., :-1, :-1]
    both = torch.cat([right, down], dim=1)
    return both / (both.norm(dim=1, keepdim=True) + 0.1)


def colours(pictures: Tensor, inside: Tensor) -> Tensor:
    """Mean colour inside the head's ellipse on a grid of 4 x 4 cells: [B, 3, 4, 4]."""
    return F.adaptive_avg_pool2d(pictures * inside, 4)


def mixing_loss(mixed: Tensor, shape: Tensor, colouring: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """How far a mixture is from the edges of one picture and the colours of another, all [B, 3, H, W]."""
    form = (edges(mixed) - edges(shape)).abs() * inside[..., :-1, :-1]
    tint = (colours(mixed, inside) - colours(colouring, inside)).abs()
    return form.mean(), tint.mean()


def train(
    dataset: Path,
    recogniser: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 1,
) -> dict[str, Any]:
    """Train within the budget and save a style space with its decoder in `output`; returns figures.

    `work/grid.png` shows held-out heads, their reconstructions, and swaps: columns give the fine rows.
    """
    data = Dataset(dataset)
    heads = Heads(data)
    label, centres = identity_centres(data, len(data), recogniser, work / "embeddings.npy")
    people = torch.from_numpy(label)
    torch.manual_seed(seed)
    model = StyleAutoencoder()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=1e-4)
    course = Course(
        work,
        model,
        optimizer,
        minutes=minutes,
        steps=steps,
        resume=resume,
        seed=seed,
        average=AVERAGE,
        warmup=50,
        log_every=20,
    )
    inside = torch.from_numpy(head_ellipse(POCKET.size))[None, None]
    weight = 0.1 + 0.9 * inside
    for _ in course.steps():
        shown, chosen = heads.draw(BATCH, course.rng)
        target = to_pixels(shown).contiguous(memory_format=torch.channels_last)
        some = BATCH // 4
        with torch.autocast("cpu", torch.bfloat16):
            codes = model.encoder(target)
            swapped = torch.cat([codes[:some, :SPLIT], codes[-some:, SPLIT:]], dim=1)
            restored, mixed = model.decoder(torch.cat([codes, swapped])).float().split([BATCH, some])
            person = model.person(codes.flatten(1)).float()
        error = (restored - target) * weight
        l1 = error.abs().mean()
        edge = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        form, tint = mixing_loss(mixed, target[:some], target[-some:], inside)
        delta = (codes - codes[:, :1]).float().square().mean()
        alike = F.normalize(person, dim=1) @ centres.T
        identity = F.cross_entropy(SHARPNESS * alike, people[chosen])
        loss = l1 + EDGES * edge + MIX_EDGES * form + MIX_COLOUR * tint + DELTA * delta + IDENTITY * identity
        course.learn(loss, l1=l1, edge=edge, mix_edges=form, mix_colour=tint, delta=delta, identity=identity)
    figures: dict[str, Any] = {}
    if course.first:
        with course.averaged():
            figures = finish(model, heads, output, work)
    return course.finish(**figures)


@torch.no_grad()
def finish(model: StyleAutoencoder, heads: Heads, output: Path, work: Path) -> dict[str, Any]:
    """Settle the norms and the average code, measure on held-out heads, save weights and the grid."""
    rng = np.random.default_rng(0)
    _settle_norms(model.encoder, [to_pixels(heads.draw(64, rng)[0]) for _ in range(STATISTICS)])
    model.eval()
    codes = torch.cat([model.encoder(to_pixels(heads.draw(64, rng)[0])) for _ in range(STATISTICS)])
    average = codes.mean(0)
    centre(model.encoder, average)
    space = StyleSpace("pocket", model.encoder, average)
    figures = measure(space, model.decoder, heads.cut(heads.held_out[:128]))
    figures["code_std"] = round(float(codes.sub(average).std()), 4)
    save_style_space(output, space, model.decoder, dtype=torch.float16, figures=figures)
    save_grid(swap_sheet(space, model.decoder, heads.cut(heads.held_out[:8])), 9, work / "grid.png")
    return figures


def _settle_norms(encoder: StyleEncoder, batches: list[Tensor]) -> None:
    """Exact batch statistics of the averaged weights instead of those of the weights along the way."""
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative mean
    encoder.train()
    for pixels in batches:
        encoder(pixels)


def centre(encoder: StyleEncoder, average: Tensor) -> None:
    """Make the encoder's output relative to the average code [rows, dim], as e4e's is.

    Row i is base + delta_i, so that the base loses average_0 and delta i loses average_i - average_0.
    """
    for row, head in enumerate(encoder.styles):
        cast(StyleHead, head).linear.bias.sub_(average[0] if row == 0 else average[row] - average[0])


@torch.no_grad()
def measure(space: StyleSpace, decoder: StyleDecoder, heads: np.ndarray) -> dict[str, float]:
    """Held-out figures over uint8 heads [N, 64, 64, 3], all in [-1, 1] or as shares.

    l1: of reconstructions inside the ellipse. shape_kept: of the edges' distance between two heads, the share
    that separates a mixture from the giver of its fine rows rather than of its coarse ones (1: all shape is
    the coarse giver's, .5: neither's). colour_moved: likewise for colours, 1 when they are the fine giver's.
    """
    inside = torch.from_numpy(head_ellipse(POCKET.size))[None, None]
    pixels = to_pixels(heads)
    codes = space.encode(list(heads))
    restored = torch.cat([decoder(part) for part in codes.split(32)])
    l1 = ((restored - pixels).abs() * inside).sum() / (3 * len(heads) * inside.sum())
    mixed = decoder(torch.cat([codes[:, :SPLIT], codes.roll(1, 0)[:, SPLIT:]], dim=1))
    near, far = mixing_loss(mixed, restored, restored, inside)
    other = restored.roll(1, 0)
    near_other, far_other = mixing_loss(mixed, other, other, inside)
    return {
        "l1": round(float(l1), 4),
        "shape_kept": round(float(near_other / (near + near_other)), 3),
        "colour_moved": round(float(far / (far + far_other)), 3),
    }


@torch.no_grad()
def swap_sheet(space: StyleSpace, decoder: StyleDecoder, heads: np.ndarray) -> np.ndarray:
    """Heads, reconstructions, and every combination: uint8 [(N + 2) (N + 1), 64, 64, 3], N + 1 columns.

    Row 0: the heads. Row 1: their reconstructions. Row 2 + r, column 1 + c: coarse and mid rows of head r
    (shown in column 0), fine rows of head c.
    """
    codes = space.encode(list(heads))
    restored = to_pictures(decoder(codes))
    blank = np.full_like(heads[:1], 255)
    rows = [np.concatenate([blank, heads]), np.concatenate([blank, restored])]
    for r in range(len(heads)):
        coarse = codes[r : r + 1, :SPLIT].expand(len(heads), -1, -1)
        mixed = decoder(torch.cat([coarse, codes[:, SPLIT:]], dim=1))
        rows.append(np.concatenate([heads[r : r + 1], to_pictures(mixed)]))
    return np.concatenate(rows)
