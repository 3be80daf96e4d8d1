"""Options of uniform, and of its training. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """lora_scale: weight of a checkpoint's low-rank additions (public FaceID files have some; ours none)."""

    lora_scale: float = 1.0


@dataclass(frozen=True)
class TaskConfig:
    """Options of the training.

    steps:         optimizer steps
    tokens:        identity tokens; public FaceID adapters have 4
    embedding_dim: of the face encoder
    drop:          how often the embedding alone, the text alone, and both are dropped: each this share
    same_share:    how often the embedding comes from the target's own picture
    face_reader:   file of a pocket face reader (`methods.training.likeness`) for a loss on who is seen;
                   None: the squared error alone
    likeness:      weight of that loss
    initial:       adapter folder to go on from, whose tokens it keeps; None starts at the backbone
    seed:          of the projection's initial weights
    """

    steps: int = 6000
    tokens: int = 4
    embedding_dim: int = 512
    drop: float = 0.05
    same_share: float = 0.5
    face_reader: str | None = None
    likeness: float = 0.4
    initial: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.tokens < 1 or self.embedding_dim < 1:
            raise ValueError("steps, tokens and embedding_dim are at least 1")
        if not 0 <= self.drop <= 1 / 3:
            raise ValueError("drop lies in [0, 1/3]")
        if not 0 <= self.same_share <= 1:
            raise ValueError("same_share lies in [0, 1]")
        if self.likeness < 0:
            raise ValueError("likeness is 0 or more")
