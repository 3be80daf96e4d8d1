"""Style editing: the rows of one W+ code put in place of another's, wholly or in part.

Coarse rows carry shape and pose, fine rows colouring and texture (StyleGAN, section 3.1; the abstract of
PIDiff edits by levels from coarse to fine). *Reconstruction*: how the paper names and mixes levels is
unpublished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from methods.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


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
