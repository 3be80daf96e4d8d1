"""What a run writes: one row per sample, and the words its fields may hold. Imports no torch.

run.json       what was asked for and what it ran on
samples.jsonl  one `Row` per sample, in the order of the plan once the run is complete
sets.json      metrics of whole methods (FID, diversity): {"methods": {method: {metric: score}}}
timings.jsonl  seconds per sample and phase; the only file that differs between two equal runs
pictures/      PNGs by fingerprint, each with the description that reproduces it
references/    the identities' pictures by content
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from methods.config import Seed, Text, options, parse

SCHEMA = 1

Status = Literal[
    "ok", "nobody_named", "not_confined", "no_face_ref", "no_face_gen", "multi_face", "non_finite",
    "degenerate", "error",
]  # fmt: skip
STATUSES: tuple[Status, ...] = get_args(Status)

Inside = Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$", max_length=1000)]
"""A path inside the run folder, in POSIX's form: nothing above it, nothing hidden."""
Bytes = Annotated[int, Field(ge=0, le=2**40)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

FAILURES = ("error", "non_finite", "degenerate", "no_face_ref")
"""Statuses of samples that failed. A generated picture without a face, or with several, is a finding about
its method, and one that cannot be asked for (UNASKED) one about the pair: they are counted and listed, but
nothing failed."""
UNASKED = ("nobody_named", "not_confined")
"""Statuses of samples that a method has no picture to make of: it puts a word of its own where the person is
and the prompt names nobody; it cannot confine people to the regions that the prompt gives them."""


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a row makes its run end with a non-zero exit: its status is a failure, or there is no picture
    (`multi_face` of a reference under `--face-select error`)."""
    return row["status"] in FAILURES or (row["picture"] is None and row["status"] not in UNASKED)


@options
class Row:
    """One line of samples.jsonl.

    id:        fingerprint of everything that decides the pixels, hexadecimal
    method:    as named in run.json; `none` rows are samples like all others
    identity:  name of the person, or of all who share the picture with + between; None for baselines
    prompt_id, prompt: which prompt of the suite, and its text as metrics read it
    category, set: of the prompt; the identity and prompt set it belongs to
    status:    one of STATUSES; detail says more about it
    picture, reference: paths inside the run folder, None where there is no picture
    baseline:  id of the plain backbone's sample of the same prompt and seed
    metrics:   name -> finite number, or None with the reason in `notes`
    truth:     factor -> value that the prompt asks for; reference_truth: that the reference shows
    people:    of several in one picture: name -> path of the reference, in the prompt's order; {} otherwise
    size, sha256: of the picture file in bytes, by which damage is noticed
    """

    id: Text
    method: Text
    identity: Text | None
    prompt_id: Text
    prompt: Text
    category: Text
    set: Text
    seed: Seed
    status: Status = "ok"
    detail: Text = ""
    picture: Inside | None = None
    reference: Inside | None = None
    baseline: Text | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, Text] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)
    reference_truth: dict[str, str] = field(default_factory=dict)
    people: dict[Text, Inside | None] = field(default_factory=dict)
    size: Bytes | None = None
    sha256: Digest | None = None

    def to_line(self) -> bytes:
        """The row as one line of JSON, ASCII only: no name can break a line or an encoding."""
        content = json.dumps(self.as_dict(), allow_nan=False)
        return f'{content[:-1]}, "check": "{_check(content)}"}}\n'.encode()

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-able values, in the order of the fields."""
        return {name: getattr(self, name) for name in ROW_FIELDS}

    @classmethod
    def from_line(cls, line: bytes, *, checked: bool = False) -> Row:
        """Inverse of `to_line`. Raises ValueError for anything else, and for a row that was changed since.

        checked: refuse rows without a check, which were written before there were any
        """
        content, mark, check = line.rstrip(b"\n").rpartition(b', "check": "')
        if mark:
            line = content + b"}"
            if check != f'{_check(line)}"}}'.encode():
                raise ValueError("it was changed after it was written")
        elif checked:
            raise ValueError("it has no check")
        return parse(cls, line)


ROW_FIELDS = tuple(one.name for one in dataclasses.fields(Row))


def _check(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
