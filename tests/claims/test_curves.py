"""The curves of the ledger: where the points stand, and that no name is markup."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.claims.curves import curves


def block(axis: str | None = "lambda", **means: float) -> dict[str, Any]:
    found = {
        name.replace("_", "."): {"m": {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 5}}
        for name, value in means.items()
    }
    return {"axis": axis, "variants": [{"name": name} for name in found], "means": found}


def test_points_stand_at_equal_distances_and_higher_means_higher() -> None:
    drawn = curves(block(_0001=0.1, _001=0.5, _05=0.3))
    points = [tuple(map(float, p)) for p in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == x2 - x1 > 0
    assert y1 < y2 < y0 and abs((y0 - y2) - (y2 - y1)) <= 0.1
    assert drawn.count('class="bar"') == 3 and drawn.count("<polyline") == 1
    assert ">0.000</text>" in drawn and ">0.600</text>" in drawn and ">.0001</text>" in drawn


def test_a_point_without_interval_has_no_bar() -> None:
    one = block(a=0.1, b=0.2)
    one["means"]["a"]["m"] |= {"low": None, "high": None}
    assert curves(one).count('class="bar"') == 1


def test_the_plain_backbone_is_no_point() -> None:
    one = block(a=0.1, b=0.2)
    one["means"]["none"] = {"m": {"mean": 0.9, "low": None, "high": None, "n": 5}}
    drawn = curves(one)
    assert drawn.count("<circle") == 2 and ">none</text>" not in drawn


def test_no_curve_without_an_axis_or_with_a_single_point() -> None:
    assert curves(block(None, a=0.1, b=0.2)) == ""
    assert curves(block(a=0.1)) == ""


def test_names_are_escaped_and_styles_stay_in_the_style_sheet() -> None:
    one = block("<i>", a=0.1)
    one["means"]["<script>"] = {"m": {"mean": 0.3, "low": None, "high": None, "n": 1}}
    one["variants"].append({"name": "<script>"})
    drawn = curves(one)
    assert "<script" not in drawn and "<i>" not in drawn and "style=" not in drawn
    assert "&lt;script&gt;" in drawn and "m by &lt;i&gt;" in drawn
