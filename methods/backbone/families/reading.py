"""What all families need to read a pipeline's folder: configurations, quiet loading, one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from methods.errors import WeightsError
from methods.textfile import read_json


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Without transformers' bar for a few tensors, and without values for tensors without data.

    For these torch itself makes none either (`nn.init`, `arange`, `empty_like`), but imports its compiler or
    sympy to see that.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from transformers.utils import logging as settings

    class WithoutData(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(function, "__module__", "") == "torch.nn.init" and kwargs and "tensor" in kwargs:
                if kwargs["tensor"].is_meta:
                    return kwargs["tensor"]
            if function is torch.arange and kwargs and str(kwargs.get("device")) == "meta":
                return torch.arange(*args, **{**kwargs, "device": "cpu"}).to("meta")
            if function is torch.empty_like and len(args) == 1 and kwargs and set(kwargs) == {"device"}:
                if args[0].is_meta and args[0].is_contiguous():
                    return torch.empty(args[0].shape, dtype=args[0].dtype, **kwargs)
            return function(*args, **(kwargs or {}))

    with _without_bars(settings), WithoutData():
        yield


@contextmanager
def without_shard_bars() -> Iterator[None]:
    """Without diffusers' bar over the files of a network, which standard error shows wherever it leads."""
    from diffusers.utils import logging as settings

    with _without_bars(settings):
        yield


@contextmanager
def _without_bars(settings: Any) -> Iterator[None]:
    """Without the bars of a library, given its module of that name."""
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
