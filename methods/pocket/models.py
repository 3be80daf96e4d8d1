"""The pocket models of one folder, as the instruments that measure them use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from methods.backbone.load import load_backbone
from methods.faces import load_encoder
from methods.paths import pocket_dir
from methods.shipped import SHIPPED

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.faces import FaceEncoder
    from methods.pocket.probes import ProbeSet


@dataclass(frozen=True)
class PocketModels:
    """Models by what they are for, each loaded on first use; WeightsError then for one that is missing.

    folder: one subfolder per model; the shipped ones unless another is given
    family: of the text-to-image model: `pocket`, or `pocket-flux` for the twin
    """

    folder: Path = field(default_factory=pocket_dir)
    family: str = "pocket"

    @cached_property
    def backbone(self) -> Backbone:
        """The text-to-image model."""
        return load_backbone(str(self.folder / SHIPPED[self.family].folder))

    @cached_property
    def conditioner(self) -> FaceEncoder:
        """The face pack that methods condition on."""
        return load_encoder(self.folder / "face")

    @cached_property
    def scorer(self) -> FaceEncoder:
        """The face pack that scores, which no method conditions on."""
        return load_encoder(self.folder / "face-scoring")

    @cached_property
    def probes(self) -> ProbeSet:
        """What reads the factors of a picture."""
        from methods.pocket.probes import load_probes

        return load_probes(self.folder / "probes")
