"""LPIPS: a network that judges two pictures at once, by place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.models.base import Extractor
from methods.errors import WeightsError
from methods.paths import user_path

if TYPE_CHECKING:
    from PIL import Image

_ALEXNET = "alexnet-owt-7be5be79.pth"


class Lpips(Extractor):
    """The network itself as the feature of every picture: it compares pairs, so that nothing is kept of one.

    path: `local` for torchvision's AlexNet in torch's hub cache, or that file. The linear layers (version
    0.1) come with torchmetrics.
    """

    preprocessing = "RGB in [-1, 1] at its own size"
    licence = "BSD-2-Clause (LPIPS), BSD-3-Clause (torchvision's AlexNet)"

    def __init__(self, path: str, device: str) -> None:
        home = user_path(os.environ.get("TORCH_HOME") or "~/.cache/torch")
        self.file = home / "hub" / "checkpoints" / _ALEXNET if path == "local" else user_path(path)
        self.device = device
        self.tag = f"LPIPS 0.1 on AlexNet, {self.file.name}"

    def missing(self) -> str | None:
        if not self.file.is_file():
            return f"No AlexNet weights at {self.file}. Put torchvision's file there, or give lpips=FILE."
        return None

    def files(self) -> tuple[Path, ...]:
        return (self.file, _linear_layers())

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        _ = self.network
        return [self] * len(items)

    @cached_property
    def network(self) -> Any:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        from torchmetrics.functional.image.lpips import _LPIPS

        from methods.weights import load_weights

        network = _LPIPS(pretrained=False, net="alex", pnet_rand=True, spatial=True)
        state = dict(load_weights(_linear_layers()))
        given = load_weights(self.file)
        own = network.state_dict()
        for name in own:
            if name.startswith("net."):  # net.slice2.3.weight is torchvision's features.3.weight
                source = f"features.{name.split('.', 2)[2]}"
                if source not in given or given[source].shape != own[name].shape:
                    raise WeightsError(
                        f"{self.file} is not torchvision's AlexNet: {source} is missing or of another shape.",
                        hint=f"Use {_ALEXNET} from torchvision.",
                    )
                state[name] = given[source]
        missing, unexpected = network.load_state_dict(state, strict=False)
        if unexpected or any(not name.startswith(("lins.", "scaling_layer.")) for name in missing):
            raise WeightsError(
                f"{_linear_layers()} is not what this version expects.", hint="Install torchmetrics again."
            )
        return network.eval().to(self.device)

    def distance(self, one: Image.Image, other: Image.Image) -> NDArray[np.float32]:
        """LPIPS at every pixel of two RGB pictures of one size, float32 [H, W]; its mean is their LPIPS."""
        import torch

        pair = [
            torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float().to(self.device) / 255
            for picture in (one, other)
        ]
        with torch.inference_mode():
            return np.asarray(self.network(*pair, normalize=True)[0, 0].float().cpu().numpy())


def _linear_layers() -> Path:
    """The file that torchmetrics carries; found without importing it."""
    found = find_spec("torchmetrics")
    assert found is not None and found.origin is not None  # a dependency of this package
    return Path(found.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"
