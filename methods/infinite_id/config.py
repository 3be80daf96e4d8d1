"""Options of `infinite-id` and of its training."""

from __future__ import annotations

from typing import Literal

from methods.config import Count, Rows, Seed, Share, Weight, Whole, Width, options

FACE_TOKENS = 4

Mixing = Literal["interpolate", "stack"]


@options
class Config:
    """Options of Infinite-ID.

    attention:    `mixed`, the paper's; `mutual` (keys and values of the text stream alone) and `none`, its
                  ablations
    adain:        shift keys and values of the identity stream to the text stream's `mean`, the paper's for
                  style; `full` also to their spread, its ablation; `off`
    shared_noise: both streams start from one noise; apart, the text stream starts from the seed's next
    text_stream:  `batch` runs it beside the identities, `memory` and `disk` ahead of them, once for all
                  batches; `auto` is memory where `cache_mib` allows and it saves something, else batch.
                  Beside them rounds otherwise, by the number of rows: cheaper for one picture, other bits
    cache_mib:    mebibytes of text streams kept in memory
    clip:         CLIP image encoder: `pocket`, an open_clip folder, or ARCHITECTURE:FILE; None for the one
                  that the adapter was trained with, where it still lies there
    mix_with:     picture of a second person to be mixed into every identity
    mix:          `interpolate` the identity tokens, or `stack` both persons' tokens
    mix_share:    weight of the second person when interpolating, in [0, 1]
    """

    attention: Literal["mixed", "mutual", "none"] = "mixed"
    adain: Literal["mean", "full", "off"] = "mean"
    shared_noise: bool = True
    text_stream: Literal["auto", "batch", "memory", "disk"] = "auto"
    cache_mib: Whole = 1024
    clip: str | None = None
    mix_with: str | None = None
    mix: Mixing = "interpolate"
    mix_share: Share = 0.5


@options
class TaskConfig:
    """Options of the training.

    steps:             optimizer steps
    identity_enhanced: False keeps the text attention and the prompts, as other adapters train: the ablation
    drop:              share of samples whose identity is unknown; 5 to 10 % is our reconstruction
    same_share:        how often the reference is the target itself; 0 is the paper's two different photos
    face_reader:       file of a pocket face reader (`methods.learning.likeness`) for a loss on who is seen;
                       None: the paper's squared error alone
    likeness:          weight of that loss
    face_weight:       added weight of the error on the face; 0 is the paper's plain mean, more teaches the
                       person sooner where the budget is small
    face_tokens:       tokens of the face embedding
    embedding_dim:     of the face encoder
    clip:              CLIP image encoder, as the method's option; None for the pocket one
    initial:           adapter folder to go on from, with its face_tokens and embedding_dim; None starts at
                       the backbone
    seed:              of the mappers' initial weights
    """

    steps: Count = 6000
    identity_enhanced: bool = True
    drop: Share = 0.05
    same_share: Share = 0.0
    face_reader: str | None = None
    likeness: Weight = 0.2
    face_weight: Weight = 0.0
    face_tokens: Rows = FACE_TOKENS
    embedding_dim: Width = 512
    clip: str | None = None
    initial: str | None = None
    seed: Seed = 0
