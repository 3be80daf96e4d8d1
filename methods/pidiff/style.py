"""Style editing: the rows of one W+ code put in place of another's, wholly or in part.

Coarse rows carry shape and pose, fine rows colouring and texture (StyleGAN, section 3.1; the abstract of
PIDiff edits by levels from coarse to fine). *Reconstruction*: how the paper names and mixes levels is
unpublished.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from methods.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

NAMED_LEVELS = {"coarse": "0-3", "mid": "4-7", "fine": "8-17", "all": "0-17"}
"""Groups of the 18 rows."""

_HINT = "Give rows such as 8-17 or 0,3,8-11, or one of " + ", ".join(NAMED_LEVELS) + "."


def parse_levels(text: str) -> tuple[int, ...]:
    """Row numbers of `8-17`, `3`, `0,3,8-11`, `fine` or `coarse,fine`, ascending. Raises UsageError."""
    rows: set[int] = set()
    for part in text.split(","):
        part = NAMED_LEVELS.get(part.strip(), part.strip())
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
        if match is None:
            raise UsageError(f"The style levels {text!r} are no rows.", hint=_HINT)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise UsageError(f"The style levels {part!r} run backwards.", hint=_HINT)
        rows |= set(range(first, last + 1))
    return tuple(sorted(rows))


def mix_rows(codes: Tensor, other: Tensor, rows: Sequence[int], strength: float) -> Tensor:
    """w_r + s (w'_r - w_r) for the given rows r, w_r for the others; codes and other [rows, dim].

    strength: s, 0 keeps the codes, 1 swaps. Raises UsageError for a row that the codes do not have.
    """
    if rows[-1] >= len(codes):
        raise UsageError(
            f"There is no style level {rows[-1]}: this style encoder has rows 0 to {len(codes) - 1}.",
            hint=f"Give --style-levels within 0-{len(codes) - 1}.",
        )
    mixed = codes.clone()
    place = list(rows)
    mixed[place] = codes[place].lerp(other[place], strength)
    return mixed
