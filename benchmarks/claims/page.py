"""The ledger as HTML: `section` for the report, `page` by itself; every word escaped. Imports no torch."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from benchmarks.claims import curves
from benchmarks.claims.tables import by_paper, compared, effect, interval, mean, smallest, summary, units
from benchmarks.tables import sentence

_WIDTH, _HEIGHT = 220, 22
_MARKS = {
    "replicated": "✓",
    "not replicated": "✗",
    "inconclusive": "?",
    "undecided": "…",
    "not measured": "–",
}

_RULES = """
.claims{font:15px/1.5 system-ui,sans-serif;max-width:88rem}
.claims h3{margin:2rem 0 .5rem}
.claims .heads,.claims .claim>summary{display:grid;gap:.15rem 1.5rem;align-items:start;
grid-template-columns:minmax(11rem,1.3fr) 9rem minmax(13rem,1fr) 14rem minmax(9rem,1fr)}
.claims .heads{color:light-dark(#5f5f5f,#a8a8a8);font-size:.85em;padding-bottom:.3rem}
.claims details{border:0;border-top:1px solid #8884;padding:0;margin:0}
.claims summary{cursor:pointer;padding:.5rem 0;font:inherit;list-style:none;margin:0}
.claims summary::-webkit-details-marker{display:none}
.claims .title{font-weight:600;padding-left:1.1em;text-indent:-1.1em}
.claims .title::before{content:"▸";display:inline-block;width:1.1em;text-indent:0;color:light-dark(#777,#999)}
.claims [open]>summary .title::before{content:"▾"}
.claims dl{margin:.2rem 0 1rem 1.1em;max-width:76ch}
.claims dt{font-weight:600}
.claims dd{margin:0 0 .4rem}
.claims .figure{font-variant-numeric:tabular-nums}
.claims .quiet-text{color:light-dark(#5f5f5f,#a8a8a8);font-size:.9em}
.claims .figure .quiet-text{display:block}
.claims .reason{grid-column:3/5;overflow-wrap:anywhere;overflow:hidden;display:-webkit-box;
-webkit-line-clamp:2;-webkit-box-orient:vertical}
.claims .verdict{font-weight:600;white-space:nowrap}
.claims .replicated{color:light-dark(#0a7d33,#5fd38a)}
.claims .not-replicated{color:light-dark(#b3261e,#ff8a80)}
.claims .undecided,
.claims .inconclusive{color:light-dark(#8a6100,#e6b84c)}
.claims .not-measured{color:light-dark(#5f5f5f,#a8a8a8);font-weight:400}
.claims svg{display:block;overflow:visible}
.claims .axis{stroke:#8888;stroke-width:1}
.claims .limit{stroke:light-dark(#0b5cad,#6db3f2);stroke-width:1.5;stroke-dasharray:3 2}
.claims .bar{stroke:currentColor;stroke-width:3}
.claims .dot{fill:currentColor}
.claims .wide{overflow-x:auto}
.claims table{border-collapse:collapse;margin:.5rem 0 1rem}
.claims th,.claims td{text-align:left;padding:.3rem 1.5rem .3rem 0;white-space:nowrap;
border-bottom:1px solid #8884}
@media(max-width:62rem){
.claims .heads{display:none}
.claims .claim>summary{grid-template-columns:minmax(0,1fr) auto}
.claims .claim>summary>:nth-child(n+3){grid-column:1/-1;margin-left:1.1em}
.claims .figure .quiet-text{display:inline}
.claims .published:not(:empty)::before{content:"published: "}
}
""".strip()

STYLE = f"{_RULES}\n{curves.STYLE}"
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
    """`<section id="claims" class="claims">`: a list per paper, each claim's details behind its line.

    Plain markup without scripts and without style attributes, so that it fits any content security policy.
    """
    parts = [
        "<h2>Claims ledger</h2>",
        f"<p>{_text(summary(ledger))}, on the backbone {_text(ledger['backbone']['name'])}. A verdict "
        "follows from the 95&nbsp;% interval (paired bootstrap over people) by a rule that was written down "
        "with the claim; over fewer people than the claim asks for it is undecided. Dashed lines are what "
        "the rule compares with; <em>shows</em> is the smallest true effect that so many people show in four "
        "measurements of five. Open a line for what the paper says and how it was measured.</p>",
    ]
    heads = "".join(f"<span>{head}</span>" for head in ("Claim", "Verdict", "Measured", "", "Published"))
    for paper, entries in by_paper(ledger).items():
        parts.append(
            f"<h3>{_text(paper)} (arXiv&nbsp;{_text(entries[0]['arxiv'])})</h3>"
            f'<div class="heads" aria-hidden="true">{heads}</div>{"".join(map(_line, entries))}'
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
        measured = f'<span class="reason quiet-text">{_text(entry["reason"])}</span>'
    else:
        noun = {"identity": "people", "round": "rounds"}.get(entry["result"]["unit"], "units")
        shows = f"{_text(units(entry))} {noun}, shows {_figure(smallest(entry))}"
        measured = (
            f'<span class="figure">{_figure(effect(entry))} {_figure(interval(entry))} '
            f'<span class="quiet-text">{shows}</span></span>'
            f'<span class="{kind}">{drawn(entry)}</span>'
        )
    return (
        f'<details class="claim"><summary><span class="title">{_text(sentence(entry["title"]))}</span>'
        f'<span class="verdict {kind}">{_MARKS[verdict]} {_text(verdict)}</span>{measured}'
        f'<span class="published quiet-text">{_text(entry["published"])}</span></summary>'
        f"<dl>{details}</dl></details>"
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
    return (  # hidden from readers of text: the figures stand beside it
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f"{''.join(lines)}</svg>"
    )


def _block(block: Mapping[str, Any]) -> str:
    """Means of all variants of an experiment, above them the curves where the variants are an axis."""
    metrics = list(dict.fromkeys(name for found in block["means"].values() for name in found))
    heads = "".join(f"<th>{_text(name)}</th>" for name in [block["axis"] or "variant", *metrics])
    lines = "".join(
        f"<tr><td>{_text(variant)}</td>"
        + "".join(f'<td class="figure">{_figure(mean(found.get(name)))}</td>' for name in metrics)
        + "</tr>"
        for variant, found in block["means"].items()
    )
    left_out = [
        f"{one['name']} ({one['unreachable']})" for one in block["variants"] if one["unreachable"] is not None
    ]
    note = f"<p>Left out: {_text('; '.join(left_out))}</p>" if left_out else ""
    return (
        f'<details><summary><span class="title">{_text(block["title"])}</span></summary>'
        f"{curves.curves(block)}"
        f'<div class="wide" tabindex="0" role="region" aria-label="{_text(block["title"])}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>{note}</details>"
    )


def _figure(text: str) -> str:
    """A figure with minus signs that are some."""
    return _text(text).replace("-", "\u2212")


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
