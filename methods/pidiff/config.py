"""Options of pidiff, and of its training. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from methods.pidiff.style import parse_levels


@dataclass(frozen=True)
class Config:
    """Options of `pidiff`.

    delayed_start:  share of the steps before the identity enters (w-plus-adapter: 0.2)
    style_from:     picture whose rows replace the person's, or `mean`; None for no editing
    style_levels:   which rows: 8-17, 0,3,8-11, coarse, mid, fine
    style_strength: 1 swaps them, 0 keeps the person's, between the two interpolates
    style_encoder:  folder of a W+ encoder or e4e's checkpoint; None for the one the adapter came with
    """

    delayed_start: float = 0.2
    style_from: str | None = None
    style_levels: str = "8-17"
    style_strength: float = 1.0
    style_encoder: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.delayed_start <= 1:
            raise ValueError("delayed_start lies in [0, 1]")
        if not 0 <= self.style_strength <= 1:
            raise ValueError("style_strength lies in [0, 1]")
        parse_levels(self.style_levels)


@dataclass(frozen=True)
class TaskConfig:
    """Options of the training.

    aligned_steps, wild_steps: optimizer steps of the two stages; 0 leaves a stage out
    drop:          how often the identity alone, the text alone, and both are dropped: each this share
    same_share:    how often the codes come from the target's own picture (w-plus-adapter: always)
    background:    weight b of the reconstruction outside the head in the second stage, 1 inside
    localisation:  l_loc; 0 is the ablation without
    preservation:  l_pre; w-plus-adapter's is 1, over the whole picture
    gate_rate:     factor on the learning rate of the gates, which start closed: at the common rate they would
                   take a thousand steps to open
    style_encoder: W+ encoder: a folder or e4e's checkpoint; None for the pocket one
    face_reader:   file of a pocket face reader (`methods.training.likeness`) for the second stage; None: no
                   l_face
    likeness:      l_face, with a face reader
    initial:       weights to start from: an adapter folder of pidiff, or a w-plus-adapter checkpoint with its
                   encoder; None starts at the backbone
    seed:          of the projection's initial weights
    """

    aligned_steps: int = 2000
    wild_steps: int = 4000
    drop: float = 0.05
    same_share: float = 0.5
    background: float = 0.1
    localisation: float = 0.1
    preservation: float = 1.0
    gate_rate: float = 10.0
    style_encoder: str | None = None
    face_reader: str | None = None
    likeness: float = 0.2
    initial: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.aligned_steps, self.wild_steps) < 0 or self.aligned_steps + self.wild_steps < 1:
            raise ValueError("aligned_steps and wild_steps are at least 0, and one of them more")
        if not 0 <= self.drop <= 1 / 3:
            raise ValueError("drop lies in [0, 1/3]")
        if not 0 <= self.same_share <= 1:
            raise ValueError("same_share lies in [0, 1]")
        if min(self.background, self.localisation, self.preservation, self.likeness) < 0:
            raise ValueError("background, localisation, preservation and likeness are at least 0")
        if self.gate_rate <= 0:
            raise ValueError("gate_rate is positive")
