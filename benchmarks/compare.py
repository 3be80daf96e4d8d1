"""Two runs of one suite against each other, sample by sample: has anything become worse? Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.samples import Key, Samples, card_differences, read_samples, resampling_units
from benchmarks.statistics import LEVEL, MIN_UNITS, Bootstrap, deal, holm, unit_sums
from methods.errors import UsageError, unknown_name

Verdict = Literal["worse", "better", "changed", "insignificant", "same", "unknown"]

_RULE = re.compile(r"\s*([A-Za-z0-9_.:-]+?)\s*([<>])\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Rule:
    """`metric < margin` or `metric > margin`: a change beyond the margin, if significant, is a regression."""

    metric: str
    sign: Literal["<", ">"]
    margin: float

    def broken_by(self, change: Change) -> bool:
        """Whether the change lies beyond the margin and its interval on that side of zero."""
        if change.delta is None or change.low is None or change.high is None:
            return False
        if self.sign == "<":
            return change.delta < self.margin and change.high < 0
        return change.delta > self.margin and change.low > 0

    def __str__(self) -> str:
        return f"{self.metric}{self.sign}{self.margin:g}"


@dataclass(frozen=True)
class Change:
    """One metric of one method: run minus baseline over the n pairs in which both have a value.

    before, after: means over these pairs. low, high: 95 % interval of delta, None for fewer than five units.
    unit: what was resampled, 'identity' or, for methods with fewer than five people, 'sample'. p_holm:
    corrected over all changes of the comparison. verdict: by direction and p_holm; `changed` where the metric
    has no direction, `same` where every pair agrees, `unknown` without an interval. rule: the broken rule.
    lost: samples of the run without a value whose partner has one.
    """

    method: str
    metric: str
    before: float | None
    after: float | None
    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int
    lost: int
    unit: str
    verdict: Verdict
    rule: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    pairs: samples that both runs hold. identities: people in them. unpaired: samples that only one run holds.
    refused: metric -> why the two runs' numbers cannot be subtracted.
    failures: why a gate cannot pass although nothing was measured to be worse: what a rule could not judge,
    and what the baseline has and the run has lost. Empty without rules.
    """

    run: str
    baseline: str
    pairs: int
    identities: int
    unpaired: int
    refused: dict[str, str]
    rules: list[str]
    changes: list[Change]
    failures: list[str]

    @property
    def regressions(self) -> list[Change]:
        """With rules, the changes that break one; without, every significant change for the worse."""
        if self.rules:
            return [change for change in self.changes if change.rule is not None]
        return [change for change in self.changes if change.verdict == "worse"]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        regressions = [asdict(change) for change in self.regressions]
        return {**asdict(self), "regressions": regressions, "passed": self.passed}

    @property
    def passed(self) -> bool:
        """Whether nothing is worse and, with rules, every one could be judged and nothing was lost."""
        return not self.regressions and not self.failures


def parse_rules(text: str) -> list[Rule]:
    """Read `id_sim<-0.01, clip_t<-0.005`.

    Raises UsageError for anything else, and for a margin on the wrong side of zero: `id_sim<0.01` would call
    an improvement of 0.005 a regression.
    """
    rules = []
    for part in text.split(","):
        found = _RULE.fullmatch(part)
        if found is None:
            raise UsageError(
                f"--fail-on: {part.strip()!r} is no rule.",
                hint='Write --fail-on "id_sim<-0.01, leakage>0.02".',
            )
        metric, sign, margin = found[1], found[2], float(found[3])
        if (sign == "<") == (margin > 0) and margin != 0:
            raise UsageError(
                f"--fail-on: {part.strip()!r} would also refuse improvements.",
                hint=f"A margin is a change: negative after <, positive after >: {metric}{sign}{-margin:g}.",
            )
        rules.append(Rule(metric, "<" if sign == "<" else ">", margin))
    return rules


def compare(run: str | Path, baseline: str | Path, rules: Sequence[Rule] = ()) -> Comparison:
    """Paired differences of two run folders, method by method, over the samples both hold.

    Samples are partners when method, set, identity, prompt and seed agree. A metric that the two runs measure
    differently (model, preprocessing, definition) is refused, not subtracted.

    Raises UsageError when a folder is no run, nothing is shared, or a rule names a metric that neither run
    has, or that they measure differently.
    """
    new, old = read_samples(run), read_samples(baseline)
    partners = list(_partners(new, old))
    if not partners:
        raise UsageError(
            f"{new.folder} and {old.folder} share no sample.",
            hint="Compare runs of the same suite with at least one method in common.",
        )
    refused = _refused(new, old)
    metrics = [name for name in new.metrics if name in old.metrics and name not in refused]
    for rule in rules:
        if rule.metric in refused:
            raise UsageError(f"--fail-on {rule}: {refused[rule.metric]}.", hint="Measure both runs alike.")
        if rule.metric not in (*new.metrics, *old.metrics):
            raise unknown_name("metric in --fail-on", rule.metric, metrics)
    names, rows, others = (np.array(part) for part in zip(*partners, strict=True))
    after = new.values[rows][:, [new.metrics.index(name) for name in metrics]]
    before = old.values[others][:, [old.metrics.index(name) for name in metrics]]
    changes: list[Change] = []
    for method in dict.fromkeys(names.tolist()):
        own = names == method
        kind, codes = resampling_units(_keys(new, rows[own]), MIN_UNITS, new.first_people())
        changes += _changes(method, metrics, before[own], after[own], kind, *deal(codes))
    judged = _judged(changes, {**old.cards, **new.cards}, rules)
    return Comparison(
        new.name,
        old.name,
        len(partners),
        len({name for row in rows for name in new.people(row)}),
        len(new) + len(old) - 2 * len(partners),
        refused,
        [str(rule) for rule in rules],
        judged,
        [*_unjudged(judged, old, rules), *_lost(judged, new, old, partners, rules)] if rules else [],
    )


