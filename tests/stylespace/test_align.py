"""Cutting out heads: FFHQ's rule on known points."""

from __future__ import annotations

import numpy as np
from people import portrait

from methods.pidiff.stylespace.align import aligned_head, ffhq_transform, head_ellipse, head_region

UPRIGHT = np.array([[40.0, 50], [60, 50], [50, 65], [43, 80], [57, 80]])


def test_the_crop_is_ffhqs() -> None:
    """e = (20, 0), m = (0, 30): half a side is max(2 * 20, 1.8 * 30) = 54 around (50, 50 + 3)."""
    matrix = ffhq_transform(UPRIGHT, 108)
    corners = matrix @ np.array([[-0.5, -0.5, 1], [107.5, 107.5, 1]]).T  # the outer edges of the crop
    np.testing.assert_allclose(corners.T, [[50 - 54, 53 - 54], [50 + 54, 53 + 54]])


def test_the_crop_turns_with_the_face() -> None:
    quarter = UPRIGHT[:, ::-1] * [-1, 1] + [200, 0]  # (x, y) -> (200 - y, x)
    upright, turned = ffhq_transform(UPRIGHT, 64), ffhq_transform(quarter, 64)
    for point in ([0.0, 0, 1], [63, 0, 1], [10, 40, 1]):
        x, y = upright @ point
        np.testing.assert_allclose(turned @ point, [200 - y, x], atol=1e-9)


def test_a_rendered_head_fills_the_crop_and_the_rest_is_white() -> None:
    shown = portrait(3)
    head = aligned_head(shown.pixels, shown.landmarks, 64)
    assert head.shape == (64, 64, 3) and head.dtype == np.uint8
    outside = head_ellipse(64) == 0
    assert (head[outside] == 255).all()
    assert head[30:40, 28:36].mean() < 245
    kept = aligned_head(shown.pixels, shown.landmarks, 64, surround="keep")
    inside = head_ellipse(64) == 1
    assert (kept[inside] == head[inside]).all() and (kept[outside] != 255).any()


def test_shrinking_averages() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    head = aligned_head(stripes, UPRIGHT * 4.7 + 3, 64, surround="keep")
    assert np.abs(head[20:40, 20:40].astype(int) - 127).max() < 40


def test_the_region_of_a_turned_head_comes_back_as_the_ellipse() -> None:
    """Cut out as the head is, the region in the picture is the ellipse of the crop."""
    angle = 0.4
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    landmarks = (UPRIGHT - UPRIGHT.mean(0)) @ turn + np.array([90.0, 70.0])
    region = head_region(landmarks, 140, 180)
    assert region.shape == (140, 180) and region.min() == 0 and region.max() == 1
    stacked = np.repeat((region * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = aligned_head(stacked, landmarks, 64, surround="keep")[..., 0] / 255
    assert np.abs(crop - head_ellipse(64)).mean() < 0.02


def test_the_head_region_is_the_ellipse_of_the_aligned_head() -> None:
    shown = portrait(3)
    region = head_region(shown.landmarks, 128, 128) >= 0.5
    painted = np.where(region[..., None], np.uint8(0), np.uint8(255)) * np.ones((1, 1, 3), np.uint8)
    crop = aligned_head(painted, shown.landmarks, 64, surround="keep")[..., 0] < 128
    y, x = np.mgrid[:64, :64] / 64 + 0.5 / 64
    ellipse = np.hypot((x - 0.5) / 0.42, (y - 0.47) / 0.5) <= 1
    assert (crop != ellipse).mean() < 0.03
    assert (region & shown.face_mask).sum() > 0.95 * shown.face_mask.sum()
