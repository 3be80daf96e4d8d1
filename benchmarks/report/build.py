"""`write_report`: runs in, one self-contained HTML file out. Imports no torch."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmarks.aggregate import summarise
from benchmarks.report.data import embed, page_data
from benchmarks.report.licences import describe_methods, models_and_licences
from benchmarks.report.merge import merge
from benchmarks.report.timings import seconds_per_picture
from benchmarks.results import Results, Score
from benchmarks.samples import Samples, arrange, read_samples
from benchmarks.tables import MAIN, arrow, decimals, grouped, is_best, leaderboard, sentence
from methods.errors import UsageError
from methods.files import write_bytes
from methods.provenance import spid_version

MOST_PICTURES = 2_000
_SCRIPTS = ("page", "board", "scatter", "breakdown", "detail", "grid", "failures")


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    baseline: str | None = None,
    most_pictures: int = MOST_PICTURES,
    claims: str | Path | None = None,
) -> Path:
    """Write the report of one or several run folders, finished or not.

    baseline: the method that the leaderboard compares with at first (the reader can choose another); default
    `uniform`, else the plain backbone. most_pictures: samples shown with a picture. claims: folder of a
    ledger that the page takes in.

    Raises UsageError when a folder is no run, has no samples, or `baseline` is none of its methods; and when
    `claims` holds no ledger.
    """
    samples, folders = merge([read_samples(folder) for folder in runs])
    if not len(samples):
        raise UsageError(f"{samples.folder} has no samples yet.", hint="Let spid bench finish a few first.")
    page = render(samples, folders, baseline=baseline, most_pictures=most_pictures, claims=claims)
    output = Path(output)
    write_bytes(output, page.encode())
    return output


def render(
    samples: Samples,
    folders: Sequence[Path],
    *,
    baseline: str | None,
    most_pictures: int = MOST_PICTURES,
    claims: str | Path | None = None,
) -> str:
    """The page as text."""
    from benchmarks.claims.ledger import read_ledger
    from benchmarks.claims.page import STYLE, section

    ledger = None if claims is None else read_ledger(claims)
    results = summarise(samples)
    cells = arrange(samples)
    data = page_data(samples, folders, cells, results, most_pictures=most_pictures)
    data["baseline"] = _baseline(cells.methods, baseline)
    environment = Environment(
        loader=PackageLoader("benchmarks.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sentence"] = sentence
    environment.filters["places"] = _places
    assets = Path(__file__).parent / "assets"
    style = (assets / "report.css").read_text(encoding="utf-8")
    if ledger is not None:
        style += f"\n{STYLE}\n"
    parts = [(assets / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    return environment.get_template("report.html").render(
        **_context(samples, results, sorted(set(folders))),
        baseline=data["baseline"],
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        data=embed(data),
        pictures=len(data["samples"]),
        icon=_ICON,
        claims=None if ledger is None else section(ledger),
    )


def _context(samples: Samples, results: Results, folders: Sequence[Path]) -> dict[str, Any]:
    cards, board = leaderboard(results)
    groups = grouped(cards)
    measured = {card["name"] for card in cards}
    methods = describe_methods(results["run"]["methods"], list(results["statuses"]))
    run = samples.run
    statuses = [status for of in results["statuses"].values() for status in of]
    return {
        "run": results["run"],
        "results": results,
        "groups": groups,
        "main": MAIN,
        "board": board,
        "best": {
            (method, card["name"]): is_best(card, scores.get(card["name"]), results)
            for method, scores in board.items()
            for card in cards
        },
        "spans": {card["name"]: _span(card["name"], board) for card in cards},
        "all_groups": grouped(results["metrics"]),
        "measured": measured,
        "unavailable": _unavailable(samples, measured),
        "methods": methods,
        "left_out": {
            name: why for name, why in run.get("left_out", {}).items() if name not in results["statuses"]
        },
        "models": models_and_licences(results["metrics"], run.get("backbone", {})),
        "seconds": seconds_per_picture(folders[0]) if len(folders) == 1 else {},
        "status_names": list(dict.fromkeys(statuses)),
        "failed": sum(n for of in results["statuses"].values() for name, n in of.items() if name != "ok"),
        "lead": _lead(results),
        "environment": json.dumps(
            {"settings": run.get("settings", {}), "environment": run.get("environment", {})},
            indent=2,
            ensure_ascii=False,
        ),
        "version": spid_version(),
        "arrow": arrow,
        "decimals": decimals,
        "whisker": _whisker,
    }


def _baseline(methods: Sequence[str], wanted: str | None) -> str:
    if wanted is None:
        return next((name for name in ("uniform", "none") if name in methods), methods[0])
    if wanted not in methods:
        raise UsageError(
            f"--baseline {wanted!r} is no method of this run.", hint=f"It has: {', '.join(methods)}."
        )
    return wanted


def _unavailable(samples: Samples, measured: set[str]) -> list[tuple[dict[str, Any], str]]:
    """Metrics without any number, each with the reason."""
    found = []
    for name, card in samples.cards.items():
        if name not in measured:
            of_sets = [scores[name].get("reason") for scores in samples.sets.values() if name in scores]
            reason = card.get("reason") or next(filter(None, of_sets), None)
            found.append((card, str(reason or "it applies to no sample of this run")))
    return found


def _lead(results: Results) -> list[dict[str, Any]]:
    """The best method of the headline questions, for the opening sentence; `behind` names the next one
    where the difference to it is not significant, `copied` says how much of identity is copying."""
    cards = {card["name"]: card for card in results["metrics"]}
    free = results["run"]["without_identity"]
    found = []
    questions = {
        "id_sim": "keeps identity best",
        "id_people": "keeps several people best",
        "clip_t": "follows the text best",
    }
    for metric, says in questions.items():
        rivals = [
            one
            for one in results["scores"]
            if one["metric"] == metric and one["mean"] is not None and one["method"] not in free
        ]
        rivals.sort(key=lambda one: one["mean"] or 0.0, reverse=True)
        if len(rivals) < 2 or metric not in cards:
            continue
        best, second = rivals[:2]
        figures = [best["mean"], best["low"], best["high"]]
        mean, low, high = (None if one is None else _places(one, decimals(cards[metric])) for one in figures)
        found.append(
            {
                "method": best["method"],
                "says": says,
                "text": mean if low is None else f"{mean}, {low} to {high}",
                "behind": None if _significant(results, metric, best, second) else second["method"],
                "copied": _copied(results, best["method"]) if metric == "id_sim" else None,
            }
        )
    return found


def _copied(results: Results, method: str) -> str | None:
    """How near the faces of a method are to the reference, where that was measured: a method that hands the
    reference back is the best of all at keeping identity."""
    cards = {card["name"]: card for card in results["metrics"]}
    for one in results["scores"]:
        if (one["method"], one["metric"]) == (method, "copy_paste") and (mean := one["mean"]) is not None:
            low, high = (mean if end is None else end for end in (one["low"], one["high"]))
            near = "as near to the true picture as to the reference"
            if low > 0:
                near = "nearer to the reference than to the true picture"
            elif high < 0:
                near = "nearer to the true picture than to the reference"
            return f"its faces are {near} (copy-paste {_places(mean, decimals(cards['copy_paste']))})"
    return None


def _significant(results: Results, metric: str, one: Score, other: Score) -> bool:
    """Whether one method differs from another, at 5 % after Holm's correction."""
    return any(
        delta["p_holm"] is not None and delta["p_holm"] < 0.05
        for delta in results["deltas"]
        if (delta["metric"], delta["method"], delta["baseline"]) == (metric, one["method"], other["method"])
    )


