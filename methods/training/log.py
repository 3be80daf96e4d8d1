"""The record of a training: one JSON line per step, and TensorBoard events where they are wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from methods.errors import MissingDependencyError, UsageError
from methods.files import cannot_write, write_bytes
from methods.textfile import parse_json, read_text

LOG_FILE = "log.jsonl"


_BEGIN = "Move it away, or begin the training anew in another --output."


class TrainingLog:
    """`log.jsonl` of a folder, a context manager; each line is on its way to the disk when `write` returns.

    after: lines of later steps, which an interrupted part of the training left, are removed; a half-written
           last line too
    """

    def __init__(self, folder: Path, *, after: int = 0, tensorboard: bool = False) -> None:
        self.path = folder / LOG_FILE
        kept = [line for line in _whole_lines(self.path) if _step(line, self.path) <= after]
        write_bytes(self.path, "".join(line + "\n" for line in kept).encode())
        self._stream = self.path.open("a", encoding="utf-8")
        self._events = _events(folder / "tensorboard", after) if tensorboard else None

    def write(self, step: int, record: Mapping[str, Any]) -> None:
        """Append the record of a step; its numbers become TensorBoard scalars."""
        try:
            self._stream.write(json.dumps({"step": step, **record}) + "\n")
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        if self._events is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    self._events.add_scalar(name, value, step)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        if self._events is not None:
            self._events.close()


def _whole_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    *whole, _ = read_text(path, hint=_BEGIN).split("\n")  # what follows the last newline is half a line
    return [line for line in whole if line]


def _step(line: str, path: Path) -> int:
    """The step of a line; it may be damaged only where another program wrote to the file."""
    step = parse_json(line, str(path), hint=_BEGIN).get("step")
    if not isinstance(step, int):
        raise UsageError(f"{path}: a line has no step.", hint=_BEGIN)
    return step


def _events(folder: Path, after: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            f"TensorBoard events need a package: {error}.", hint="pip install tensorboard"
        ) from error
    return SummaryWriter(str(folder), purge_step=after + 1)
