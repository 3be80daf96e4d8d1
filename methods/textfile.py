"""The one door for text files of others: prompts, YAML, JSON, lists of names.

Only ordinary files are opened (a pipe would wait for ever, /dev/zero has no end), up to a size. Text is UTF-8
with or without a byte order mark. Lines end at newlines only: U+2028 and its like are letters of a line.
JSON and YAML may be so deep and no deeper, hold plain values only, and name each key once.

Needs no torch; PyYAML is imported where YAML is read.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Sequence
from typing import Any

from methods.errors import SpidError, UsageError
from methods.limits import MAX_DEPTH, MAX_DIGITS
from methods.paths import refuse_address

PathArgument = str | os.PathLike[str]

MAX_BYTES = 64 * 2**20
MAX_YAML_BYTES = 4 * 2**20
"""YAML is read at some 300 kB a second."""

_LOOK = "Check the path and its permissions."
_CORRECT = "Correct the file."


def read_bytes(
    path: PathArgument, *, limit: int = MAX_BYTES, error: type[SpidError] = UsageError, hint: str = _LOOK
) -> bytes:
    """The bytes of an ordinary file of at most `limit` bytes.

    Raises `error` naming the file, with `hint`, when it is missing, a folder, a pipe or device, too large or
    unreadable.
    """
    name = os.fspath(path)
    refuse_address(name, error)
    try:
        found = os.stat(name)
        if stat.S_ISDIR(found.st_mode):
            raise error(f"{name}: is a folder, not a file.", hint=hint)
        if not stat.S_ISREG(found.st_mode):
            raise error(f"{name}: is not an ordinary file.", hint="Save its content as one.")
        if found.st_size <= limit:
            with open(name, "rb") as stream:
                content = stream.read(limit + 1)  # the files of /proc say that they are empty
            if len(content) <= limit:
                return content
    except FileNotFoundError as cause:
        raise error(f"{name}: no such file.", hint=hint) from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{name!r}: cannot be read ({reason}).", hint=hint) from cause
    raise error(f"{name}: is larger than {limit / 2**20:.0f} MB.", hint="Split it, or check what it is.")


def read_text(
    path: PathArgument, *, limit: int = MAX_BYTES, error: type[SpidError] = UsageError, hint: str = _LOOK
) -> str:
    """The text of a file without its byte order mark; errors as `read_bytes`, and for text not in UTF-8."""
    return decode(read_bytes(path, limit=limit, error=error, hint=hint), os.fspath(path), error=error)


def decode(content: bytes, where: str, *, error: type[SpidError] = UsageError) -> str:
    """Bytes as UTF-8 text; `where` names them in the error."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(f"{where}: is UTF-16 text, not UTF-8.", hint="Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(
            f"{where}: is not UTF-8 text (byte {cause.start}).", hint="Save it as UTF-8 text."
        ) from cause


def read_lines(path: PathArgument, *, error: type[SpidError] = UsageError, hint: str = _LOOK) -> list[str]:
    """The lines of a text file without their ends (newline, or return and newline); errors as `read_text`."""
    return lines_of(read_text(path, error=error, hint=hint))


def lines_of(text: str) -> list[str]:
    """Lines of a text: they end at newlines and nowhere else."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def read_json(
    path: PathArgument,
    *,
    kind: type = dict,
    keys: Sequence[str] = (),
    limit: int = MAX_BYTES,
    error: type[SpidError] = UsageError,
    hint: str = _CORRECT,
) -> Any:
    """The value of a JSON file, which must be of `kind` and have `keys`; errors as `parse_json`."""
    text = read_text(path, limit=limit, error=error, hint=hint)
    value = parse_json(text, os.fspath(path), kind=kind, error=error, hint=hint)
    for key in keys:
        if key not in value:
            raise error(f"{os.fspath(path)}: has no {key!r}.", hint=hint)
    return value


def parse_json(
    text: str, where: str, *, kind: type = dict, error: type[SpidError] = UsageError, hint: str = _CORRECT
) -> Any:
    """The value of a JSON text, of `kind` (dict, list or object for any).

    Raises `error` for damaged JSON, another kind, a repeated key, a number that is not finite, and nesting
    deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
        _check_depth(value)
    except RecursionError as cause:
        raise error(f"{where}: is nested too deeply.", hint=hint) from cause
    except ValueError as cause:
        raise error(f"{where}: is not JSON ({cause}).", hint=hint) from cause
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list" if kind is list else kind.__name__
        raise error(f"{where}: holds {_kind_of(value)}, not {wanted}.", hint=hint)
    return value


def read_yaml(path: PathArgument) -> dict[str, Any]:
    """The mapping of a YAML file; {} for an empty one. Raises UsageError naming the file."""
    name = os.fspath(path)
    loaded = parse_yaml(read_text(path, limit=MAX_YAML_BYTES), name)
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError(f"{name}: holds {_kind_of(loaded)}.", hint="Write `option: value` lines.")
    return loaded


def parse_yaml(text: str, where: str, *, hint: str = _CORRECT) -> Any:
    """The value of a YAML text of YAML 1.2's core: null, true and false, numbers, text, lists, mappings.

    So `no`, `12:30` and `2024-01-01` are text and `1e-4` is a number. Raises UsageError for damaged YAML,
    other tags, anchors, keys that are no text or come twice, and nesting deeper than MAX_DEPTH.
    """
    import yaml

    from methods.yaml_core import CoreLoader

    try:
        return CoreLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError) as cause:
        problem = getattr(cause, "problem", None) or str(cause)
        mark = getattr(cause, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None and "\n" in text else ""
        reason = " ".join(str(problem).split())[:160].rstrip(".")
        raise UsageError(f"{where}{line}: is not readable YAML ({reason}).", hint=hint) from cause


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is given twice")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a whole number of too many digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _kind_of(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "a truth value", type(None): "nothing"}
    return kinds.get(type(value), "a number")
