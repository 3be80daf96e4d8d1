"""torchvision beside a torch it was not built for.

A torchvision wheel from the package index is a CUDA build. Beside a CPU torch its C++ library does not
load, and `import torchvision` raises `operator torchvision::nms does not exist`, because it registers
fake kernels for `nms` and `qnms` without looking whether they exist. open_clip, timm, pyiqa and, through
transformers' picture processors, diffusers' pipelines fail with it: worse than no torchvision at all.

`ensure_torchvision()` repairs exactly this. It does nothing where the C++ library loads; where it does
not, it declares the two operators with a pure-torch implementation before torchvision is first imported.
What stays missing then: torchvision's own picture reading and its other C++ operators (those with a
Python fallback, such as `roi_align`, work).
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

TorchvisionState = Literal["native", "declared", "absent"]

_BOXES = "torchvision.ops.boxes"
_state: TorchvisionState | None = None
_library: object | None = None  # torch.library.Library: the operators vanish with it


def ensure_torchvision() -> TorchvisionState:
    """Make `import torchvision` work; call before the first import of it or of anything that uses it.

    Returns 'native' (C++ operators load, nothing was done), 'declared' (the missing operators were
    declared in Python) or 'absent' (torchvision is not installed). Imports torch unless torchvision is
    absent, never torchvision itself. Idempotent.
    """
    global _state
    if _state is None:
        _state = _prepare()
    return _state


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression, as `torchvision.ops.nms`.

    boxes [n, 4] as x1, y1, x2, y2; scores [n]. Returns int64 indices of the kept boxes, best score first;
    a box is dropped when its intersection over union with a better kept one exceeds `iou_threshold`.
    """
    import torch

    boxes = boxes.float()
    x1, y1, x2, y2 = boxes.unbind(1)
    areas = (x2 - x1) * (y2 - y1)
    order = torch.argsort(scores, descending=True, stable=True)
    kept: list[Tensor] = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        width = (torch.minimum(x2[best], x2[rest]) - torch.maximum(x1[best], x1[rest])).clamp(min=0)
        height = (torch.minimum(y2[best], y2[rest]) - torch.maximum(y1[best], y1[rest])).clamp(min=0)
        intersection = width * height
        iou = intersection / (areas[best] + areas[rest] - intersection)
        order = rest[~(iou > iou_threshold)]  # two empty boxes give nan, which suppresses nothing
    return torch.stack(kept) if kept else order


def torchvision_loads() -> bool | None:
    """Whether torchvision's C++ library loads beside torch's, which is loaded by then; None: no torchvision.

    Finds and loads the library without importing a package.
    """
    package = PathFinder.find_spec("torchvision")
    if package is None or package.submodule_search_locations is None:
        return None
    extension = PathFinder.find_spec("torchvision._C", list(package.submodule_search_locations))
    if extension is None or extension.origin is None:
        return False
    try:
        ctypes.CDLL(extension.origin)
    except OSError:
        return False
    return True


def _prepare() -> TorchvisionState:
    if "torchvision" in sys.modules:  # imported before us, so it found its operators
        return "native"
    if PathFinder.find_spec("torchvision") is None:
        return "absent"
    import torch  # noqa: F401 - the libraries that torchvision's needs

    if torchvision_loads():
        return "native"
    _declare()
    sys.meta_path.insert(0, _BoxesFinder())
    return "declared"


def _declare() -> None:
    global _library
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for device in ("CPU", "CUDA"):
            library.impl(name, nms, device)
    _library = library


class _BoxesFinder(importlib.abc.MetaPathFinder):
    """Lets `torchvision.ops.nms` reach the declared operator.

    Its module asks whether *all* C++ operators are there, and refuses. Answering yes for the whole package
    would break the operators that have a Python fallback, so only that module's question is answered.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _BOXES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _BoxesLoader(spec.loader)
        return spec


class _BoxesLoader(importlib.abc.Loader):
    def __init__(self, wrapped: importlib.abc.Loader) -> None:
        self._wrapped = wrapped

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._wrapped.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._wrapped.exec_module(module)
        module.__dict__["_assert_has_ops"] = lambda: None
