"""pyiqa's architectures without its loader, which opens checkpoints with `weights_only=False`.

The architecture is made empty and filled by `methods.weights.load_weights`, so that nothing in a file
executes. Importing this module imports neither torch nor pyiqa.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from methods.errors import MissingDependencyError, WeightsError

INSTALL = "Run `pip install 'spid[iqa]'`."


def create(name: str, device: str = "cpu", **options: Any) -> Any:
    """An empty pyiqa metric, eval mode. Raises MissingDependencyError without pyiqa."""
    from methods.compat import ensure_torchvision

    ensure_torchvision()
    try:
        import pyiqa
    except ImportError as error:
        raise MissingDependencyError(f"pyiqa cannot be imported ({error}).", hint=INSTALL) from error
    import torch

    return pyiqa.create_metric(name, device=torch.device(device), **options)


def load_musiq(file: Path, device: str = "cpu", **options: Any) -> Any:
    """pyiqa's MUSIQ with the weights of a file: float [B,3,H,W] in [0,1] -> [B,1].

    options: of the architecture
    Raises WeightsError for weights that are missing or do not fit, MissingDependencyError without pyiqa.
    """
    from methods.weights import load_weights

    metric = create("musiq", device, pretrained=False, **options)
    state = {name.removeprefix("module."): value.float() for name, value in load_weights(file).items()}
    try:
        metric.net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit MUSIQ.", hint="Use MUSIQ-SPAQ's weights.") from error
    return metric
