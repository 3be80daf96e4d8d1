"""Verdicts with known answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.claims.rules import Estimate, in_words, judge
from benchmarks.claims.types import Rule
from methods.config import build
from methods.errors import UsageError

UP = Rule("superior", "higher", least=0.1)
DOWN = Rule("superior", "lower", least=0.1)
NOT_WORSE = Rule("not_worse", "higher", margin=0.2)
KEPT = Rule("kept", margin=0.2)


def estimate(low: float | None, high: float | None, **changes: float) -> Estimate:
    value = 0.0 if low is None or high is None else (low + high) / 2
    fields = {"value": value, "p": 0.5, "pairs": 60, "lost": 0, "units": 6, "before": 0.0, "after": value}
    return Estimate(low=low, high=high, unit="identity", **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "low", "high", "verdict"),
    [
        (UP, 0.01, 0.3, "replicated"),
        (UP, 0.01, 0.09, "not replicated"),  # the right sign, but nothing that counts
        (UP, -0.05, 0.3, "inconclusive"),
        (UP, -0.05, 0.09, "not replicated"),
        (UP, -0.3, -0.01, "not replicated"),
        (UP, -0.3, 0.0, "not replicated"),
        (DOWN, -0.3, -0.01, "replicated"),
        (DOWN, -0.3, 0.05, "inconclusive"),
        (DOWN, 0.01, 0.3, "not replicated"),
        (DOWN, -0.09, 0.02, "not replicated"),
        (NOT_WORSE, -0.19, 0.1, "replicated"),
        (NOT_WORSE, -0.3, 0.1, "inconclusive"),
        (NOT_WORSE, -0.5, -0.2, "not replicated"),
        (NOT_WORSE, 0.5, 0.9, "replicated"),
        (Rule("not_worse", "lower", margin=0.2), -0.9, 0.19, "replicated"),
        (KEPT, -0.1, 0.1, "replicated"),
        (KEPT, -0.1, 0.3, "inconclusive"),
        (KEPT, 0.2, 0.3, "not replicated"),
        (KEPT, -0.3, -0.2, "not replicated"),
        (Rule("at_most", bound=1.05), 1.01, 1.04, "replicated"),
        (Rule("at_most", bound=1.05), 1.01, 1.09, "inconclusive"),
        (Rule("at_most", bound=1.05), 1.06, 1.09, "not replicated"),
        (Rule("at_least", bound=10.0), 10.0, 12.0, "replicated"),
        (Rule("at_least", bound=10.0), 8.0, 12.0, "inconclusive"),
        (Rule("at_least", bound=10.0), 8.0, 9.9, "not replicated"),
    ],
)
def test_the_interval_decides(rule: Rule, low: float, high: float, verdict: str) -> None:
    assert judge(rule, estimate(low, high), 6)[0] == verdict


@pytest.mark.parametrize(("low", "high", "people"), [(0.2, 0.3, 15), (None, None, 4)])
def test_too_few_people_decide_nothing(low: float | None, high: float | None, people: int) -> None:
    assert judge(UP, estimate(low, high, units=people), 16) == (
        "undecided",
        f"measured over {people} people; the claim asks for 16",
    )


def test_the_smallest_effect_is_of_the_interval_and_its_people() -> None:
    # t with 15 degrees of freedom: 2.13145 at .975, 0.86624 at .8
    assert estimate(0.1, 0.3, units=16).smallest(ratio=False) == pytest.approx(
        0.1 * (1 + 0.86624 / 2.13145), rel=1e-4
    )
    factor = estimate(0.8, 1.25, units=16).smallest(ratio=True)
    assert factor == pytest.approx(1.25 ** (1 + 0.86624 / 2.13145), rel=1e-4)
    assert estimate(None, None, units=4).smallest(ratio=False) is None


def test_pairs_that_say_nothing_leave_it_open() -> None:
    clear = estimate(0.2, 0.3)
    assert judge(UP, replace(clear, pairs=90, lost=10), 6)[0] == "replicated"
    verdict, reason = judge(UP, replace(clear, pairs=80, lost=20), 6)
    assert verdict == "inconclusive" and "20 of 100 pairs" in reason


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "superior"},
        {"kind": "kept", "margin": 0.0},
        {"kind": "not_worse", "expect": "higher"},
        {"kind": "at_most"},
        {"kind": "kept", "margin": 0.1, "expect": "higher"},
        {"kind": "superior", "expect": "higher", "margin": 0.1},
        {"kind": "superior", "expect": "higher", "least": -0.1},
        {"kind": "not_worse", "expect": "lower", "margin": 0.1, "least": 0.1},
        {"kind": "better"},
    ],
)
def test_a_rule_says_exactly_what_it_needs(given: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="rule"):
        build(Rule, given, where="rule")


def test_rules_in_words() -> None:
    assert in_words(DOWN) == "lower: the interval excludes 0; an effect below -0.1 does not count"
    assert in_words(Rule("not_worse", "lower", margin=0.2)) == "not higher by 0.2 or more"
    assert in_words(KEPT) == "unchanged within 0.2"
    assert in_words(Rule("at_most", bound=1.05), ratio=True) == "at most 1.05 times"
