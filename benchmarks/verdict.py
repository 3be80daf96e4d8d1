"""From the scores of one picture to the fields of its row: the same for `spid bench` and `spid score`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmarks.metrics.base import Score

FOLDED = ("no_face_ref", "no_face_gen", "multi_face")
"""Statuses of a metric that become that of the row."""
DIGITS = 6


class Verdict(NamedTuple):
    """Fields of a `Row`. metrics: name -> finite number, or None with the reason in `notes` where it was
    measured at all."""

    status: str
    detail: str
    metrics: dict[str, float | None]
    notes: dict[str, str]


def judge(
    names: Sequence[str], scores: Mapping[str, Score] | None, status: str = "ok", detail: str = ""
) -> Verdict:
    """What the metrics say of a picture.

    names: of all metrics of single samples; scores: one of each, None for a picture that was not measured.
    status, detail: what is known of the picture already; a metric changes no status but `ok`. Where
    `face_found` was measured it alone says whether there is a face: another recogniser may have missed it.
    Of several people `people_found` says whether there is one for everybody.
    """
    face = (scores or {}).get("face_found")
    everybody = (scores or {}).get("people_found")
    seen = face is not None and face.value == 1.0 and (everybody is None or everybody.value in (None, 1.0))
    metrics: dict[str, float | None] = dict.fromkeys(names)
    notes: dict[str, str] = {}
    for name in names if scores is not None else ():
        score = (scores or {})[name]
        value = score.value
        if value is not None and math.isfinite(value):
            metrics[name] = round(value, DIGITS)
        else:
            notes[name] = score.reason or (score.status if value is None else "not a finite number")
        if status == "ok" and score.status in FOLDED and not (seen and score.status == "no_face_gen"):
            status, detail = score.status, score.reason or detail
    return Verdict(status, detail, metrics, notes)
