"""The measurement of what PIDiff must show, on pictures with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from people import portrait

from methods.evaluation.background import Measured, background_distance, compare, verdict
from methods.stylespace.align import aligned_head, head_region


def test_the_head_region_is_the_ellipse_of_the_aligned_head() -> None:
    shown = portrait(3)
    region = head_region(shown.landmarks, 128, 128) >= 0.5
    painted = np.where(region[..., None], np.uint8(0), np.uint8(255)) * np.ones((1, 1, 3), np.uint8)
    crop = aligned_head(painted, shown.landmarks, 64, surround="keep")[..., 0] < 128
    y, x = np.mgrid[:64, :64] / 64 + 0.5 / 64
    ellipse = np.hypot((x - 0.5) / 0.42, (y - 0.47) / 0.5) <= 1
    assert (crop != ellipse).mean() < 0.03
    assert (region & shown.face_mask).sum() > 0.95 * shown.face_mask.sum()


def test_only_the_background_counts() -> None:
    shown = portrait(3)
    other = shown.pixels.copy()
    region = head_region(shown.landmarks, 128, 128) >= 0.5
    other[region] = 0
    assert background_distance(shown.pixels, other, [shown.landmarks]) == 0
    white, black = np.full((128, 128, 3), 255, np.uint8), np.zeros((128, 128, 3), np.uint8)
    assert background_distance(white, black, [shown.landmarks]) == 1
    assert background_distance(white, black, []) == 1


def rows(similarity: float, background: float | None) -> list[Measured]:
    return [
        Measured(f"p{person}", "photo", similarity + 0.01 * person, background)
        for person in range(5)
        for _ in range(2)
    ]


def test_pairs_are_compared_and_judged() -> None:
    found = compare(rows(0.5, 0.1), rows(0.4, 0.3))
    assert found["similarity"]["difference"] == pytest.approx(0.1)
    assert found["background"]["difference"] == pytest.approx(-0.2)
    assert found["background"]["people"] == 5 and found["background"]["pictures"] == 10
    assert verdict(found) is True
    assert verdict(compare(rows(0.3, 0.1), rows(0.4, 0.3))) is False
    assert verdict(compare(rows(0.5, 0.3), rows(0.4, 0.1))) is False
    assert verdict(compare(rows(0.5, None), rows(0.4, 0.3))) is None
