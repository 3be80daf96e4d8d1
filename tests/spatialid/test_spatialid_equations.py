"""The kernels against a second, slow transcription of the equations, and against the known numbers."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from methods.spatialid.masks import (
    Kernels,
    apply_phase,
    entropy_response,
    gaussian_prior,
    min_max,
    norm_response,
    refine,
    scaled_kernels,
)
from methods.spatialid.schedule import PRESETS, Phase, Schedule

GRIDS = [
    (2, 2),
    (4, 4),
    (8, 8),
    (16, 16),
    (32, 32),
    (64, 64),
    (7, 9),
    (72, 56),
    (1, 5),
    (3, 1),
    (18, 14),
    (96, 96),
]


# --- the equations once more: float64, one picture, one token at a time --------------------------------


def slow_norms(attention):
    norms = [math.sqrt(sum(float(x) ** 2 for x in token)) for token in attention]
    spread = max(max(norms) - min(norms), 1e-6)
    return [(n - min(norms)) / spread for n in norms]


def slow_inverted_entropy(query, key):
    heads, tokens, width = query.shape
    entropy = []
    for p in range(tokens):
        by_head = []
        for h in range(heads):
            scores = [float(query[h, p] @ k) / math.sqrt(width) for k in key[h]]
            total = sum(math.exp(s) for s in scores)
            a = [math.exp(s) / total for s in scores]
            by_head.append(-sum(x * math.log(x + 1e-8) for x in a))
        entropy.append(sum(by_head) / heads)
    spread = max(max(entropy) - min(entropy), 1e-6)
    return [1 - (e - min(entropy)) / spread for e in entropy]


def mirror(i, side):
    i = abs(i)
    return i if i < side else 2 * (side - 1) - i


def slow_blur(m, radius, sigma):
    for axis, side in ((1, m.shape[1]), (0, m.shape[0])):
        r = min(radius, side - 1)
        taps = {d: math.exp(-(d**2) / (2 * sigma**2)) for d in range(-r, r + 1)}
        total = np.zeros_like(m)
        for d, tap in taps.items():
            total += tap * m.take([mirror(i + d, side) for i in range(side)], axis)
        m = total / sum(taps.values())
    return m


def slow_refine(m, blur_radius, blur_sigma, dilation_radius):
    h, w = m.shape
    b = slow_blur(m.astype(np.float64), blur_radius, blur_sigma)
    mean = b.sum() / b.size
    std = math.sqrt(((b - mean) ** 2).sum() / (b.size - 1))
    above = b > mean + 0.5 * std
    r = dilation_radius
    mask = np.zeros_like(b)
    for y in range(h):
        for x in range(w):
            hard = float(above[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1].any())
            mask[y, x] = min(max(0.7 * b[y, x] + 0.3 * hard, 0), 1)
    return mask


def slow_prior(h, w, sigma):
    xs = [-1 + 2 * i / (w - 1) for i in range(w)]
    ys = [-1 + 2 * i / (h - 1) for i in range(h)]
    prior = [[math.exp(-(x * x + y * y) / (2 * sigma**2)) for x in xs] for y in ys]
    highest = max(map(max, prior))
    return np.array(prior) / highest


def slow_mask(t, attention, h, w, numbers):
    """M_t of one picture by the phases of methods.md 1.2, with the published kernels."""
    early, late, late_floor, center_sigma, global_floor = numbers
    if t > early:
        mask = slow_prior(h, w, center_sigma)
    else:
        mask = slow_refine(np.array(slow_norms(attention)).reshape(h, w), 2, 1.5, 1)
        if t <= late:
            mask = late_floor + (1 - late_floor) * mask
    return np.maximum(mask, global_floor)


# --- agreement ---------------------------------------------------------------------------------------


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernels", ["scaled", "published"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_response_and_refinement(grid, kernels):
    h, w = grid
    rows = 1 if h * w > 5000 else 2  # the slow side is slow
    attention = random(rows, h * w, 6, seed=h * w)
    m = norm_response(attention)
    chosen = scaled_kernels(h, w) if kernels == "scaled" else Kernels()
    masks = refine(m.view(rows, h, w), chosen)
    assert masks.shape == (rows, h, w) and masks.dtype == torch.float32
    for row in range(rows):
        slow = np.array(slow_norms(attention[row].double().numpy()))
        np.testing.assert_allclose(m[row], slow, atol=1e-5)
        assert m[row].min() == 0 and m[row].max() == 1
        expected = slow_refine(
            slow.reshape(h, w), chosen.blur_radius, chosen.blur_sigma, chosen.dilation_radius
        )
        np.testing.assert_allclose(masks[row], expected, atol=1e-5)


def test_inverted_entropy():
    query, key = random(2, 3, 20, 8), random(2, 3, 4, 8, seed=1)
    m = entropy_response(query, key)
    for row in range(2):
        expected = slow_inverted_entropy(query[row].double().numpy(), key[row].double().numpy())
        np.testing.assert_allclose(m[row], expected, atol=1e-5)


@pytest.mark.parametrize("letter", "BCDEF")
@pytest.mark.parametrize("t", [1.0, 0.71, 0.7, 0.5, 0.31, 0.3, 0.0])
def test_every_phase_of_every_preset(letter, t):
    published = {
        "B": (0.7, 0.3, 0.5, 0.3, 0.0),
        "C": (0.7, 0.3, 0.7, 0.5, 0.0),
        "D": (0.7, 0.3, 0.5, 0.3, 0.3),
        "E": (0.7, 0.3, 0.5, 0.3, 0.5),
        "F": (0.7, 0.3, 0.8, 0.7, 0.3),
    }[letter]
    schedule, h, w = PRESETS[letter], 18, 14
    attention = random(h * w, 6)
    phase = schedule.phase(t)
    if phase is Phase.EARLY:
        material = gaussian_prior(h, w, schedule.center_sigma)
    else:
        material = refine(norm_response(attention[None]).view(1, h, w), Kernels())[0]
    expected = slow_mask(t, attention.double().numpy(), h, w, published)
    np.testing.assert_allclose(apply_phase(phase, schedule, material), expected, atol=1e-5)


# --- known numbers (methods.md 1.2) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sigma", "mean", "floored"), [(0.3, 0.137, 0.347), (0.5, 0.349, 0.429), (0.7, 0.543, 0.552)]
)
def test_area_that_the_prior_lets_through(sigma, mean, floored):
    prior = gaussian_prior(72, 56, sigma)
    schedule = Schedule(center_sigma=sigma, global_floor=0.3)
    assert prior.mean().item() == pytest.approx(mean, abs=5e-4)
    assert apply_phase(Phase.EARLY, schedule, prior).mean().item() == pytest.approx(floored, abs=5e-4)
    assert prior.max() == 1


@pytest.mark.parametrize(
    ("tokens", "counts"), [(4032, (15, 7, 3)), (4096, (15, 8, 2)), (1024, (12, 9, 4))], ids=str
)
def test_phases_of_flux_steps(tokens, counts):
    """FLUX's 25 shifted times: mu is linear in the image tokens, .5 at 256 and 1.15 at 4096."""
    mu = 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)
    times = [math.exp(mu) / (math.exp(mu) + 1 / t - 1) for t in np.linspace(1, 0, 26)[:-1]]
    found = Counter(Schedule().phase(t) for t in times)
    assert tuple(found[phase] for phase in Phase) == counts


