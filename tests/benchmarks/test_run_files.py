"""The files of a run are held to their types, which their JSON schemas are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.request import Request
from benchmarks.results import Results
from benchmarks.run_file import read_run, read_sets
from benchmarks.samples import read_samples
from benchmarks.schema import Row
from methods.config import build
from methods.errors import UsageError
from scripts.schemas import FOLDER, KINDS, text_of

RESULTS = Path(__file__).resolve().parents[2] / "results"
GOOD = Row("a" * 64, "none", None, "p", "a <script> \u2028 person", "", "s", 0, metrics={"x": 0.5})


@pytest.mark.parametrize("name", KINDS)
def test_the_committed_schemas_are_current(name: str) -> None:
    file = FOLDER / f"{name}.schema.json"
    assert file.read_text() == text_of(KINDS[name]), "python -m scripts.schemas writes it anew"


@pytest.mark.parametrize("run", ["smoke", "ibench"])
def test_committed_results_are_read(run: str) -> None:
    assert read_run(RESULTS / run)["methods"] and read_sets(RESULTS / run)
    found = build(Results, json.loads((RESULTS / run / "results.json").read_text()), where=run)
    assert found["scores"] and found["deltas"]
    if run == "smoke":
        samples = read_samples(RESULTS / run)
        assert len(samples) == found["run"]["samples"]


def test_a_row_survives_its_line() -> None:
    assert Row.from_line(GOOD.to_line(), checked=True) == GOOD
    named = Row(**{**GOOD.as_dict(), "identity": "b\udcff.png", "prompt": "gr\u00fcn"})
    assert named.identity == "b\\udcff.png" and Row.from_line(named.to_line()) == named


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("status", "splendid", "status 'splendid'"),
        ("seed", -5, "at least 0"),
        ("seed", 0.5, "whole number"),
        ("seed", 10**30, "at most|whole number"),
        ("size", -1, "at least 0"),
        ("metrics", {"x": "0.9"}, "a number"),
        ("metrics", [], "a mapping"),
        ("picture", "../../.ssh/id_rsa", "picture"),
        ("picture", "/etc/passwd", "picture"),
        ("picture", ".hidden/a.png", "picture"),
        ("sha256", "0", "sha256"),
        ("prompt", None, "text"),
        ("stutus", "ok", "Unknown option.*'stutus'"),
    ],
)
def test_what_no_row_may_hold(entry: str, value: Any, said: str) -> None:
    line = json.dumps({**GOOD.as_dict(), entry: value}).encode()
    with pytest.raises(ValueError, match=said):
        Row.from_line(line)
    for broken in (b"", b"[]", b"null", b"{", b"[" * 3000, line + b"x", b"\xff"):
        with pytest.raises(ValueError, match="."):
            Row.from_line(broken)


def test_numbers_of_a_row_are_finite() -> None:
    with pytest.raises(ValueError, match="finite number"):
        Row.from_line(json.dumps({**GOOD.as_dict(), "metrics": {"x": float("nan")}}).encode())
    with pytest.raises(UsageError, match="finite number"):
        Row(**{**GOOD.as_dict(), "metrics": {"x": float("inf")}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "a list, not an object"),
        ('{"schema": 1, "schema": 1}', "given twice"),
        ("{}", "its schema is None"),
        ('{"schema": 1, "suit": {}}', "Unknown option.*'suit'.*Did you mean 'suite'"),
        ('{"schema": 1, "methods": {}}', "methods is .* a list"),
        ('{"schema": 1, "methods": [{}]}', r"methods\[0\].name is missing"),
        ('{"schema": 1, "settings": {"steps": 1e9}}', "settings.steps"),
        ('{"schema": 1, "settings": {"guidance": -1}}', "settings.guidance"),
        ('{"schema": 1, "metrics": [{"name": "x", "direction": "up"}]}', "direction 'up'"),
    ],
)
def test_what_no_run_file_may_hold(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=said) as found:
        read_run(tmp_path)
    assert str(tmp_path / "run.json") in found.value.message


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"steps": 10**9},
        {"guidance": float("inf")},
        {"size": (7, 7)},
        {"size": (8, 10**6)},
        {"seeds": (-1,)},
        {"limit": 0},
        {"batch_size": 10**9},
        {"methods": "none"},
        {"models": {"clip": 3}},
    ],
)
def test_what_no_request_may_ask(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        Request("smoke", **change)
    with pytest.raises(UsageError, match=next(iter(change))):
        Request.from_dict({"suite": "smoke", **change}, where="request.json")


def test_schemas_say_what_a_file_writes() -> None:
    """Variants are a mapping by name in a file of claims; an unknown entry of a suite is refused."""
    claims = json.loads((FOLDER / "claims.schema.json").read_text())
    variants = claims["$defs"]["Experiment"]["properties"]["variants"]
    assert (
        variants["type"] == "object"
        and "name" not in variants["additionalProperties"]["anyOf"][1]["required"]
    )
    assert "paper" not in claims["$defs"]["Statement"]["properties"]
    suite = json.loads((FOLDER / "suite.schema.json").read_text())
    assert suite["additionalProperties"] is False and {"name", "description"} <= set(suite["required"])
