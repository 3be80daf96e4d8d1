"""The ledger as text: lines for a terminal, Markdown for people. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]

COLUMNS = ("claim", "verdict", "effect", "95 % interval", "people", "smallest", "what was compared")
"""smallest: the smallest effect that so many people could have shown, see `rules.Estimate.smallest`."""


def rows(ledger: Mapping[str, Any]) -> list[list[str]]:
    """One line per claim, in the order of COLUMNS."""
    return [
        [
            entry["id"],
            entry["verdict"],
            effect(entry),
            interval(entry),
            units(entry),
            smallest(entry),
            compared(entry),
        ]
        for entry in ledger["claims"]
    ]


def effect(entry: Entry) -> str:
    """The estimate with its sign, or as a factor; - without one."""
    result = entry["result"]
    return "-" if result is None else number(result["value"], ratio=entry["effect"]["ratio"])


def interval(entry: Entry) -> str:
    """[low, high]; - without one."""
    result = entry["result"]
    if result is None or result["low"] is None:
        return "-"
    ratio = entry["effect"]["ratio"]
    return f"[{number(result['low'], ratio=ratio)}, {number(result['high'], ratio=ratio)}]"


def units(entry: Entry) -> str:
    """How many people, or rounds, the interval rests on."""
    result = entry["result"]
    return "-" if result is None else str(result["units"])


def smallest(entry: Entry) -> str:
    """The smallest effect that the units could have shown, of either sign, or as a factor; - without one."""
    result = entry["result"]
    if result is None or result["smallest"] is None:
        return "-"
    return number(result["smallest"], ratio=entry["effect"]["ratio"]).removeprefix("+")


def compared(entry: Entry) -> str:
    """metric: treatment against control (on which prompts)."""
    about = entry["effect"]
    where = f" on {', '.join(about['categories'])} prompts" if about["categories"] else ""
    return f"{about['metric'] or 'no metric here'}: {about['treatment']} against {about['control']}{where}"


def number(value: float, *, ratio: bool) -> str:
    """`+0.0123`, or `1.02x` for a factor: small differences keep two significant digits."""
    if ratio:
        return f"{value:.3f}x"
    places = 4 if abs(value) < 1 else 2
    return f"{value:+.{places}f}"


def summary(ledger: Mapping[str, Any]) -> str:
    """`5 replicated, 2 not replicated, ...` without the verdicts that nobody got."""
    return ", ".join(f"{count} {verdict}" for verdict, count in ledger["counts"].items() if count)


def as_markdown(ledger: Mapping[str, Any]) -> str:
    """A table per paper, then what every claim means and how it was measured, then the experiments."""
    parts = [f"# Claims ledger\n\n{summary(ledger)}, on the backbone {_cell(ledger['backbone']['name'])}.\n"]
    parts.append(
        "A verdict follows from the 95 % interval (paired bootstrap over people) by a rule that was written "
        "down with the claim; over fewer people than the claim asks for it is undecided. *Smallest* is the "
        "smallest true effect that so many people show in four measurements of five. What could not be "
        "measured says why.\n"
    )
    for paper, entries in by_paper(ledger).items():
        heads = ["claim", "published", "measured", "95 % interval", "people", "smallest", "replicated if"]
        lines = [[*heads, "verdict"], ["---"] * (len(heads) + 1)]
        for entry in entries:
            lines.append(
                [
                    f"**{_cell(entry['title'])}** (`{entry['id']}`)",
                    _cell(entry["published"] or "-"),
                    effect(entry),
                    interval(entry),
                    units(entry),
                    smallest(entry),
                    _cell(entry["rule"]["text"]),
                    f"**{entry['verdict']}**",
                ]
            )
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        notes = "".join(_note(entry) for entry in entries)
        parts.append(f"## {_cell(paper)} (arXiv {_cell(entries[0]['arxiv'])})\n\n{table}\n{notes}")
    curves = [_means(block) for block in ledger["experiments"] if block["means"]]
    if curves:
        parts.append("## What was measured\n\n" + "\n".join(curves))
    return "\n".join(parts)


def by_paper(ledger: Mapping[str, Any]) -> dict[str, list[Entry]]:
    """Claims by paper, in the ledger's order."""
    found: dict[str, list[Entry]] = {}
    for entry in ledger["claims"]:
        found.setdefault(entry["paper"], []).append(entry)
    return found


def _note(entry: Entry) -> str:
    about = _cell(compared(entry))
    return (
        f"- `{entry['id']}`: {_cell(entry['statement'])} ({_cell(entry['source'])}) "
        f"*Measured as:* {_cell(entry['operationalised'])} {about}. *{entry['verdict']}:* "
        f"{_cell(entry['reason'])}.\n"
    )


def _means(block: Mapping[str, Any]) -> str:
    """Variants down, metrics across."""
    metrics = list(dict.fromkeys(name for found in block["means"].values() for name in found))
    lines = [[block["axis"] or "variant", *metrics], ["---", *("---:" for _ in metrics)]]
    for variant, found in block["means"].items():
        lines.append([_cell(variant), *(mean(found.get(name)) for name in metrics)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    runs = ", ".join(f"`{run}`" for run in block["runs"])
    return f"### {_cell(block['title'])}\n\n{table}\nFrom {runs}.\n"


def mean(found: Mapping[str, Any] | None) -> str:
    """`0.512 [0.480, 0.541]`."""
    if found is None:
        return "-"
    if found["low"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _cell(text: str) -> str:
    """Text that neither ends a cell nor means anything to Markdown or HTML."""
    for character in "\\`*_|[]<>":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
