"""The asked-for picture of a pocket person: what no data set of photographs has. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image


def target_of(person: int | None, factors: Mapping[str, str], side: int) -> dict[str, Any]:
    """`target` and `target_id` of a SampleView; {} where the world does not know what was asked for.

    person: number of a pocket person, None for anybody else. factors: what the prompt asks for; those that it
    leaves open are shown as in the plain reference. side: pixels of the picture to compare with.
    """
    if person is None or not factors:
        return {}
    key = json.dumps([person, dict(factors), side], sort_keys=True)
    return {"target": partial(_asked_for, person, dict(factors), side), "target_id": key}


def _asked_for(person: int, factors: Mapping[str, str], side: int) -> Image:
    from PIL.Image import fromarray

    from methods.pocket.references import PLAIN
    from methods.pocket.world import Context, render, sample_person

    shown = Context.from_dict({**PLAIN, **factors, "nuisance": person})
    return fromarray(render(sample_person(person), shown, side).pixels)
