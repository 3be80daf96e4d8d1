"""Weights in and out: the only place of the project that opens a weights file.

Nothing in a file executes: safetensors first; torch's own formats only with `weights_only=True`; everything
else (pickles, Lua archives) is refused with the way out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from methods.errors import MissingWeightsError, NonFiniteError, WeightsError
from methods.files import write_bytes
from methods.paths import refuse_address

__all__ = [
    "check_finite",
    "check_state",
    "fill_module",
    "fingerprint_files",
    "fingerprint_tensors",
    "load_weights",
    "read_metadata",
    "save_weights",
]

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_SAFETENSORS = {".safetensors"}
_TORCH = {".bin", ".pt", ".pth", ".ckpt"}
_EXECUTABLE = {".pkl", ".pickle", ".t7", ".joblib", ".npy", ".npz"}
_CONVERT = "Convert it to .safetensors in an environment you trust, then pass that file."


def load_weights(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Read a flat state dict from a weights file.

    Nested dicts of the torch formats are flattened with dots, so that the public IP-Adapter layout
    `{"image_proj": {...}, "ip_adapter": {...}}` reads the same from `.bin` and `.safetensors`.

    Raises WeightsError for a missing, corrupt, unsafe or unknown file, naming it.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    refuse_address(path, WeightsError)
    if not path.is_file():
        raise MissingWeightsError(
            f"No weights file at {path}.", hint="Check the path, or download the file there."
        )
    if suffix in _SAFETENSORS or (suffix in _TORCH and _is_safetensors(path)):
        _refuse_other(path)
        try:
            return load_file(path, device=str(device))
        except (SafetensorError, OSError, ValueError) as error:
            raise _corrupt(path, error) from error
    if suffix in _TORCH:
        _refuse_other(path)
        return _load_torch(path, device)
    known = "a format that can execute code" if suffix in _EXECUTABLE else "no known weights format"
    raise WeightsError(f"{path} is refused: {suffix or 'a file without suffix'} is {known}.", hint=_CONVERT)


def fill_module(module: ModuleT, state: Mapping[str, Tensor], source: str, *, hint: str) -> ModuleT:
    """The module with the tensors of a state dict in its own dtypes: frozen, in evaluation mode.

    Parameters may be on the `meta` device before; afterwards they are where the state's are. Tensors are
    copied: those of a mapped file lie at its offsets, and matrix products round by alignment.

    Raises WeightsError as `check_state`.
    """
    expected = module.state_dict()
    check_state(state, expected, source, hint=hint)
    own = {name: state[name].to(expected[name].dtype, copy=True) for name in expected}
    module.load_state_dict(own, assign=True)
    return module.requires_grad_(False).eval()


def check_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str, *, hint: str
) -> None:
    """Raises WeightsError naming `source`, with `hint`, unless names and shapes are those expected."""
    if missing := sorted(expected.keys() - state.keys()):
        raise WeightsError(f"{source} lacks the tensor {_first_of(missing)}.", hint=hint)
    if unknown := sorted(state.keys() - expected.keys()):
        raise WeightsError(f"{source} has the unknown tensor {_first_of(unknown)}.", hint=hint)
    for name, tensor in expected.items():
        found, wanted = tuple(state[name].shape), tuple(tensor.shape)
        if found != wanted:
            raise WeightsError(f"{source}: {name} has the shape {found}, expected {wanted}.", hint=hint)


def check_finite(tensors: Mapping[str, Tensor], source: str, *, hint: str) -> None:
    """Raises NonFiniteError, naming `source`, when a tensor holds an infinity or no number."""
    broken = [name for name, one in tensors.items() if one.is_floating_point() and not one.isfinite().all()]
    if broken:
        raise NonFiniteError(f"{source}: {_first_of(broken)} left the finite numbers.", hint=hint)


def _first_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a .safetensors file, {} without any. Raises WeightsError as `load_weights`."""
    path = Path(path)
    if not path.is_file():
        raise MissingWeightsError(
            f"No weights file at {path}.", hint="Check the path, or download the file there."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _corrupt(path, error) from error


def save_weights(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as .safetensors, whole or not at all. The metadata always says `format: pt`.

    Raises NonFiniteError for tensors that hold an infinity or no number: half precision ends at 65504.
    """
    check_finite(tensors, f"{path} is not written", hint="Train it at a lower rate.")
    own = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    write_bytes(path, _ordered(save(own, metadata={"format": "pt", **(metadata or {})})))


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in order of name: the library writes them in any, ever another."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[start:]


def fingerprint_files(paths: Iterable[Path], root: Path) -> str:
    """SHA-256 over names (relative to `root`) and contents of files, in order of name."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def fingerprint_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of tensors, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_torch(path: Path, device: str | torch.device) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and end-of-file errors alike
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise WeightsError(f"{path} holds more than tensors and is refused.", hint=_CONVERT) from error
        raise _corrupt(path, error) from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a state dict.", hint=_CONVERT)
    return dict(_flatten(loaded))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise _corrupt(path, error) from error


def _is_safetensors(path: Path) -> bool:
    """A header of JSON behind its length, whatever the file is called."""
    head = _head(path)
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _refuse_other(path: Path) -> None:
    """Raises WeightsError for what is downloaded in the place of weights, by its first bytes."""
    head = _head(path)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the weights.", hint="Run `git lfs pull` in its repository."
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise WeightsError(
            f"{path} is a web page, not weights.", hint="Download the file itself, not the page about it."
        )
    if not head:
        raise WeightsError(f"{path} is empty.", hint="Download or copy it again.")
    torch_file = head.startswith((b"PK\x03\x04", b"\x80\x02"))
    if path.suffix.lower() in _SAFETENSORS and torch_file and not _is_safetensors(path):
        raise WeightsError(
            f"{path} is a torch file, not a .safetensors.", hint="Rename it to .pt, or download it again."
        )


def _flatten(tree: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    for name, value in tree.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")


def _corrupt(path: Path, error: Exception) -> WeightsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return WeightsError(
        f"{path} is corrupt or not what its name says: {reason[:120]}.", hint="Download or copy it again."
    )
