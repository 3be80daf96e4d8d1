"""What all families need to read a pipeline's folder: configurations, quiet loading, one kind of error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from methods.errors import MissingDependencyError, WeightsError
from methods.later import load_later
from methods.textfile import read_json


def prepare_imports() -> None:
    """Make diffusers and transformers importable. Raises MissingDependencyError when they are not."""
    try:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        load_later("bitsandbytes", "scipy.stats")
        # where it is used, it warns of a 4-bit kernel that nobody here uses
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        import diffusers  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"A library of the backbone does not import: {error}.", hint="pip install diffusers transformers"
        ) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar for loading a few tensors."""
    from transformers.utils import logging as settings

    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def configuration(path: Path) -> dict[str, Any]:
    """A configuration of a pipeline; {} where there is none. Raises WeightsError for a damaged one."""
    if not path.exists():
        return {}
    found = read_json(path, error=WeightsError, hint="Download or copy it again.")
    if not isinstance(found, dict):
        raise WeightsError(f"{path} is no configuration.", hint="Download or copy it again.")
    return found


def damaged(path: Path, error: Exception) -> WeightsError:
    """The error for a part of a pipeline that does not load."""
    return WeightsError(
        f"{path} is incomplete or damaged: {first_line(error)}.", hint="Download or copy it again."
    )


def first_line(error: BaseException) -> str:
    """The first line of an error, without its full stop, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
