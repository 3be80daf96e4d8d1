"""Options of `pulid`."""

from __future__ import annotations

from methods.config import Count, Rows, Seed, Share, ThirdShare, Weight, Whole, Width, options

AUTO, OFF = "auto", "off"


@options
class Config:
    """Options of PuLID.

    start_step: steps at the beginning without identity, counted as by the published sampler: 4 for
                photographs, 0 or 1 for drawings (its advice). The same as `id_start = start_step / steps`
    true_cfg_start: the first step at which true guidance acts. 0 as in diffusers; PuLID's own sampler has
                1 (`timestep_to_start_cfg`)
    clip:       image tower: `pocket`, an open_clip folder, or ARCHITECTURE:FILE such as
                EVA02-L-14-336:open_clip_model.safetensors; None for the one that the adapter was trained
                with, for a public PuLID file EVA02-CLIP-L-336 where the hub's cache on disk has it
    parser:     BiSeNet weights that tell the face from its background: a file, `auto` for
                parsing_bisenet.pth where `spid fetch face-parser` or facexlib puts it, or `off`. Without it
                the background stays in the crop, and the record of a picture says so
    antialias:  of the resize from the 512-pixel crop to the tower's side. Off as published: PuLID pins a
                torchvision whose tensors are resized without; newer ones would switch it on in silence
    """

    start_step: Whole = 0
    true_cfg_start: Whole = 0
    clip: str | None = None
    parser: str = AUTO
    antialias: bool = False


@options
class TaskConfig:
    """Options of the training. Sizes are a miniature's; the public files' stand in `Sizes`.

    steps:         optimizer steps
    clip:          image tower, as in the method's options; `layers` its depths, None for its usual ones
    grey:          show the tower the person in grey, as published; a world whose people differ in colour
                   needs False
    embedding_dim: of the face encoder
    width, ff:     of the encoder's tokens and feed-forward layers; `heads` of its attention
    depth:         layers of the encoder for each depth of the tower
    id_tokens:     tokens that the face becomes before the encoder looks; `queries` that come out of it,
                   `output` wide
    ca_width:      of the attentions at the blocks, `ca_heads` heads
    double_interval, single_interval: every n-th double and every m-th single block has an attention
    drop:          how often face alone, text alone, and both are dropped: each this share
    same_share:    how often the face comes from the target's own picture
    face_reader:   file of a pocket face reader (`methods.learning.likeness`) for a loss on who is seen;
                   None: the squared error alone
    likeness:      weight of that loss
    seed:          of the initial weights
    """

    steps: Count = 6000
    clip: str = "pocket"
    layers: tuple[Whole, ...] | None = None
    grey: bool = False
    embedding_dim: Width = 512
    width: Width = 256
    ff: Width = 512
    heads: Rows = 8
    depth: Rows = 2
    id_tokens: Rows = 5
    queries: Rows = 32
    output: Width = 256
    ca_width: Width = 256
    ca_heads: Rows = 8
    double_interval: Rows = 2
    single_interval: Rows = 4
    drop: ThirdShare = 0.05
    same_share: Share = 0.5
    face_reader: str | None = None
    likeness: Weight = 0.4
    seed: Seed = 0


def id_start(start_step: int, steps: int) -> float:
    """The fraction `--id-start` of a start step: both let the identity in at the same step, exactly."""
    return min(start_step / steps, 1.0)


def start_step(id_start: float, steps: int) -> int:
    """The first step, counted from 0, at which `--id-start` lets the identity in; `steps` for never."""
    return next((step for step in range(steps) if id_start <= step / steps), steps)
