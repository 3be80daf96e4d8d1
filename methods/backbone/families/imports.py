"""diffusers and transformers imported without what most runs never use: half the time to the first picture.

Their models import peft, torch's compiler and distributed tensors, losses of detectors and scipy at the
top. Each is stood in for while they are imported (methods/later.py) and loaded when it is used. That leans on
how these libraries are written: it is done for releases it was tried with, others are imported as they are.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from methods.errors import MissingDependencyError
from methods.later import Name, load_later, packages_distributions, stand_ins, when_loaded

_TRIED = {"torch": "2.13", "diffusers": "0.42", "transformers": "5.24"}
_PLACEMENTS = "torch.distributed.tensor.placement_types"
_UNUSED: dict[str, Any] = {
    # all architectures, where two are wanted
    "diffusers.models.autoencoders": (),
    "diffusers.models.transformers": (),
    "diffusers.models.unets": (),
    # LoRAs in place
    "peft.helpers": ("disable_input_dtype_casting",),
    "peft.tuners.tuners_utils": ("BaseTunerLayer",),
    # compiled and symbolic shapes
    "torch._dynamo._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    "torch.fx.experimental.symbolic_shapes": ("guard_or_false",),
    # models over several devices, of which a table of transformers holds placements
    "torch.distributed._composable.fsdp": ("fully_shard",),
    "torch.distributed.checkpoint.hf_storage": ("HuggingFaceStorageReader", "HuggingFaceStorageWriter"),
    "torch.distributed.fsdp": ("CPUOffloadPolicy", "MixedPrecisionPolicy"),
    "torch.distributed.tensor": {
        **dict.fromkeys(("DTensor", "distribute_tensor")),
        **{name: Name(_PLACEMENTS, name) for name in ("Partial", "Replicate", "Shard")},
    },
    "torch.distributed.tensor._ops": (),
    "torch.distributed.tensor._utils": ("compute_local_shape_and_global_offset",),
    # more of torchvision than plain transforms
    "torchvision.datasets": (),
    "torchvision.models": (),
    "torchvision.ops": (),
    "torchvision.transforms.v2": (),
    "torchvision.transforms.v2.functional": (),
    # losses of trainings
    "scipy.optimize": ("linear_sum_assignment",),
}
_BARE = [*list(_UNUSED)[:3], "torch.distributed.tensor", "torch.distributed.tensor._ops"]


@cache
def prepare_imports() -> None:
    """Make diffusers and transformers importable. Raises MissingDependencyError when they are not."""
    try:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        load_later("bitsandbytes", "scipy.integrate", "scipy.stats")
        # where it is used, it warns of a 4-bit kernel that nobody here uses
        logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
        with ExitStack() as without:
            if tried := all(_release(name) == release for name, release in _TRIED.items()):
                without.enter_context(_distributions())
                when_loaded("transformers.utils.import_utils", _look_through_models_once)
                without.enter_context(stand_ins(_UNUSED | {"torch._dynamo": _compiler()}, _BARE))
                import torch.distributed.tensor._dtensor_spec  # noqa: F401 - the first of a circle

                _ask_for_sharded_tensors_late()
            import diffusers.models.autoencoders.autoencoder_kl
            import diffusers.models.unets.unet_2d_condition  # noqa: F401
            import transformers.masking_utils
            import transformers.modeling_utils
            import transformers.models.clip.modeling_clip  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"A library of the backbone does not import: {error}.", hint="pip install diffusers transformers"
        ) from error
    if tried:
        _scale_without_peft()


def _release(package: str) -> str:
    """Major and minor number of what is installed."""
    return ".".join(importlib.metadata.version(package).split(".")[:2])


@contextmanager
def _distributions() -> Iterator[None]:
    """With the quick reading of what is installed, which diffusers and transformers ask for."""
    given = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = packages_distributions
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = given


def _look_through_models_once(utils: Any) -> None:
    """transformers reads all of its models' files for their names, twice: it remembers 128 of 400 folders."""
    utils.create_import_structure_from_path = cache(utils.create_import_structure_from_path.__wrapped__)


def _compiler() -> dict[str, Callable[..., Any]]:
    """Decorators of torch's compiler that libraries put on what is not compiled, without the compiler.

    They act once it is imported: marks by then, `disable` at the first call, as torch does inside itself.
    """
    import torch

    marked: list[tuple[str, Any]] = []

    def marking(name: str) -> Callable[[Any], Any]:
        def mark(of: Any) -> Any:
            marked.append((name, of))
            return of

        return mark

    def disable(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
        return torch._disable_dynamo(function, recursive)  # type: ignore[attr-defined]

    when_loaded("torch._dynamo", lambda compiler: [getattr(compiler, name)(of) for name, of in marked])
    marks = {name: marking(name) for name in ("allow_in_graph", "assume_constant_result")}
    return marks | {"disable": disable}


def _scale_without_peft() -> None:
    """Every pass of a diffusers network imports peft to multiply LoRAs in place by one."""
    from diffusers.utils import peft_utils

    def unless_one(scale: Callable[..., None]) -> Callable[..., None]:
        def scaled(model: Any, weight: float | None = None) -> None:
            if weight is not None and weight != 1.0:
                scale(model, weight)

        return scaled

    for name in ("scale_lora_layers", "unscale_lora_layers"):
        setattr(peft_utils, name, unless_one(getattr(peft_utils, name)))


def _ask_for_sharded_tensors_late() -> None:
    """transformers asks of all it loads whether it is sharded: nothing is before that module is there."""
    from transformers.distributed import utils

    sharded = utils.is_dtensor

    def is_dtensor(tensor: object) -> bool:
        return "torch.distributed.tensor" in sys.modules and sharded(tensor)

    utils.is_dtensor = is_dtensor
