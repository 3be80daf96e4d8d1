"""What a bench command asks for, as run.json keeps it. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from methods.config import (
    Batch,
    Count,
    Guidance,
    Seed,
    Side,
    Steps,
    Text,
    TrueCfg,
    build,
    options,
    read_setting,
)
from methods.errors import UsageError
from methods.registry import METHODS, method_info

JOB_OPTIONS = {"id_weight": 1.0, "id_start": 0.0, "id_end": 1.0}
"""Options of a method's jobs rather than of the method, with their defaults."""


@dataclass(frozen=True)
class MethodSpec:
    """One column of a comparison: a method with options, under the name it has in the results."""

    label: str
    name: str
    options: Mapping[str, Any]
    job: Mapping[str, float]


@options
class Request:
    """Everything that decides a run but not where it is written or who works on it.

    suite:    name or YAML file; data, sets, limit as `load_suite` and `make_plan` take them
    methods:  `name` or `name[key=value,...]`; () for the suite's own, ('all',) for all that can run
    backbone: arguments of `load_backbone`, and `face_encoder`
    adapters: method -> weights; models: role -> name, see `spid metrics`
    seeds, steps, guidance, size, metrics: None for the suite's
    true_cfg: see `Job`
    root:     folder that relative paths start from when the run is taken up elsewhere; None for the working
              directory
    """

    suite: Text
    methods: tuple[Text, ...] = ()
    backbone: Mapping[str, Any] = field(default_factory=lambda: {"name_or_path": "pocket"})
    data: Text | None = None
    sets: tuple[Text, ...] = ()
    limit: Count | None = None
    seeds: tuple[Seed, ...] | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    true_cfg: TrueCfg = 1.0
    size: tuple[Side, Side] | None = None
    scheduler: str | None = None
    face_select: str = "largest"
    adapters: Mapping[str, Text] = field(default_factory=dict)
    metrics: Text | tuple[Text, ...] | None = None
    models: Mapping[str, Text] = field(default_factory=dict)
    batch_size: Batch | None = None
    root: Text | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values that `from_dict` takes."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: str = "the request") -> Request:
        """Inverse of `as_dict`; `where` names their source in errors.

        Raises UsageError for entries of another version, and for values that no request may have.
        """
        if unknown := sorted(set(values) - set(cls.__dataclass_fields__)):
            raise UsageError(
                f"{where} asks for {unknown[0]!r}, which this version does not know.",
                hint="Continue it with the version that began it, or give another --output.",
            )
        return build(cls, values, where=where)


def split_methods(text: str) -> list[str]:
    """`none,spatialid[preset=F,late=0.2]` at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[\]]*\])", text) if part.strip()]


def parse_method(text: str) -> MethodSpec:
    """A method of a comparison from its words. Raises UsageError for an unknown method or a broken option."""
    match = re.fullmatch(r"\s*([^\[\]\s]+)\s*(?:\[(.*)\])?\s*", text)
    if match is None:
        raise UsageError(
            f"{_short(text)} is no method.", hint="For example: spatialid or spatialid[preset=F]."
        )
    name, given = match[1], match[2] or ""
    info = method_info(name)
    options: dict[str, Any] = {}
    job = dict(JOB_OPTIONS) if info.identity else {}
    words = []
    for part in filter(None, (part.strip() for part in re.split(r",(?![^()]*\))", given))):
        where = f"{_short(part)} in {_short(text)}"
        key, value = read_setting(part, where=where, example="spatialid[preset=F]")
        if key in job:
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 10:
                raise UsageError(f"{where} is out of range.", hint="Give 0 to 10.")
            job[key] = float(value)
        else:
            options[key] = value
        words.append(f"{key}={part.partition('=')[2].strip()}")
    if job and not job["id_start"] <= job["id_end"] <= 1:
        raise UsageError(f"{text!r}: the identity cannot be active so.", hint="0 <= id_start <= id_end <= 1.")
    return MethodSpec(f"{name}[{','.join(words)}]" if words else name, name, options, job)


def choose_methods(wanted: Sequence[str], default: Sequence[str]) -> list[MethodSpec]:
    """The methods of a run, the plain backbone first: it is the without-ID picture of every pair.

    `all`, also the default without any of the suite's own, stands for every method that loads: a broken
    plug-in that nobody named keeps nothing from running.
    """
    names: list[str] = []
    for one in list(wanted) or list(default) or ["all"]:
        names += METHODS.usable() if one == "all" else [one]
    specs = {spec.label: spec for spec in map(parse_method, ["none", *names])}
    return list(specs.values())


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
