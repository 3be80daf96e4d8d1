"""What becomes of a block on its way to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.plan import Block
from methods.errors import SpidError

if TYPE_CHECKING:
    from PIL.Image import Image

    from benchmarks.metrics.base import SampleView, Score


@dataclass(frozen=True, eq=False)
class Trouble:
    """Why there is no picture, or no identity to make one with."""

    status: str
    detail: str


@dataclass(frozen=True, eq=False)
class Made:
    """A picture on the disk: its pixels, `ok` or `degenerate`, and notes of the sampling."""

    picture: Image
    status: str
    detail: str
    size: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Sampled:
    """A block whose pictures are there.

    made: by sample; views: what is to be measured. timings: lines of timings.jsonl. stopped: the first
    sample that raised, in words
    """

    block: Block
    made: Mapping[str, Made | Trouble]
    views: Sequence[SampleView]
    timings: Sequence[dict[str, Any]]
    stopped: str | None


class Scored(NamedTuple):
    """The scores of a block by sample and metric, and how long measuring took."""

    scores: Mapping[str, Mapping[str, Score]]
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether a model or metric failed somewhere."""
        return any(score.status == "error" for of in self.scores.values() for score in of.values())


class StoppedError(SpidError):
    """A sample could not be made and nobody asked to keep going; its row is recorded."""
