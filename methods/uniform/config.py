"""Options of `uniform` and of its training."""

from __future__ import annotations

from typing import Literal

from methods.config import Count, Finite, Rows, Seed, Share, ThirdShare, Weight, Width, options


@options
class Config:
    """Options of `uniform`.

    lora_scale:  weight of a checkpoint's low-rank additions (public FaceID files have some; ours none)
    photographs: what several photographs of a person become: `mean`, the tokens of their mean embedding;
                 `tokens`, the tokens of each side by side, as diffusers takes several pictures
    """

    lora_scale: Finite = 1.0
    photographs: Literal["mean", "tokens"] = "mean"


@options
class TaskConfig:
    """Options of the training.

    steps:         optimizer steps
    tokens:        identity tokens; public FaceID adapters have 4
    embedding_dim: of the face encoder
    drop:          how often the embedding alone, the text alone, and both are dropped: each this share
    same_share:    how often the embedding comes from the target's own picture
    face_reader:   file of a pocket face reader (`methods.learning.likeness`) for a loss on who is seen;
                   None: the squared error alone
    likeness:      weight of that loss
    initial:       adapter folder to go on from, whose tokens it keeps; None starts at the backbone
    seed:          of the projection's initial weights
    """

    steps: Count = 6000
    tokens: Rows = 4
    embedding_dim: Width = 512
    drop: ThirdShare = 0.05
    same_share: Share = 0.5
    face_reader: str | None = None
    likeness: Weight = 0.4
    initial: str | None = None
    seed: Seed = 0
