"""The statistics against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import DRAWS, MAX_UNITS, Bootstrap, deal, detectable, holm, unit_sums


def means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One value per unit: sums and counts of one column."""
    return values[:, None], np.ones((len(values), 1))


@pytest.fixture(scope="module")
def forty() -> Bootstrap:
    return Bootstrap(40)


def test_the_bootstrap_variance_of_a_mean_is_the_known_one(forty: Bootstrap) -> None:
    values = np.random.default_rng(1).normal(size=40)
    resampled = forty._resample(*means(values))
    # variance of a resampled mean: sum of squared deviations / n^2; a sample of 10,000 knows it to 1.4 %
    assert resampled.var() == pytest.approx(values.var() / 40, rel=0.05)
    assert resampled.mean() == pytest.approx(values.mean(), abs=4 * values.std() / 40**0.5 / DRAWS**0.5)


@pytest.mark.parametrize("n", [8, 40])
def test_the_interval_of_normal_values_is_students(n: int) -> None:
    # normal scores: as symmetric and as normal as n numbers can be
    values = 0.3 + stats.norm.ppf((np.arange(n) + 0.5) / n)
    found = Bootstrap(n).estimate(*means(values))
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found.value[0] == pytest.approx(values.mean())
    assert found.low[0] == pytest.approx(low, abs=0.05 * (high - low))
    assert found.high[0] == pytest.approx(high, abs=0.05 * (high - low))


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.4])
def test_the_p_value_of_normal_values_is_students(forty: Bootstrap, shift: float) -> None:
    values = shift + stats.norm.ppf((np.arange(40) + 0.5) / 40)
    expected = stats.ttest_1samp(values, 0.0).pvalue
    assert forty.estimate(*means(values)).p[0] == pytest.approx(expected, abs=0.02)


def test_p_is_below_five_per_cent_exactly_where_the_interval_excludes_zero(forty: Bootstrap) -> None:
    rng = np.random.default_rng(2)
    values = rng.exponential(size=(40, 300)) - rng.uniform(0.6, 1.4, 300)
    found = forty.estimate(values, np.ones_like(values))
    outside = (found.low > 0) | (found.high < 0)
    clear = np.abs(found.p - 0.05) > 0.001  # interpolation between two draws decides the rest
    assert 50 < outside.sum() < 250
    assert np.array_equal(outside[clear], found.p[clear] < 0.05)


def test_few_units_cover_the_truth_as_often_as_promised() -> None:
    values = np.random.default_rng(3).normal(size=(8, 2000))
    found = Bootstrap(8, draws=4000).estimate(values, np.ones_like(values))
    covered = np.mean((found.low <= 0) & (found.high >= 0))
    assert 0.93 <= covered <= 0.97  # the plain percentile interval covers 0.88
    assert np.mean(found.p < 0.05) == pytest.approx(1 - covered, abs=0.005)


def test_samples_of_one_person_are_one_observation() -> None:
    """Ten identical samples of each of ten people say as much as one of each."""
    people = np.random.default_rng(4).normal(size=10)
    units, values = np.repeat(np.arange(10), 10), np.repeat(people, 10)[:, None]
    once = Bootstrap(10).estimate(*means(people))
    often = Bootstrap(10).estimate(*unit_sums(units, values, 10))
    for name in ("low", "high", "p"):
        assert getattr(often, name) == pytest.approx(getattr(once, name))
    assert often.n.tolist() == [100] and often.units.tolist() == [10]


def test_pairing_removes_what_is_shared() -> None:
    """Two methods that differ by a constant: the difference is known exactly, each mean only vaguely."""
    people = np.random.default_rng(5).normal(size=12)
    resampled = Bootstrap(12)
    mean = resampled.estimate(*means(people))
    delta = resampled.estimate(*means((people + 0.01) - people))
    assert mean.high[0] - mean.low[0] > 0.5
    assert (delta.value[0], delta.low[0], delta.high[0]) == pytest.approx((0.01, 0.01, 0.01))
    assert delta.p[0] < 0.01


