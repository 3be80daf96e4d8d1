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
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1

STATUSES = (
    "ok", "nobody_named", "no_face_ref", "no_face_gen", "multi_face", "non_finite", "degenerate", "error",
)  # fmt: skip

FAILURES = ("error", "non_finite", "degenerate", "no_face_ref")
"""Statuses of samples that failed. A generated picture without a face, or with several, is a finding about
its method, and a prompt that names nobody (`nobody_named`: a method that puts a word of its own where the
person is has no picture to make) one about the pair: they are counted and listed, but nothing failed."""


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a row makes its run end with a non-zero exit: its status is a failure, or there is no picture
    (`multi_face` of a reference under `--face-select error`)."""
    return row["status"] in FAILURES or (row["picture"] is None and row["status"] != "nobody_named")


@dataclass(frozen=True)
class Row:
    """One line of samples.jsonl.

    id:        fingerprint of everything that decides the pixels, hexadecimal
    method:    as named in run.json; `none` rows are samples like all others
    identity:  name of the person, None for baselines
    prompt_id, prompt: which prompt of the suite, and its text as metrics read it
    category, set: of the prompt; the identity and prompt set it belongs to
    status:    one of STATUSES; detail says more about it
    picture, reference: paths relative to the run folder, None where there is no picture
    baseline:  id of the plain backbone's sample of the same prompt and seed
    metrics:   name -> number, or None with the reason in `notes`
    truth:     factor -> value that the prompt asks for; reference_truth: that the reference shows
    size, sha256: of the picture file in bytes, by which damage is noticed
    """

    id: str
    method: str
    identity: str | None
    prompt_id: str
    prompt: str
    category: str
    set: str
    seed: int
    status: str = "ok"
    detail: str = ""
    picture: str | None = None
    reference: str | None = None
    baseline: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, str] = field(default_factory=dict)
    reference_truth: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.status!r} is no status of a sample")

    def to_line(self) -> bytes:
        """The row as one line of JSON, ASCII only: no name can break a line or an encoding."""
        content = json.dumps(self.as_dict(), allow_nan=False)
        return f'{content[:-1]}, "check": "{_check(content)}"}}\n'.encode()

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-able values, in the order of the fields."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}

    @classmethod
    def from_line(cls, line: bytes) -> Row:
        """Inverse of `to_line`. Raises ValueError for anything else."""
        try:
            values = json.loads(line)
            values.pop("check", None)
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"not a row: {error}") from error


def intact(line: bytes) -> bool:
    """Whether a line of samples.jsonl is as `Row.to_line` wrote it: nobody has changed a number since."""
    content, mark, check = line.rstrip(b"\n").rpartition(b', "check": "')
    return bool(mark) and check == f'{_check(content.decode("ascii", "replace") + "}")}"}}'.encode()


def edited(line: bytes) -> bool:
    """Whether a line carries a check that does not hold. Rows from before there were checks carry none."""
    return b', "check": "' in line and not intact(line)


def _check(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]
