"""Options of `spatialid`, with those of its two hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from methods.config import options
from methods.pulid.config import Config as PulidConfig
from methods.spatialid.schedule import Schedule, adjusted
from methods.uniform.config import Config as UniformConfig

if TYPE_CHECKING:
    from methods.spatialid.masks import Kernels


@options
class Config(UniformConfig, PulidConfig):
    """Options of SpatialID; beside them those of `uniform` count on U-Nets, and those of `pulid` on FLUX.

    preset:   A to F or an alias (`uniform`, `readme`, `ibench`); the README's is the paper's default
    early, late, late_floor, center_sigma, global_floor: a number here replaces the preset's (see `Schedule`)
    response: `norm`, the paper's; `entropy`, its published alternative, as an ablation
    kernels:  `published`, 5 and 3 tokens on every grid, or `scaled` with the token grid. `auto` is published
              on FLUX, whose one grid they were made for, and scaled on U-Nets, which have several
    """

    preset: str = "readme"
    early: float | None = None
    late: float | None = None
    late_floor: float | None = None
    center_sigma: float | None = None
    global_floor: float | None = None
    response: Literal["norm", "entropy"] = "norm"
    kernels: Literal["auto", "scaled", "published"] = "auto"

    def __post_init__(self) -> None:
        self.schedule()

    def schedule(self) -> Schedule | None:
        """The preset with its replaced numbers; None means no mask."""
        return adjusted(
            self.preset,
            early=self.early,
            late=self.late,
            late_floor=self.late_floor,
            center_sigma=self.center_sigma,
            global_floor=self.global_floor,
        )

    def kernels_of(self, usual: Literal["scaled", "published"]) -> Callable[[int, int], Kernels]:
        """Kernel sizes by token grid; usual: what `auto` means here."""
        from methods.spatialid.masks import Kernels, scaled_kernels

        chosen = usual if self.kernels == "auto" else self.kernels
        return scaled_kernels if chosen == "scaled" else lambda h, w: Kernels()