def test_missing_values_are_left_out_and_counted() -> None:
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [5.0, 2.0]])
    sums, counts = unit_sums(np.array([0, 0, 1, 1]), values, 2)
    assert sums.tolist() == [[4.0, 0.0], [5.0, 2.0]]
    assert counts.tolist() == [[2.0, 0.0], [1.0, 1.0]]
    found = Bootstrap(2).estimate(sums, counts)
    assert found.value.tolist() == [3.0, 2.0]
    assert found.units.tolist() == [2, 1]
    assert np.isnan(found.low).all() and np.isnan(found.p).all()  # two units say nothing about others


def test_a_column_without_any_value_says_nothing() -> None:
    found = Bootstrap(6).estimate(np.zeros((6, 1)), np.zeros((6, 1)))
    assert np.isnan(found.value[0]) and np.isnan(found.p[0]) and found.n[0] == 0


def test_no_difference_is_no_evidence() -> None:
    found = Bootstrap(6).estimate(np.zeros((6, 1)), np.ones((6, 1)))
    assert (found.low[0], found.high[0], found.p[0]) == (0.0, 0.0, 1.0)


def test_the_same_seed_gives_the_same_figures() -> None:
    values = np.random.default_rng(6).normal(size=(9, 5))
    one, two = (Bootstrap(9).estimate(values, np.ones_like(values)) for _ in range(2))
    assert np.array_equal(one.low, two.low) and np.array_equal(one.p, two.p)


def test_columns_do_not_see_each_other(forty: Bootstrap) -> None:
    values = np.random.default_rng(7).normal(size=(40, 7))
    whole = forty.estimate(values, np.ones_like(values))
    blocks = forty.estimate(values, np.ones_like(values), block=2)
    assert whole.low == pytest.approx(blocks.low) and whole.p == pytest.approx(blocks.p)


def test_columns_that_miss_other_values_have_means_of_their_own(forty: Bootstrap) -> None:
    values = np.random.default_rng(8).normal(size=(40, 3))
    values[:4, 0] = values[4:9, 1] = np.nan
    sums, counts = unit_sums(np.arange(40), values, 40)
    whole = forty.estimate(sums, counts)
    for column in range(3):
        alone = forty.estimate(sums[:, [column]], counts[:, [column]])
        assert (whole.low[column], whole.high[column]) == pytest.approx((alone.low[0], alone.high[0]))
        drawn = forty.weights @ sums[:, column] / (forty.weights @ counts[:, column])
        assert whole.low[column] < np.median(drawn) < whole.high[column]
    assert len(set(whole.low)) == 3


def test_many_units_are_dealt_into_groups() -> None:
    codes, count = deal(np.arange(2 * MAX_UNITS + 1))
    assert count == MAX_UNITS and np.bincount(codes).max() == 3
    codes, count = deal(np.array([0, 2, 1]))
    assert codes.tolist() == [0, 2, 1] and count == 3
    with pytest.raises(ValueError, match="units"):
        Bootstrap(MAX_UNITS + 1)


def test_holm_is_the_textbooks() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm(np.array([np.nan, 0.5, 0.9]))
    assert np.isnan(adjusted[0]) and adjusted[1:] == pytest.approx([1.0, 1.0])


def test_an_effect_of_the_detectable_size_is_found_four_times_in_five() -> None:
    people, spread = 16, 0.7
    exact = (stats.t.ppf(0.975, people - 1) + stats.t.ppf(0.8, people - 1)) * spread / people**0.5
    values = np.random.default_rng(5).normal(exact, spread, (people, 1000))
    found = Bootstrap(people, draws=2000).estimate(values, np.ones_like(values))
    assert np.mean(found.low > 0) == pytest.approx(0.8, abs=0.05)
    said = [detectable(low, high, people) for low, high in zip(found.low, found.high, strict=True)]
    assert np.mean(said) == pytest.approx(exact, rel=0.05)
