"""Results as tables: CSV for programs, Markdown for issues, LaTeX for papers. Imports no torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Results, Score
from benchmarks.run_file import Card
from methods.files import write_bytes
from methods.words import csv_cell

COLUMNS = (
    "method", "metric", "title", "direction", "mean", "low", "high", "n", "missing", "cells", "units",
)  # fmt: skip
MAIN = "metric"
_FAMILY = 3
ARROWS = {"higher": "↑", "lower": "↓"}


def write_tables(results: Results, folder: Path) -> None:
    """results.csv, results.md and results.tex into a folder."""
    write_bytes(folder / "results.csv", as_csv(results).encode())
    write_bytes(folder / "results.md", as_markdown(results).encode())
    write_bytes(folder / "results.tex", as_latex(results).encode())


def as_csv(results: Results) -> str:
    """One row per method and metric; an empty field where there is no number. No name becomes a formula."""
    cards = {card["name"]: card for card in results["metrics"]}
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    for score in results["scores"]:
        card = cards[score["metric"]]
        row = {**score, "title": card.get("title", ""), "direction": card.get("direction", "none")}
        table.writerow({name: csv_cell(value) for name, value in row.items()})
    return out.getvalue()


def as_markdown(results: Results) -> str:
    """One table a group of metrics: metrics down, methods across; the best in bold, intervals in brackets."""
    shown, board = leaderboard(results)
    parts = []
    for title, cards in grouped(shown).items():
        lines = [[title, *map(_markdown, board)], ["---", *("---:" for _ in board)]]
        for card in cards:
            cells = [f"{_markdown(card['title'])} {arrow(card)}".strip()]
            for scores in board.values():
                score = scores.get(card["name"])
                text = cell(card, score)
                cells.append(f"**{text}**" if is_best(card, score, results) else text)
            lines.append(cells)
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    notes = [_interval_note(results), *_missing_notes(results)]
    return "\n".join([*parts, "\n\n".join(notes) + "\n"])


def as_latex(results: Results) -> str:
    """A booktabs tabular of the main metrics, methods down; needs \\usepackage{booktabs}."""
    shown, board = leaderboard(results)
    shown = grouped(shown).get(MAIN, [])
    arrows = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "": ""}
    heads = [f"{_latex(card['title'])} {arrows[arrow(card)]}".strip() for card in shown]
    lines = [
        f"% {_latex(_interval_note(results))}",
        f"\\begin{{tabular}}{{l{'r' * len(shown)}}}",
        "\\toprule",
    ]
    lines += [" & ".join(["Method", *heads]) + r" \\", "\\midrule"]
    for method, scores in board.items():
        cells = [_latex(method)]
        for card in shown:
            score = scores.get(card["name"])
            text = _latex(cell(card, score))
            cells.append(f"\\textbf{{{text}}}" if is_best(card, score, results) else text)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def leaderboard(results: Results) -> tuple[list[Card], dict[str, dict[str, Score]]]:
    """The cards of the metrics that have a number, and method -> metric -> score."""
    board: dict[str, dict[str, Score]] = {method: {} for method in results["statuses"]}
    for score in results["scores"]:
        if score["mean"] is not None:
            board[score["method"]][score["metric"]] = score
    measured = {metric for scores in board.values() for metric in scores}
    return [card for card in results["metrics"] if card["name"] in measured], board


def grouped(cards: Sequence[Card]) -> dict[str, list[Card]]:
    """Metrics by what they are for: the main ones, families such as leakage by factor, the rest.

    A family is a metric and at least three whose names continue its name. Metrics without a direction
    describe and do not rank; those of a published protocol stand apart, as its definitions differ from ours.
    """
    names = [card["name"] for card in cards]
    heads = [name for name in names if sum(other.startswith(f"{name}_") for other in names) >= _FAMILY]
    groups: dict[str, list[Card]] = {MAIN: []}
    titles = {card["name"]: card["title"] for card in cards}
    for card in cards:
        head = next((name for name in heads if card["name"].startswith(f"{name}_")), None)
        if card.get("compat"):
            title = f"as {card['compat']} defines it"
        elif head is not None:
            title = f"{titles[head]}, by factor"
        elif card.get("direction") not in ARROWS:
            title = "descriptive"
        else:
            title = MAIN
        groups.setdefault(title, []).append(card)
    return {title: of for title, of in groups.items() if of}


def is_best(card: Mapping[str, Any], score: Score | None, results: Results) -> bool:
    """Whether no method with identities has a better mean; never where neither direction is better.

    The plain backbone competes with nobody: what ignores the person keeps the text best, and proves nothing.
    """
    free = results["run"]["without_identity"]
    rivals = [one for one in results["scores"] if one["metric"] == card["name"] and one["method"] not in free]
    means = [one["mean"] for one in rivals if one["mean"] is not None]
    if score is None or score["method"] in free or len(means) < 2 or card.get("direction") not in ARROWS:
        return False
    return score["mean"] == (max(means) if card["direction"] == "higher" else min(means))


def arrow(card: Mapping[str, Any]) -> str:
    """Which way is better; empty where neither is."""
    return ARROWS.get(str(card.get("direction")), "")


def sentence(text: str) -> str:
    """With a capital at the beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def decimals(card: Mapping[str, Any]) -> int:
    """Three for shares and cosines, two or one where the scale is coarser."""
    low, high = card.get("range") or (None, None)
    span = None if low is None or high is None else high - low
    return 2 if span is None or span > 10 else 3


def cell(card: Mapping[str, Any], score: Score | None) -> str:
    """A mean and its interval, as 0.512 [0.498, 0.527]."""
    if score is None or score["mean"] is None:
        return "n/a"
    places = decimals(card)
    text = f"{score['mean']:.{places}f}"
    if score["low"] is None or score["high"] is None:
        return text
    return f"{text} [{score['low']:.{places}f}, {score['high']:.{places}f}]"


def _interval_note(results: Results) -> str:
    statistics = results["statistics"]
    per_cent = round(100 * statistics["level"])
    if statistics["unit"] == "identity":
        over = f"paired bootstrap over {statistics['units']} identities"
    else:
        over = "bootstrap over samples; too few identities to speak of other people"
    return f"In brackets {per_cent} % intervals ({over})."


def _missing_notes(results: Results) -> list[str]:
    """Means over fewer samples than there are must say so."""
    shares: dict[str, list[str]] = {}
    for score in results["scores"]:
        if score["missing"] and score["n"]:
            share = f"{score['method']} {score['missing']} of {score['missing'] + score['n']}"
            shares.setdefault(score["metric"], []).append(share)
    metrics: dict[str, list[str]] = {}
    for metric, of in shares.items():
        metrics.setdefault(", ".join(of), []).append(metric)
    return [f"Samples without {', '.join(named)}: {of}." for of, named in metrics.items()]


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    names: Sequence[tuple[str, str]] = (
        ("\\", r"\textbackslash "),
        ("~", r"\textasciitilde "),
        ("^", r"\textasciicircum "),
    )
    for plain, name in names:
        text = text.replace(plain, name)
    return re.sub(r"([&%$#_{}])", r"\\\1", " ".join(text.split()))