def _unjudged(changes: Sequence[Change], old: Samples, rules: Sequence[Rule]) -> Iterator[str]:
    """Rules without a verdict, for every method that has values in the baseline."""
    known = {(change.method, change.metric): change for change in changes}
    methods = np.array(old.text["method"])
    for rule in rules:
        column = old.values[:, old.metrics.index(rule.metric)] if rule.metric in old.metrics else None
        able = (
            []
            if column is None
            else [one for one in old.methods if np.isfinite(column[methods == one]).any()]
        )
        if not able:
            yield f"{rule}: the baseline has no value of {rule.metric}"
        for method in able:
            change = known.get((method, rule.metric))
            if change is None or change.n == 0:
                yield f"{rule}: {method} has no {rule.metric} to compare"
            elif change.low is None or change.high is None:
                yield f"{rule}: {method} has {change.n} pairs, too few for an interval"


def _lost(
    changes: Sequence[Change],
    new: Samples,
    old: Samples,
    partners: Sequence[tuple[str, int, int]],
    rules: Sequence[Rule],
) -> Iterator[str]:
    """What only the baseline has: methods, people, samples, usable pictures, values of named metrics."""
    if absent := [method for method in old.methods if method not in new.methods]:
        yield f"methods of the baseline are absent: {', '.join(absent)}"
    gone = {str(one) for one in old.text["identity"] if one} - {
        str(one) for one in new.text["identity"] if one
    }
    if gone:
        yield f"{len(gone)} people of the baseline are absent: {', '.join(sorted(gone)[:5])}"
    if missing := len(old) - len(partners):
        yield f"{missing} samples of the baseline are absent"
    unusable: Counter[tuple[str, str]] = Counter()
    for method, row, other in partners:
        status = str(new.text["status"][row])
        if old.text["status"][other] == "ok" and status != "ok":
            unusable[method, status] += 1
    for (method, status), count in unusable.items():
        yield f"{method}: {count} pictures that were ok are {status}"
    for change in changes:
        if change.lost and any(rule.metric == change.metric for rule in rules):
            yield f"{change.method} {change.metric}: {change.lost} values of the baseline are gone"


def _changes(
    method: str,
    metrics: Sequence[str],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    kind: str,
    units: NDArray[np.int64],
    count: int,
) -> Iterator[Change]:
    found = _bootstrap(count).estimate(*unit_sums(units, after - before, count))
    both = np.isfinite(after - before)
    lost = np.isfinite(before) & ~np.isfinite(after)
    for k, metric in enumerate(metrics):
        if np.isfinite(before[:, k]).any() or np.isfinite(after[:, k]).any():
            pairs = both[:, k]
            yield Change(
                method,
                metric,
                before=_number(before[pairs, k].mean()) if pairs.any() else None,
                after=_number(after[pairs, k].mean()) if pairs.any() else None,
                delta=_number(found.value[k]),
                low=_number(found.low[k]),
                high=_number(found.high[k]),
                p=_number(found.p[k]),
                p_holm=None,
                n=int(found.n[k]),
                lost=int(lost[:, k].sum()),
                unit=kind,
                verdict="unknown",
            )


@lru_cache(maxsize=4)
def _bootstrap(units: int) -> Bootstrap:
    """Methods mostly share their number of units, and with it the draws."""
    return Bootstrap(units)


def _judged(
    changes: Sequence[Change], cards: Mapping[str, Mapping[str, Any]], rules: Sequence[Rule]
) -> list[Change]:
    corrected = holm(np.array([np.nan if one.p is None else one.p for one in changes], dtype=np.float64))
    judged = []
    for change, p in zip(changes, corrected, strict=True):
        broken = [str(r) for r in rules if r.metric == change.metric and r.broken_by(change)]
        direction = str(cards.get(change.metric, {}).get("direction", "none"))
        judged.append(
            replace(
                change,
                p_holm=_number(p),
                verdict=_verdict(change, p, direction),
                rule=broken[0] if broken else None,
            )
        )
    return judged


def _verdict(change: Change, p: float, direction: str) -> Verdict:
    if change.delta is None or np.isnan(p):
        return "unknown"
    if change.low == change.high == 0:
        return "same"
    if p >= 1 - LEVEL:
        return "insignificant"
    if direction == "none":
        return "changed"
    return "better" if (change.delta > 0) == (direction == "higher") else "worse"


def _partners(new: Samples, old: Samples) -> Iterator[tuple[str, int, int]]:
    """Method, row of the new run and row of the old one."""
    there = {label: row for row, label in enumerate(_labels(old))}
    for row, label in enumerate(_labels(new)):
        if label in there:
            yield str(label[0]), row, there[label]


def _labels(samples: Samples) -> list[tuple[Any, ...]]:
    columns = (samples.text[name] for name in ("method", "set", "identity", "prompt_id", "prompt"))
    return list(zip(*columns, samples.seed, strict=True))


def _keys(samples: Samples, rows: NDArray[np.int64]) -> list[Key]:
    text = samples.text
    return [
        (
            str(text["set"][row]),
            str(text["identity"][row] or ""),
            str(text["prompt_id"][row]),
            samples.seed[row],
        )
        for row in rows
    ]


def _refused(new: Samples, old: Samples) -> dict[str, str]:
    found = {}
    for name in new.cards.keys() & old.cards.keys():
        different = card_differences(new.cards[name], old.cards[name])
        if different:
            found[name] = f"the runs measure {name} with different {', '.join(different)}"
    return dict(sorted(found.items()))


def _number(value: float) -> float | None:
    return round(float(value), 6) + 0.0 if np.isfinite(value) else None
