"""The measurement of what PIDiff must show, on pictures with known answers."""

from __future__ import annotations

import pytest

from benchmarks.studies.pidiff import Measured, compare


def rows(similarity: float, background: float | None) -> list[Measured]:
    return [
        Measured(f"p{person}", "photo", similarity + 0.01 * person, background)
        for person in range(5)
        for _ in range(2)
    ]


def test_pairs_are_compared_and_judged() -> None:
    found = compare(rows(0.5, 0.1), rows(0.4, 0.3))
    assert found["similarity"]["difference"]["value"] == pytest.approx(0.1)
    assert found["background"]["difference"]["interval"] == pytest.approx([-0.2, -0.2])
    assert found["background"]["difference"]["n"] == 5 and found["background"]["pictures"] == 10
    nothing = compare(rows(0.5, None), rows(0.4, 0.3))
    assert nothing["background"] is None and nothing["similarity"]["difference"]["n"] == 5
