"""Options from YAML and mappings into frozen dataclasses, strictly: pydantic validates, we say what is wrong.

    @options
    class Config:
        steps: Count = 600
        rate: Positive = 1e-4

Numbers are finite and bounded by their type, unknown options are refused with the nearest known one, and a
value is never converted but for whole numbers where any number will do, and lists where a tuple is meant.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import pydantic.dataclasses
from pydantic import (
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core.core_schema import CoreSchema, json_or_python_schema, no_info_before_validator_function
from typing_extensions import is_typeddict

from methods.errors import UsageError, unknown_name
from methods.paths import user_path
from methods.textfile import parse_yaml, read_yaml
from methods.words import in_unicode

__all__ = [
    "Batch",
    "Count",
    "Decay",
    "Finite",
    "Guidance",
    "Pairs",
    "Positive",
    "Precision",
    "Rows",
    "Seed",
    "Share",
    "Side",
    "Steps",
    "Text",
    "ThirdShare",
    "TrueCfg",
    "Weight",
    "Whole",
    "Width",
    "build",
    "load_yaml",
    "options",
    "parse",
    "read_setting",
    "record",
]

T = TypeVar("T")

Precision = Literal["auto", "float32", "bfloat16"]
"""Of the frozen network of a fit: `methods.fitting.precision` says what each means."""

Count = Annotated[int, Field(ge=1, le=10_000_000)]
"""How many of something: 1 to ten million."""
Batch = Annotated[int, Field(ge=1, le=4096)]
Rows = Annotated[int, Field(ge=1, le=1024)]
"""Tokens of an identity."""
Pairs = Annotated[int, Field(ge=1, le=1000)]
"""Stages of the denoising."""
Width = Annotated[int, Field(ge=1, le=65_536)]
"""Channels of an embedding."""
Side = Annotated[int, Field(ge=8, le=8192)]
"""Of a picture, in pixels."""
Steps = Annotated[int, Field(ge=1, le=1000)]
"""Of a sampler: there are a thousand noise levels."""
Whole = Annotated[int, Field(ge=0, le=10_000_000)]
"""As `Count`, with 0 for none."""
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Guidance = Annotated[float, Field(ge=0, le=1000)]
TrueCfg = Annotated[float, Field(ge=1, le=1000)]
"""Guidance by a pass of its own: 1 is without."""
Share = Annotated[float, Field(ge=0, le=1)]
ThirdShare = Annotated[float, Field(ge=0, le=1 / 3)]
"""A share of which three fit into one."""
Weight = Annotated[float, Field(ge=0, le=1e6)]
"""Factor of a term: 0 is without it."""
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
"""A rate, a norm, a size: above 0."""
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]


class _InUnicode:
    """Lets `in_unicode` see words of Python. Those of JSON are Unicode, or the parser has refused them."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = handler(source)
        mended = no_info_before_validator_function(
            lambda value: in_unicode(value) if isinstance(value, str) else value, words
        )
        return json_or_python_schema(json_schema=words, python_schema=mended)


Text = Annotated[str, _InUnicode]
"""Words of others, by `methods.words.in_unicode`."""


_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_CORRECT = "Correct the value."


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def options(cls: type[T]) -> type[T]:
    """A frozen dataclass that pydantic validates: strictly, without extras, without infinities.

    Made in Python or by `build`, what it may not be is a UsageError.
    """
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=_STRICT)(cls)
    validate = made.__init__

    @wraps(validate)
    def init(self: Any, *given: Any, **named: Any) -> None:
        try:
            validate(self, *given, **named)
        except ValidationError as error:
            raise _explain(error, made, made.__name__) from error

    made.__init__ = init
    return made


def record(cls: type[T]) -> type[T]:
    """A TypedDict, or a plain dataclass inside another one, that `build` holds to its keys: strictly, without
    extras, without infinities."""
    return with_config(_STRICT)(cls)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping of a YAML file; {} for an empty one. Raises UsageError as `methods.textfile.read_yaml`."""
    return read_yaml(user_path(path))


def read_setting(text: str, *, where: str, example: str) -> tuple[str, Any]:
    """Key and value of `key=value`; the value is YAML: 0.5, true, [1, 2], a word, or nothing for null.

    where: begins the messages, as `--set 'rate'`; example: what they show. Raises UsageError.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UsageError(f"{where} is not key=value.", hint=f"For example: {example}")
    return key, parse_yaml(value, where, hint=f"Quote it, for the shell too: '{key}=\"text\"'")


def build(cls: type[T], options: Mapping[str, Any] | None, *, where: str) -> T:
    """An options class from plain values; `where` names their source in errors.

    Raises UsageError for an unknown option (with the nearest known one), a missing one, a value of the wrong
    type or outside its bounds, and what the class itself refuses (`__post_init__` raises ValueError or
    UsageError). A plain dataclass, as a plug-in may have, is held to the same.
    """
    try:
        text = json.dumps(dict(options or {}), default=os.fspath)
        adapter: TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]  # mypy does not see that types hash
        return adapter.validate_json(text)
    except TypeError as error:
        raise UsageError(f"{where}: holds more than plain values ({error}).", hint=_CORRECT) from error
    except ValidationError as error:
        raise _explain(error, cls, where) from error
    except UsageError as error:
        if error.message.startswith(where):
            raise
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from error


