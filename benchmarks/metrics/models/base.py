"""What a model offers to metrics. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

APACHE = "Apache-2.0 (trained by this project on its own renders)"


class Extractor(ABC):
    """One feature of a picture or a text.

    tag: model and weights in one line. preprocessing: what happens to the picture first. licence: of model
    and weights. All three are known without loading anything.
    """

    tag: str
    preprocessing: str
    licence: str

    def missing(self) -> str | None:
        """What is missing and what to do, as far as it can be told without loading; None when nothing is."""
        return None

    @abstractmethod
    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        """One feature or Failure per (key, picture or text), in order.

        Raises SpidError when the model itself cannot be used.
        """
