"""What people read: nothing un-escaped, nothing left out, the rule's limits in the drawing."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from report.synthetic_run import Plan, write_run

from benchmarks.claims.ledger import entry_of
from benchmarks.claims.page import drawn, limits, page, section
from benchmarks.claims.read import read_claims
from benchmarks.claims.tables import as_markdown, rows
from benchmarks.report import write_report
from methods.files import save_json

RESULT = {
    "value": -0.02, "low": -0.03, "high": -0.01, "p": 0.01, "p_holm": 0.02, "pairs": 5, "lost": 0,
    "units": 5, "unit": "identity", "before": 0.1, "after": 0.08, "smallest": 0.0133,
}  # fmt: skip


@pytest.fixture
def ledger(claims_folder: Path) -> dict[str, Any]:
    claims = [entry_of(claim, "sd1") for claim in read_claims(claims_folder).claims]
    claims[0] |= {"verdict": "replicated", "reason": "so", "result": RESULT, "runs": ["runs/mine-1"]}
    block = {
        "name": "mine", "title": "<img src=x>", "kind": "suite", "axis": "lambda", "suite": "s", "sets": [],
        "on_request": False, "variants": [{"name": "b", "method": "b", "unreachable": "no <i>weights</i>"}],
        "cost": {}, "runs": ["runs/mine-1"], "statuses": {},
        "means": {"a|b": {"m": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 9}}, "c": {}},
    }  # fmt: skip
    counts = {
        "replicated": 1,
        "not replicated": 0,
        "inconclusive": 0,
        "undecided": 0,
        "not measured": len(claims) - 1,
    }
    return {"backbone": {"name": "<b>"}, "counts": counts, "claims": claims, "experiments": [block]}


def test_no_data_is_markup(ledger: dict[str, Any]) -> None:
    made = page(ledger)
    for broken in ("<script", "<b>", "<i>", "<img", "style="):
        assert broken not in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in made
    assert section(ledger).startswith('<section id="claims" class="claims">')
    assert section(ledger) in made


def test_every_claim_and_every_reason_is_shown(ledger: dict[str, Any]) -> None:
    made, text = section(ledger), as_markdown(ledger)
    for entry in ledger["claims"]:
        assert entry["id"] in made and f"`{entry['id']}`" in text
        assert entry["rule"]["text"] in made
    assert "1 replicated, 5 not measured" in made and "1 replicated, 5 not measured" in text
    assert "0.500 [0.400, 0.600]" in made and "0.500 [0.400, 0.600]" in text
    assert [row[0] for row in rows(ledger)] == [entry["id"] for entry in ledger["claims"]]
    assert rows(ledger)[0][1:6] == ["replicated", "-0.0200", "[-0.0300, -0.0100]", "5", "0.0133"]
    assert "| 5 | 0.0133 |" in text and "5 people, shows 0.0133" in made


def test_markdown_tables_stay_tables(ledger: dict[str, Any]) -> None:
    for line in as_markdown(ledger).splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (9, 3)
    assert "\\<script\\>" in as_markdown(ledger)


def test_the_drawing_holds_interval_and_limits(ledger: dict[str, Any]) -> None:
    entry = ledger["claims"][0]
    assert limits(entry) == [-0.0001, 0.0001]
    picture = drawn(entry)
    assert picture.count('class="limit"') == 2 and picture.count('class="bar"') == 1
    places = [float(place) for place in re.findall(r'c?x1?="([\d.]+)"', picture)]
    assert min(places) == 6 and max(places) == 214
    assert drawn(ledger["claims"][1]) == ""
    assert limits(ledger["claims"][1]) == [0.0, -0.0000001]
    assert limits(ledger["claims"][-1]) == [10]


def test_a_report_takes_the_ledger_in(ledger: dict[str, Any], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Plan(people=2, pictures=False))
    save_json(tmp_path / "claims" / "ledger.json", {"schema": 1, **ledger})
    with_claims = write_report([run], tmp_path / "with.html", claims=tmp_path / "claims").read_text()
    without = write_report([run], tmp_path / "without.html").read_text()
    assert section(ledger) in with_claims and 'href="#claims"' in with_claims
    assert "claims" not in without.split("<main>")[1].split("</main>")[0]
    style = re.search(r"<style>(.*?)</style>", with_claims, flags=re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in with_claims  # the ledger's rules are allowed too