def parse(cls: type[T], text: bytes) -> T:
    """An options class from JSON of ours, as `build` but fast. Raises ValueError that says what is wrong."""
    try:
        adapter: TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]
        return adapter.validate_json(text)
    except ValidationError as error:
        raise ValueError(_explain(error, cls, "a row").message) from error


@lru_cache(maxsize=256)
def _adapter(cls: type[T]) -> TypeAdapter[T]:
    if dataclasses.is_dataclass(cls) and "__pydantic_config__" not in cls.__dict__:
        cls.__pydantic_config__ = _STRICT  # type: ignore[attr-defined]
    return TypeAdapter(cls)


_MUST = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping",
    "dataclass": "a mapping",
    "model": "a mapping",
    "none_required": "null",
}
_EXTRA = ("extra_forbidden", "unexpected_keyword_argument")
_BOUNDS = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "below {lt:g}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "string_too_short": "text of at least {min_length} letters",
    "string_too_long": "text of at most {max_length} letters",
}


def _explain(error: ValidationError, cls: type, where: str) -> UsageError:
    """The first of pydantic's complaints as one line of ours."""
    found = error.errors(include_url=False)
    # A misspelt option may be the missing one; of a union's kinds the one that came furthest is meant.
    found.sort(key=lambda one: (one["type"] not in _EXTRA, -len(_known_part(cls, one["loc"]))))
    first, *others = found
    kind, context, value = first["type"], first.get("ctx", {}), first["input"]
    place = _known_part(cls, first["loc"])
    name = _dotted(place)
    if kind in _EXTRA:
        outer, unknown = _known_part(cls, first["loc"][:-1]), first["loc"][-1]
        source = f"{where}: {_dotted(outer)}" if outer else where
        return unknown_name(f"option of {source}", str(unknown), _names(_at(cls, outer)))
    if kind in ("missing", "missing_argument"):
        return UsageError(f"{where}: {name} is missing.", hint="Add it.")
    if kind == "literal_error" and len(_same_place(others, cls, place)) == 0:
        known = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        return unknown_name(f"value of {where}: {name}", _plain(value), known)
    if kind in ("value_error", "assertion_error"):
        said = str(context.get("error", first["msg"])).rstrip(".")
        return UsageError(f"{where}: {f'{name}: ' if name else ''}{said}.", hint=_CORRECT)
    if kind == "json_invalid":
        return UsageError(f"{where}: holds text that is not Unicode.", hint=_CORRECT)
    wanted = list(dict.fromkeys(_wanted(one) for one in [first, *_same_place(others, cls, place)]))
    return UsageError(
        f"{where}: {name} is {_short(value)!s}; it must be {' or '.join(wanted)}.", hint=_CORRECT
    )


def _wanted(one: Any) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "int_from_float":
        return _MUST["int"]
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_parsing_size")
    return _MUST.get(kind) or _MUST.get(stem) or str(one["msg"]).removeprefix("Input should be ").lower()


def _same_place(others: Sequence[Any], cls: type, place: Sequence[str | int]) -> list[Any]:
    """Complaints about the other kinds that a value may have."""
    return [one for one in others if _known_part(cls, one["loc"]) == list(place)]


def _known_part(cls: type, loc: Sequence[str | int]) -> list[str | int]:
    """The part of a place that a file has too: pydantic adds the kinds of a union, as `int`."""
    kept: list[str | int] = []
    for part in loc:
        found = _at(cls, kept)
        if isinstance(part, str) and not (part in _names(found) or get_origin(found) is dict):
            continue
        kept.append(part)
    return kept


def _at(kind: Any, loc: Sequence[str | int]) -> Any:
    """The type of the value at a place; Any where it cannot be told."""
    for part in loc:
        origin, inner = get_origin(kind), get_args(kind)
        if _has_fields(kind):
            kind = get_type_hints(kind).get(str(part), Any)
        elif origin is dict:
            kind = inner[1]
        elif origin in (tuple, list):
            kind = inner[0]
        else:
            return Any
        while get_origin(kind) in (Union, types.UnionType, Annotated):
            choices = get_args(kind) if get_origin(kind) is not Annotated else get_args(kind)[:1]
            kind = next((one for one in choices if _is_container(one)), choices[0])
    return kind


def _is_container(kind: Any) -> bool:
    return _has_fields(kind) or get_origin(kind) in (tuple, list, dict)


def _has_fields(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or is_typeddict(kind)


def _names(kind: Any) -> list[str]:
    return list(get_type_hints(kind)) if _has_fields(kind) else []


def _dotted(place: Sequence[str | int]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place).removeprefix(".")


def _short(value: Any) -> str:
    return repr(_plain(value)) if isinstance(value, str) else _plain(value)


def _plain(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]}..."
