"""Checkpoints: folders that are whole or not there.

    checkpoints/step-00000500/
        module.safetensors  average.safetensors  optimizer.safetensors      tensors by name
        state.json          where the training stood
        manifest.json       size and SHA-256 of the other files, written last

A folder is written aside and renamed when every byte of it is on the disk; a crash at any moment leaves the
older ones untouched. One whose manifest does not hold (a half-copied folder, a broken disk) is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from methods.errors import SpidError
from methods.files import cannot_write, sync_folder
from methods.textfile import read_json
from methods.weights import load_weights

MANIFEST = "manifest.json"
STATE = "state.json"
_ASIDE = ".writing-"
_OLD = ".old-"


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint: its folder, and `state` as it was given to `save`."""

    folder: Path
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors that were saved under this name, on the CPU."""
        return load_weights(self.folder / f"{name}.safetensors")


@dataclass
class Checkpoints:
    """The checkpoints of one training; the `keep` newest stay.

    broken: folders that `latest` passed over, with the reason
    """

    folder: Path
    keep: int = 2
    broken: list[tuple[Path, str]] = field(default_factory=list)

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> Checkpoint:
        """Write the checkpoint of a step. Raises SpidError, naming the last good one, when it cannot."""
        final = self.folder / f"step-{step:08d}"
        aside = self.folder / f"{_ASIDE}{secrets.token_hex(4)}"
        try:
            aside.mkdir(parents=True)
            manifest = {
                f"{name}.safetensors": _write(aside / f"{name}.safetensors", save(_plain(content)))
                for name, content in tensors.items()
            }
            manifest[STATE] = _write(aside / STATE, _json(state))
            _write(aside / MANIFEST, _json({"files": manifest}))
            sync_folder(aside)
            if final.exists():  # a broken one of the same step, which the resumed training has reached again
                self._remove(final)
            os.rename(aside, final)
            sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise self._cannot(final, error) from error
        self._prune()
        return Checkpoint(final, dict(state))

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint; None when there is none. Broken ones are noted and passed over."""
        for folder in reversed(self._folders()):
            try:
                return Checkpoint(folder, verify(folder))
            except ValueError as error:
                self.broken.append((folder, str(error)))
        return None

    def sweep(self) -> None:
        """Remove what an interrupted writer or pruner left behind."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name.startswith((_ASIDE, _OLD)):
                    shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def _prune(self) -> None:
        for folder in self._folders()[: -self.keep]:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Out of sight in one step first: a half-removed folder must not look like a checkpoint."""
        old = folder.with_name(f"{_OLD}{secrets.token_hex(4)}")
        os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)

    def _cannot(self, path: Path, error: OSError) -> SpidError:
        last = self.latest()
        good = f"{last.folder} is the last good checkpoint." if last else "There is no checkpoint yet."
        return SpidError(
            cannot_write(path, error).message, hint=f"{good} Free some space and continue with --resume."
        )


def verify(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint whose every file is what the manifest says. Raises ValueError otherwise."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        for name, expected in files.items():
            if _describe((folder / name).read_bytes()) != expected:
                raise ValueError(f"{name} is not what the manifest says")
        return read_json(folder / STATE)
    except SpidError as error:
        raise ValueError(error.message) from error
    except OSError as error:
        raise ValueError(f"{Path(error.filename or folder).name} cannot be read") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{MANIFEST} is damaged") from error


def _write(path: Path, data: bytes) -> dict[str, Any]:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    return _describe(data)


def _describe(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU: safetensors refuses tensors that share memory."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