def test_equal_noise_level_is_equal_signal_to_noise_ratio():
    """x = (1 - t) x0 + t eps against x = sqrt(abar) x0 + sqrt(1 - abar) eps."""
    for abar in (0.999, 0.9, 0.5, 0.1, 0.005):
        sigma = math.sqrt((1 - abar) / abar)
        t = sigma / (1 + sigma)
        assert ((1 - t) / t) ** 2 == pytest.approx(abar / (1 - abar))


# --- properties --------------------------------------------------------------------------------------


def test_published_kernels_on_the_reference_grid():
    assert scaled_kernels(72, 56) == Kernels(blur_radius=2, blur_sigma=1.5, dilation_radius=1)
    sizes = {side: scaled_kernels(side, side) for side in (8, 16, 32, 64, 128)}
    assert [k.blur_radius for k in sizes.values()] == [0, 1, 1, 2, 4]
    assert [k.dilation_radius for k in sizes.values()] == [0, 0, 1, 1, 2]


def test_without_blur_and_dilation_small_grids_keep_their_response():
    m = min_max(random(1, 64)).view(1, 8, 8)
    hard = (m > m.mean() + 0.5 * m.std()).float()
    torch.testing.assert_close(refine(m, scaled_kernels(8, 8)), 0.7 * m + 0.3 * hard)


def test_a_grid_of_one_token_has_nothing_to_choose_from():
    assert refine(norm_response(random(3, 1, 6)).view(3, 1, 1), scaled_kernels(1, 1)).eq(1).all()
    assert gaussian_prior(1, 1, 0.3).eq(1).all()


def test_a_flat_response_is_nowhere():
    m = norm_response(torch.ones(1, 256, 4))
    assert refine(m.view(1, 16, 16), Kernels()).eq(0).all()


def test_rows_are_independent():
    m = min_max(random(5, 256)).view(5, 16, 16)
    together = refine(m, Kernels())
    alone = torch.cat([refine(row[None], Kernels()) for row in m])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    changed = torch.cat([m[:2], torch.zeros_like(m[2:])])
    torch.testing.assert_close(refine(changed, Kernels())[:2], together[:2], rtol=0, atol=1e-6)


def test_bf16_responses_give_float32_masks():
    attention = random(2, 256, 40).bfloat16()
    with torch.inference_mode():
        m = norm_response(attention)
    assert m.dtype == torch.float32
    torch.testing.assert_close(m, norm_response(attention.float()))
