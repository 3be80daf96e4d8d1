"""A pretend accelerator: tensors that lie in the CPU's memory and stand on a device of their own.

    with pretend_device():
        torch.ones(2, device=DEVICE) + torch.ones(2)    # RuntimeError, as on a GPU

Every operation wants its tensors on one device; as on CUDA, a scalar (0 dimensions) on the CPU may join,
indices may lie on the CPU, and copies cross. What forgets a `.to(device)` fails here as it would there; what
does not gives the CPU's values, but for attention, whose fused kernel torch does not take here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from methods.backbone.backbone import Backbone

DEVICE = torch.device("privateuseone", 0)
_aten = torch.ops.aten
_CROSSING = (_aten.copy_.default, _aten._to_copy.default, _aten._has_compatible_shallow_copy_type.default)
_INDEXING = (
    _aten.index.Tensor,
    _aten.index_put.default,  # also what goes backward through the former
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
)


class PretendTensor(torch.Tensor):
    """What is seen of a tensor on the pretend device; `inner` holds its values on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor, requires_grad: bool = False) -> PretendTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    def tolist(self) -> Any:
        """Torch has none for subclasses."""
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Pretend(TorchDispatchMode):
    """Sees the operations that make tensors from nothing, for which no tensor can speak."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    here = any(isinstance(one, PretendTensor) for one in tensors)
    if here and func not in (*_CROSSING, *_INDEXING):
        strangers = [
            tuple(one.shape) for one in tensors if not isinstance(one, PretendTensor) and one.dim() > 0
        ]
        if strangers:
            raise RuntimeError(f"pretend device: {func} meets tensors of the CPU: {strangers}")
    options = dict(kwargs)
    asked = options.get("device")
    if asked is not None:
        here = torch.device(asked).type == DEVICE.type
        options["device"] = torch.device("cpu")
    options.pop("pin_memory", None)
    found = func(*tree_map(_inner, args), **tree_map(_inner, options))
    if not func._schema.returns:
        return None
    if func in _IN_PLACE or func._schema.name.endswith("_") and not func._schema.name.endswith("__"):
        return args[0]
    if isinstance(kwargs.get("out"), torch.Tensor):
        return kwargs["out"]
    return tree_map(_outer, found) if here else found


_IN_PLACE = (_aten.copy_.default,)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, PretendTensor) else value


def _outer(value: Any) -> Any:
    plain = isinstance(value, torch.Tensor) and not isinstance(value, PretendTensor)
    return PretendTensor(value) if plain else value


class _Module:
    """What torch asks the module of a device, which is there within `pretend_device` only."""

    within = False

    @classmethod
    def is_available(cls) -> bool:
        return cls.within

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def _lazy_init() -> None:
        return None

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        return None

    @staticmethod
    def get_rng_state(device: torch.device) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: torch.device) -> None:
        return None

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class _Hook(torch._C._acc.PrivateUse1Hooks):
    """What torch asks of a device before a backward pass."""

    def is_available(self) -> bool:
        return _Module.within

    def has_primary_context(self, device: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


@cache
def _register() -> None:
    """Once per process: the device exists for torch, for its guards and its backward passes."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("pretend", backend_module=_Module(), hook=_Hook())


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """Within, `DEVICE` can be used.

    `torch.tensor` and `torch.as_tensor` reach no dispatch mode, and inference mode forbids such tensors: the
    first two are made on the CPU and moved, the third is `no_grad`. Backward passes stay in this thread.
    """
    _register()
    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False), _Pretend():
        for maker in (torch.tensor, torch.as_tensor):
            patch.setattr(torch, maker.__name__, _moving(maker))
        patch.setattr(_Module, "within", True)
        patch.setattr(torch.inference_mode, "__enter__", _enter_no_grad)
        patch.setattr(torch.inference_mode, "__exit__", _exit_no_grad)
        yield DEVICE


def move(backbone: Backbone, offload: bool = False) -> Backbone:
    """A backbone loaded on the CPU, from now on at work on the device; within `pretend_device`.

    Loaders of libraries fill tensors from files in ways that know no pretend device.
    """
    backbone.placement.device = DEVICE
    backbone.placement.offload = offload
    if not offload:
        for module in backbone.modules:
            module.to(DEVICE)
    return backbone


def _moving(maker: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def make(data: Any, *args: Any, device: Any = None, **options: Any) -> torch.Tensor:
        made = maker(data, *args, **options)
        return made if device is None else made.to(device)

    return make


def _enter_no_grad(self: Any) -> None:
    self._instead = torch.no_grad() if self.mode else nullcontext()
    self._instead.__enter__()


def _exit_no_grad(self: Any, *exception: object) -> None:
    self._instead.__exit__(*exception)
