"""From an effect with its interval to a verdict. The rule of a claim is written down before its data.

With d the effect in the expected direction and [low, high] its interval:

    superior    replicated: low > 0 and high >= least      not: high <= 0 or high < least
    not_worse   replicated: low > -margin                  not: high <= -margin
    kept        replicated: -margin < low, high < margin   not: high <= -margin or low >= margin
    at_most     replicated: high <= bound                  not: low > bound
    at_least    replicated: low >= bound                   not: high < bound

Everything else is inconclusive: the data allow both. So is an effect that more than MOST_LOST of the pairs
say nothing about. An effect over fewer people than the claim asks for is undecided, whatever its interval
says. An effect that is smaller than what counts is an answer, not a lack of one: `superior` is then not
replicated, although the sign may be right. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from benchmarks.claims.types import Rule, Verdict
from benchmarks.statistics import detectable

MOST_LOST = 0.1
"""Largest share of pairs in which one of the two sides has no value."""


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval.

    value, low, high: in the metric's unit, or a factor for ratios; low and high None below MIN_UNITS units
    p:      two-sided, against no effect
    pairs:  in which both sides have a value; lost: in which one of the two has none
    units:  people, or rounds of a timing; unit: which of the two
    before, after: means of control and treatment over the pairs
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int
    lost: int
    units: int
    unit: str
    before: float
    after: float

    def smallest(self, *, ratio: bool) -> float | None:
        """The smallest effect that these units could have shown: a difference of either sign, or a factor.

        From the spread between units and their number, see `statistics.detectable`. None without an interval.
        """
        if self.low is None or self.high is None:
            return None
        if ratio:
            return exp(detectable(log(self.low), log(self.high), self.units))
        return detectable(self.low, self.high, self.units)


def judge(rule: Rule, estimate: Estimate, people: int) -> tuple[Verdict, str]:
    """Verdict, and why in a few words. people: how many units a verdict takes at least."""
    if estimate.units < people or estimate.low is None or estimate.high is None:
        noun = "people" if estimate.unit == "identity" else "rounds"
        return "undecided", f"measured over {estimate.units} {noun}; the claim asks for {people}"
    if estimate.lost > MOST_LOST * (estimate.pairs + estimate.lost):
        every = estimate.pairs + estimate.lost
        return "inconclusive", f"one side has no value in {estimate.lost} of {every} pairs"
    low, high = estimate.low, estimate.high
    if rule.expect == "lower":
        low, high = -high, -low
    if rule.kind == "superior":
        return _superior(rule, low, high)
    if rule.kind == "not_worse":
        if low > -rule.margin:
            return "replicated", "anything worse than the margin is excluded"
        return _else(high <= -rule.margin, "worse than the margin")
    if rule.kind == "kept":
        if -rule.margin < low and high < rule.margin:
            return "replicated", "the interval lies within the margin"
        return _else(high <= -rule.margin or low >= rule.margin, "the change exceeds the margin")
    assert rule.bound is not None
    if rule.kind == "at_most":
        if high <= rule.bound:
            return "replicated", "the interval lies below the bound"
        return _else(low > rule.bound, "the interval lies above the bound")
    if low >= rule.bound:
        return "replicated", "the interval lies above the bound"
    return _else(high < rule.bound, "the interval lies below the bound")


def _superior(rule: Rule, low: float, high: float) -> tuple[Verdict, str]:
    if high <= 0:
        return "not replicated", "the effect has the opposite sign, or is none"
    if high < rule.least:
        return "not replicated", "an effect as large as the least that counts is excluded"
    if low > 0:
        return "replicated", "the interval lies on the expected side of 0"
    return "inconclusive", "the interval holds 0 and effects that count"


def _else(refuted: bool, reason: str) -> tuple[Verdict, str]:
    return ("not replicated", reason) if refuted else ("inconclusive", "the interval holds both answers")


def in_words(rule: Rule, *, ratio: bool = False) -> str:
    """The rule in one line, for people."""
    sign = "" if rule.expect is None else ("+" if rule.expect == "higher" else "-")
    if rule.kind == "superior":
        least = f"; an effect below {sign}{rule.least:g} does not count" if rule.least else ""
        return f"{rule.expect}: the interval excludes 0{least}"
    if rule.kind == "not_worse":
        other = "lower" if rule.expect == "higher" else "higher"
        return f"not {other} by {rule.margin:g} or more"
    if rule.kind == "kept":
        return f"unchanged within {rule.margin:g}"
    side = "at most" if rule.kind == "at_most" else "at least"
    return f"{side} {rule.bound:g}{' times' if ratio else ''}"
