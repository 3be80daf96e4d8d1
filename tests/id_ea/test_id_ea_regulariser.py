"""The three readings of ID-EA's Mahalanobis distance, and the numerical trap of the released one."""

from __future__ import annotations

import pytest
import torch

from methods.id_ea.regulariser import FLOOR, RIDGE, Regulariser, pseudo_inverse, ridge_distance

WIDTH = 256


def anchor(norm: float) -> torch.Tensor:
    rows = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    return norm * rows / rows.norm(dim=1, keepdim=True)


def unit(seed: int) -> torch.Tensor:
    one = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(seed))
    return one / one.norm()


@pytest.mark.parametrize("norm", [0.4, 5.0, 28.0])
def test_ridge_is_the_inverse_as_written(norm: float) -> None:
    """Against the dense inverse in double precision, across and along the anchor's difference."""
    rows = anchor(norm)
    covariance = torch.cov(rows.double().T) + RIDGE * torch.eye(WIDTH, dtype=torch.float64)
    along = (rows[:1] - rows[1:]) / (rows[0] - rows[1]).norm()
    for delta in (unit(1), along, 0.3 * unit(2) + along):
        expected = delta.double() @ torch.linalg.solve(covariance, delta.double().T)
        torch.testing.assert_close(ridge_distance(delta, rows).double(), expected[0], rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("norm", "rank", "across", "along"),
    [
        (0.4, WIDTH, (200.0, 225.0), (2.0, 6.0)),
        (5.0, 1, (0.0, 0.03), (0.15, 0.5)),
        (28.0, 1, (0.0, 0.006), (0.03, 0.09)),
    ],
)
def test_the_released_pseudo_inverse_forgets_the_ridge(
    norm: float, rank: int, across: tuple[float, float], along: tuple[float, float]
) -> None:
    """Full rank at the scale of token embeddings, rank one at the scale of encoder outputs."""
    rows = anchor(norm)
    inverse = pseudo_inverse(rows)
    assert torch.linalg.matrix_rank(inverse) == rank
    distance = Regulariser("pinv", rows)
    assert across[0] <= distance(rows + unit(1)).item() <= across[1]
    direction = (rows[:1] - rows[1:]) / (rows[0] - rows[1]).norm()
    assert along[0] <= distance(rows + direction).item() <= along[1]


def test_ridge_pulls_at_every_scale() -> None:
    for norm in (0.4, 5.0, 28.0):
        rows = anchor(norm)
        assert Regulariser("ridge", rows)(rows + unit(1)).item() == pytest.approx(RIDGE**-0.5, rel=0.02)


def test_l2_is_cross_initialisations() -> None:
    rows = anchor(1.0)
    assert Regulariser("l2", rows)(rows + 2 * unit(1)).item() == pytest.approx(4.0, rel=1e-5)


@pytest.mark.parametrize("kind", ["ridge", "pinv"])
def test_under_the_floor_there_is_no_gradient(kind: str) -> None:
    rows = anchor(0.4)
    tokens = rows.clone().requires_grad_()
    value = Regulariser(kind, rows)(tokens)
    value.backward()
    assert value.item() == pytest.approx(FLOOR**0.5)
    assert tokens.grad is not None and not tokens.grad.any()
    moved = (rows + unit(1)).requires_grad_()
    Regulariser(kind, rows)(moved).backward()
    assert moved.grad is not None and moved.grad.any() and torch.isfinite(moved.grad).all()


def test_equal_rows_leave_the_ridge_alone() -> None:
    rows = anchor(1.0)[:1].repeat(2, 1)
    assert ridge_distance(unit(1), rows).item() == pytest.approx(1 / RIDGE, rel=1e-4)
