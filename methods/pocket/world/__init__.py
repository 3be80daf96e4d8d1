"""The world behind the pocket models: rendered portraits, their captions and their ground truth.

`render(person, context)` draws one portrait with known landmarks, box and face mask; `caption` describes it.
Everything is deterministic: identity numbers, contexts and sizes give the same bytes every time.
"""

from __future__ import annotations

from methods.pocket.world.captions import VOCABULARY, caption
from methods.pocket.world.context import FACTORS, Context, sample_context
from methods.pocket.world.person import CELEBRITIES, HELD_OUT, Person, person_distance, sample_person
from methods.pocket.world.render import Portrait, render

__all__ = [
    "CELEBRITIES", "FACTORS", "HELD_OUT", "VOCABULARY", "Context", "Person", "Portrait",
    "caption", "person_distance", "render", "sample_context", "sample_person",
]  # fmt: skip
