"""Paired effects against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.claims.effects import Table, estimate, means
from benchmarks.claims.types import Effect

EFFECT = Effect({"other": "m"}, "new", "old")


def table(change: np.ndarray, prompts: int = 3) -> Table:
    """old has any values; new differs by change[person], the same for all of a person's prompts."""
    rng = np.random.default_rng(0)
    old, new = {}, {}
    for person, by in enumerate(change):
        for prompt in range(prompts):
            key = ("set", f"person {person}", f"prompt {prompt}", 0)
            old[key] = float(rng.normal())
            new[key] = old[key] + float(by)
    categories = {f"prompt {prompt}": "Style" if prompt == 0 else "View" for prompt in range(prompts)}
    return Table({"old": {"m": old}, "new": {"m": new}}, categories)


def test_the_effect_is_the_mean_change_and_its_interval_that_of_people() -> None:
    change = np.random.default_rng(1).normal(0.5, 1.0, 40)
    found = estimate(table(change), EFFECT, "m")
    assert not isinstance(found, str)
    assert found.value == pytest.approx(change.mean())
    assert (found.units, found.pairs, found.lost, found.unit) == (40, 120, 0, "identity")
    half = stats.t.ppf(0.975, 39) * change.std(ddof=1) / math.sqrt(40)  # prompts of a person add nothing
    assert found.low == pytest.approx(change.mean() - half, abs=0.06)
    assert found.high == pytest.approx(change.mean() + half, abs=0.06)
    assert found.p == pytest.approx(stats.ttest_1samp(change, 0).pvalue, abs=0.02)
    assert found.after - found.before == pytest.approx(found.value)


def test_a_constant_change_is_known_exactly() -> None:
    found = estimate(table(np.full(5, -0.25)), EFFECT, "m")
    assert not isinstance(found, str)
    assert [found.value, found.low, found.high] == pytest.approx([-0.25] * 3)


def test_ratios_are_geometric_means() -> None:
    known = Table(
        {
            "old": {"m": {("s", f"round {turn}", "", 0): 2.0 + turn for turn in range(6)}},
            "new": {"m": {("s", f"round {turn}", "", 0): 3.0 + 1.5 * turn for turn in range(6)}},
        },
        unit="round",
    )
    found = estimate(known, Effect({"other": "m"}, "new", "old", ratio=True), "m")
    assert not isinstance(found, str)
    assert [found.value, found.low, found.high] == pytest.approx([1.5] * 3)
    known.values["old"]["m"]["s", "round 0", "", 0] = 0.0
    assert "not positive" in str(estimate(known, Effect({"other": "m"}, "new", "old", ratio=True), "m"))


def test_only_the_prompts_of_the_claim_count() -> None:
    known = table(np.full(6, 1.0))
    for key in known.values["new"]["m"]:
        if key[2] != "prompt 0":
            known.values["new"]["m"][key] = 99.0
    found = estimate(known, Effect({"other": "m"}, "new", "old", categories=("Style",)), "m")
    assert not isinstance(found, str)
    assert (found.value, found.pairs) == (pytest.approx(1.0), 6)


def test_pairs_without_a_value_are_counted_and_left_out() -> None:
    known = table(np.full(6, 1.0))
    keys = list(known.values["new"]["m"])
    known.values["new"]["m"][keys[0]] = math.nan
    known.values["old"]["m"][keys[5]] = math.nan
    found = estimate(known, EFFECT, "m")
    assert not isinstance(found, str)
    assert (found.pairs, found.lost, found.value) == (16, 2, pytest.approx(1.0))


def test_no_effect_says_why() -> None:
    known = table(np.full(5, 1.0))
    known.missing["m2"] = "no weights of m2"
    assert estimate(known, EFFECT, "m2") == "no weights of m2"
    assert estimate(known, EFFECT, "m3") == "no pair has a value of m3"
    absent = Effect({"other": "m"}, "absent", "old")
    assert estimate(known, absent, "m") == "there are no samples of absent"


def test_four_people_have_no_interval() -> None:
    found = estimate(table(np.ones(4)), EFFECT, "m")
    assert not isinstance(found, str)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_means_of_variants() -> None:
    known = table(np.full(5, 1.0))
    found = means(known, ["m", "absent"])
    old = np.mean(list(known.values["old"]["m"].values()))
    assert found["old"]["m"]["mean"] == pytest.approx(old, abs=1e-6)
    assert found["new"]["m"]["mean"] == pytest.approx(old + 1, abs=1e-6)
    assert found["new"]["m"]["n"] == 15 and "absent" not in found["new"]
