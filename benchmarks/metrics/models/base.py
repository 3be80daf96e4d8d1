"""What a model offers to metrics. Imports no torch."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from methods.errors import WeightsError

APACHE = "Apache-2.0 (trained by this project on its own renders)"


class Extractor(ABC):
    """One feature of a picture or a text.

    tag: model and weights in one line. preprocessing: what happens to the picture first. licence: of model
    and weights. All three are known without loading anything. note: takes a line for people, for what is done
    once and takes long; whoever runs the metrics sets it.
    """

    tag: str
    preprocessing: str
    licence: str
    note: Callable[[str], object] = staticmethod(lambda text: None)

    def missing(self) -> str | None:
        """What is missing and what to do, as far as it can be told without loading; None when nothing is."""
        return None

    def files(self) -> tuple[Path, ...]:
        """The files whose contents decide its numbers; none for models of a package or a tag."""
        return ()

    def digests(self) -> tuple[str, ...]:
        """Digests that stand in for the contents of files, for a model that has none here."""
        return ()

    @abstractmethod
    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        """One feature or Failure per (key, picture or text), in order.

        Raises SpidError when the model itself cannot be used.
        """


@contextmanager
def loading(name: str, what: str, hint: str) -> Iterator[None]:
    """Around transformers' `from_pretrained`: whatever it raises for files that are damaged, foreign or not
    there becomes a WeightsError that names the model's path."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{name} cannot be loaded as {what}: {reason[:160]}.", hint=hint) from error


def content_digest(files: Iterable[Path], digests: Iterable[str] = ()) -> str | None:
    """SHA-256 (16 digits) over the contents of the files that are there, whatever their names, and over the
    digests of what is no file; None for none.

    Other weights under the same name are another model, so that a card with this digest tells them apart.
    """
    found = [path for path in files if path.is_file()]
    told = set(digests)
    if not found and not told:
        return None
    stats = [path.stat() for path in found]
    contents = sorted(
        {_content(path, stat.st_size, stat.st_mtime_ns) for path, stat in zip(found, stats, strict=True)}
        | told
    )
    return hashlib.sha256("".join(contents).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _content(path: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, remembered while it keeps its size and its time."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