def _span(metric: str, board: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
    """Least and greatest end of any method's interval, the scale of the whiskers of a column."""
    ends = [
        end
        for scores in board.values()
        if metric in scores
        for end in (scores[metric]["mean"], scores[metric]["low"], scores[metric]["high"])
        if end is not None
    ]
    return min(ends), max(ends)


def _whisker(score: Mapping[str, Any], span: tuple[float, float]) -> dict[str, float] | None:
    """Positions in [2, 98] of mean and interval on the scale of a column."""
    low, high = span
    if high <= low:
        return None

    def place(value: float) -> float:
        return round(2 + 96 * (value - low) / (high - low), 2)

    ends = (score["mean"] if score[side] is None else score[side] for side in ("low", "high"))
    left, right = map(place, ends)
    return {"mean": place(score["mean"]), "left": left, "right": right}


def _places(value: float, places: int) -> str:
    """A number with a minus sign that is one."""
    return f"{value:.{places}f}".replace("-", "\u2212")


def _csp_hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


_ICON = (
    "data:image/svg+xml;base64,"
    + base64.b64encode(
        b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" '
        b'fill="#0b5cad"/><circle cx="8" cy="6" r="3" fill="#fff"/><path d="M2.5 14a5.5 5 0 0 1 11 0z" '
        b'fill="#fff"/></svg>'
    ).decode()
)
