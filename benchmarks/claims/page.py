"""The ledger as HTML: `section` for the report, `page` by itself; every word escaped. Imports no torch."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from benchmarks.claims.tables import by_paper, compared, effect, interval, mean, summary, units

_WIDTH, _HEIGHT = 220, 26
_MARKS = {"replicated": "✓", "not replicated": "✗", "inconclusive": "?", "not measured": "–"}

STYLE = """
.claims{font:15px/1.5 system-ui,sans-serif;max-width:78rem}
.claims table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
.claims th,.claims td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
.claims td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.claims .verdict{font-weight:600;white-space:nowrap}
.claims .replicated{color:light-dark(#0a7d33,#5fd38a)}
.claims .not-replicated{color:light-dark(#b3261e,#ff8a80)}
.claims .inconclusive{color:light-dark(#8a6100,#e6b84c)}
.claims .not-measured{color:light-dark(#5f5f5f,#a8a8a8);font-weight:400}
.claims svg{display:block;overflow:visible}
.claims .axis{stroke:#8888;stroke-width:1}
.claims .limit{stroke:light-dark(#0b5cad,#6db3f2);stroke-width:1.5;stroke-dasharray:3 2}
.claims .bar{stroke:currentColor;stroke-width:3}
.claims .dot{fill:currentColor}
.claims details{margin:.15rem 0}
.claims summary{cursor:pointer}
.claims dt{font-weight:600}
.claims dd{margin:0 0 .4rem}
""".strip()
"""Rules of the section, all under `.claims`; a report adds them to its own style sheet."""


def page(ledger: Mapping[str, Any]) -> str:
    """The ledger as one file that needs nothing else."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        "<title>Claims ledger</title>"
        f"<style>:root{{color-scheme:light dark}}\nbody{{margin:1.5rem}}\n{STYLE}</style></head>\n"
        f"<body>{section(ledger)}</body></html>\n"
    )


def section(ledger: Mapping[str, Any]) -> str:
    """`<section id="claims" class="claims">`: a table per paper, each claim's details behind its title.

    Plain markup without scripts and without style attributes, so that it fits any content security policy.
    """
    parts = [
        "<h2>Claims ledger</h2>",
        f"<p>{_text(summary(ledger))}, on the backbone {_text(ledger['backbone']['name'])}. A verdict "
        "follows from the 95&nbsp;% interval (paired bootstrap over people) by a rule that was written down "
        "with the claim; dashed lines are what the rule compares with.</p>",
    ]
    for paper, entries in by_paper(ledger).items():
        lines = "".join(map(_line, entries))
        parts.append(
            f"<h3>{_text(paper)} (arXiv&nbsp;{_text(entries[0]['arxiv'])})</h3><table><thead><tr>"
            "<th>Claim</th><th>Published</th><th>Measured</th><th>95&nbsp;% interval</th>"
            "<th>Drawn</th><th>Units</th><th>Verdict</th>"
            f"</tr></thead><tbody>{lines}</tbody></table>"
        )
    blocks = "".join(_block(block) for block in ledger["experiments"] if block["means"])
    if blocks:
        parts.append(f"<h3>What was measured</h3>{blocks}")
    return f'<section id="claims" class="claims">{"".join(parts)}</section>'


def _line(entry: Mapping[str, Any]) -> str:
    verdict = entry["verdict"]
    kind = verdict.replace(" ", "-")
    facts = {
        "The paper": f"{entry['statement']} ({entry['source']})",
        "Measured as": entry["operationalised"],
        "Compared": compared(entry),
        "Replicated if": entry["rule"]["text"],
        "Verdict": f"{verdict}: {entry['reason']}",
        "Definition": f"{entry['id']}, {entry['definition']}",
    }
    details = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    if entry["result"] is None:
        measured = f'<td colspan="4">{_text(entry["reason"])}</td>'
    else:
        measured = (
            f'<td class="n">{_text(effect(entry))}</td><td class="n">{_text(interval(entry))}</td>'
            f'<td class="{kind}">{drawn(entry)}</td><td class="n">{_text(units(entry))}</td>'
        )
    return (
        f"<tr><td><details><summary>{_text(entry['title'])}</summary><dl>{details}</dl></details></td>"
        f"<td>{_text(entry['published'] or '–')}</td>{measured}"
        f'<td class="verdict {kind}">{_MARKS[verdict]} {_text(verdict)}</td></tr>'
    )


def limits(entry: Mapping[str, Any]) -> list[float]:
    """The values that a claim's rule compares the interval with."""
    rule = entry["rule"]
    if rule["bound"] is not None:
        return [rule["bound"]]
    sign = -1.0 if rule["expect"] == "lower" else 1.0
    if rule["kind"] == "superior":
        return [0.0, sign * rule["least"]] if rule["least"] else [0.0]
    if rule["kind"] == "not_worse":
        return [-sign * rule["margin"]]
    return [-rule["margin"], rule["margin"]]


def drawn(entry: Mapping[str, Any]) -> str:
    """The interval as a small drawing: a bar with the estimate on it, dashed lines at the rule's limits."""
    result = entry["result"]
    if result is None:
        return ""
    ends = [value for value in (result["low"], result["high"]) if value is not None]
    zero = 1.0 if entry["effect"]["ratio"] else 0.0
    marks = limits(entry)
    shown = [*ends, result["value"], *marks, zero]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0

    def x(value: float) -> str:
        return f"{6 + (_WIDTH - 12) * (value - low) / span:.1f}"

    middle = _HEIGHT / 2
    lines = [f'<line class="axis" x1="{x(zero)}" x2="{x(zero)}" y1="2" y2="{_HEIGHT - 2}"/>']
    lines += [
        f'<line class="limit" x1="{x(mark)}" x2="{x(mark)}" y1="2" y2="{_HEIGHT - 2}"/>' for mark in marks
    ]
    if len(ends) == 2:
        lines.append(f'<line class="bar" x1="{x(ends[0])}" x2="{x(ends[1])}" y1="{middle}" y2="{middle}"/>')
    lines.append(f'<circle class="dot" cx="{x(result["value"])}" cy="{middle}" r="4.5"/>')
    label = f"{effect(entry)}, interval {interval(entry)}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_text(label)}">{"".join(lines)}</svg>'
    )


def _block(block: Mapping[str, Any]) -> str:
    """Means of all variants of an experiment: a curve's points, one under the other."""
    metrics = list(dict.fromkeys(name for found in block["means"].values() for name in found))
    heads = "".join(f"<th>{_text(name)}</th>" for name in [block["axis"] or "variant", *metrics])
    lines = "".join(
        f"<tr><td>{_text(variant)}</td>"
        + "".join(f'<td class="n">{_text(mean(found.get(name)))}</td>' for name in metrics)
        + "</tr>"
        for variant, found in block["means"].items()
    )
    left_out = [
        f"{one['name']} ({one['unreachable']})" for one in block["variants"] if one["unreachable"] is not None
    ]
    note = f"<p>Left out: {_text('; '.join(left_out))}</p>" if left_out else ""
    return (
        f"<details><summary>{_text(block['title'])}</summary><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{lines}</tbody></table>{note}</details>"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
