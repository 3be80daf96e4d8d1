"""Curves of an experiment whose variants are points of an axis: one small drawing per metric, as SVG."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

_WIDTH, _HEIGHT = 300, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 22

STYLE = """
.claims .curves{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;margin:.8rem 0}
.claims .curves figure{margin:0}
.claims .curves figcaption{font-weight:600;font-size:.9em;padding-bottom:.2rem}
.claims .curves text{font-size:11px;fill:light-dark(#5f5f5f,#a8a8a8)}
.claims .curves .line{fill:none;stroke:light-dark(#0b5cad,#6db3f2);stroke-width:1.5}
.claims .curves .bar{stroke:light-dark(#0b5cad,#6db3f2);stroke-width:1.5}
.claims .curves .dot{fill:light-dark(#0b5cad,#6db3f2)}
""".strip()


def curves(block: Mapping[str, Any]) -> str:
    """A drawing for each metric that two points of the axis have: means, 95 % intervals, the line between.

    block: an experiment of the ledger, see `ledger.SCHEMA`; "" where its variants are no axis
    Points stand at equal distances in the order of variants, whatever their values on the axis.
    """
    if block["axis"] is None:
        return ""
    names = [one["name"] for one in block["variants"] if one["name"] in block["means"]]  # "none" is no point
    metrics = dict.fromkeys(metric for name in names for metric in block["means"][name])
    drawings = [
        _curve(metric, block["axis"], [(i, name, found[metric]) for i, name, found in points])
        for metric in metrics
        if len(points := [(i, n, f) for i, n in enumerate(names) if metric in (f := block["means"][n])]) > 1
    ]
    return f'<div class="curves">{"".join(drawings)}</div>' if drawings else ""


def _curve(metric: str, axis: str, points: list[tuple[int, str, Mapping[str, Any]]]) -> str:
    shown = [end for _, _, found in points for end in _ends(found)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    last = max(place for place, _, _ in points) or 1

    def x(place: int) -> str:
        return f"{_LEFT + 8 + (_WIDTH - _LEFT - _RIGHT - 16) * place / last:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / span:.1f}"

    floor = _HEIGHT - _BOTTOM + 4
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>']
    for value in (low, high):
        parts.append(
            f'<text x="{_LEFT - 6}" y="{float(y(value)) + 4:.1f}" text-anchor="end">{value:.3f}</text>'
        )
    joined = " ".join(f"{x(place)},{y(found['mean'])}" for place, _, found in points)
    parts.append(f'<polyline class="line" points="{joined}"/>')
    for place, name, found in points:
        ends = _ends(found)
        if len(ends) > 1:
            bar = f'y1="{y(ends[1])}" y2="{y(ends[2])}"'
            parts.append(f'<line class="bar" x1="{x(place)}" x2="{x(place)}" {bar}/>')
        parts.append(f'<circle class="dot" cx="{x(place)}" cy="{y(found["mean"])}" r="3"/>')
        parts.append(
            f'<text x="{x(place)}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(name)}</text>'
        )
    return (  # hidden from readers of text: the table below holds the figures
        f"<figure><figcaption>{html.escape(metric)} by {html.escape(axis)}</figcaption>"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true">'
        f"{''.join(parts)}</svg></figure>"
    )


def _ends(found: Mapping[str, Any]) -> list[float]:
    """The mean, and the interval's ends where there is one."""
    if found["low"] is None:
        return [found["mean"]]
    return [found["mean"], found["low"], found["high"]]
