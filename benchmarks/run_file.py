"""run.json and sets.json: their entries, checked when they are read. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from benchmarks.schema import SCHEMA, Inside
from methods.config import Guidance, Seed, Side, Steps, Text, TrueCfg, Whole, build, record
from methods.errors import UsageError
from methods.textfile import read_json

Bound = Annotated[float | None, Field(description="null: without bound")]


@record
class Meeting(TypedDict):
    """How many people of a set meet how many prompts."""

    identities: Whole
    prompts: Whole


@record
class SuiteEntry(TypedDict):
    """The suite that was run."""

    name: Text
    version: NotRequired[Text]
    description: NotRequired[Text]
    sets: NotRequired[dict[Text, Meeting]]
    package: NotRequired[Text]


@record
class BackboneEntry(TypedDict):
    """What of a backbone changes pixels. attention_backend, compile, vae_tiling: only where they are not the
    usual ones. licence: of pictures that were given, not made."""

    name: Text
    family: NotRequired[Text]
    fingerprint: NotRequired[Text | None]
    revision: NotRequired[Text | None]
    dtype: NotRequired[str]
    code: NotRequired[str]
    attention_backend: NotRequired[str]
    compile: NotRequired[Any]
    vae_tiling: NotRequired[Any]
    licence: NotRequired[Text]


@record
class MethodEntry(TypedDict):
    """A method as it ran: `name` is its column, `method` its registered name, `package` that of a plug-in."""

    name: Text
    method: NotRequired[Text]
    package: NotRequired[Text]
    config: NotRequired[dict[str, Any]]
    files: NotRequired[dict[str, Any]]
    job: NotRequired[dict[str, float]]
    weights: NotRequired[str | None]
    code: NotRequired[str | None]


@record
class Card(TypedDict):
    """What a metric measures, and whether it could be computed (`available`, else `reason`)."""

    name: Text
    title: NotRequired[Text]
    direction: NotRequired[Literal["higher", "lower", "none"]]
    range: NotRequired[Annotated[list[Bound], Field(min_length=2, max_length=2)]]
    model: NotRequired[Text]
    preprocessing: NotRequired[Text]
    definition: NotRequired[Text]
    source: NotRequired[Text]
    licence: NotRequired[Text]
    level: NotRequired[Literal["sample", "set"]]
    compat: NotRequired[Text | None]
    package: NotRequired[Text | None]
    photographs: NotRequired[Literal["mean", "first"] | None]
    weights: NotRequired[Text | None]
    available: NotRequired[bool]
    reason: NotRequired[Text | None]


@record
class Pairs(TypedDict):
    """Pairs of person and prompt that the suite lists and the run plans, and pictures that are made."""

    listed: Whole
    planned: Whole
    pictures: Whole


@record
class PersonEntry(TypedDict):
    """Somebody in the pictures of a set. references: their photographs in the run folder, the one that rows
    name first. person: number of a rendered person."""

    set: Text
    name: Text
    references: Annotated[list[Inside], Field(min_length=1)]
    person: NotRequired[Seed]


@record
class EncoderEntry(TypedDict):
    """What conditions on faces. package: of a plug-in, as with the suite, a method or a metric."""

    name: Text
    fingerprint: str
    package: NotRequired[Text]


@record
class Settings(TypedDict, total=False):
    """What all samples share. scored, models: of pictures that were given to `spid score`."""

    width: Side
    height: Side
    steps: Steps
    guidance: Guidance
    true_cfg: TrueCfg
    negative_prompt: Text
    scheduler: str
    face_select: str
    seeds: list[Seed]
    limit: Whole | None
    batch_size: Whole
    samples: Whole
    pairs: Pairs
    plan: str
    face_encoder: EncoderEntry | None
    scored: bool
    models: dict[str, Text]


@record
class RunFile(TypedDict):
    """run.json, schema 1: what was asked for and what it ran on. Entries that came later are missing in
    older files."""

    schema: Literal[1]
    suite: NotRequired[SuiteEntry]
    backbone: NotRequired[BackboneEntry]
    methods: NotRequired[list[MethodEntry]]
    left_out: NotRequired[dict[Text, Text]]
    metrics: NotRequired[list[Card]]
    faults: NotRequired[list[dict[str, Text]]]
    people: NotRequired[list[PersonEntry]]
    settings: NotRequired[Settings]
    request: NotRequired[dict[str, Any]]
    environment: NotRequired[dict[str, Any]]


@record
class SetScore(TypedDict):
    """A metric of all pictures of a method; `value` is None with the `reason`."""

    value: float | None
    status: str
    reason: Text


@record
class SetsFile(TypedDict):
    """sets.json: metrics of whole methods. samples: SHA-256 of the samples.jsonl that they belong to."""

    schema: NotRequired[Literal[1]]
    samples: NotRequired[str]
    methods: dict[Text, dict[str, SetScore]]


def read_run(folder: Path) -> RunFile:
    """run.json of a run folder. Raises UsageError when there is none, it is damaged, or of another schema."""
    file = folder / "run.json"
    if not file.is_file():
        raise UsageError(
            f"{folder}: not a run folder: no run.json.",
            hint="Name the folder that spid bench wrote (it holds run.json).",
        )
    content = read_json(file, hint="Restore the file.")
    if content.get("schema") != SCHEMA:
        raise UsageError(
            f"{file}: its schema is {content.get('schema')!r}, this version reads {SCHEMA}.",
            hint="Use the version of spid that wrote it, or run the benchmark again.",
        )
    return build(RunFile, content, where=str(file))


def read_sets(folder: Path) -> dict[str, dict[str, SetScore]]:
    """Metrics of whole methods; {} where none were measured. Raises UsageError for a damaged file."""
    file = folder / "sets.json"
    if not file.is_file():
        return {}
    return build(SetsFile, read_json(file, hint="Remove it and run spid bench again."), where=str(file))[
        "methods"
    ]
