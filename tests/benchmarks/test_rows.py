"""Every planned sample has its row, whoever shares its picture; and who is named by nobody has a status."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import contents, pictures, rows
from tiny import tiny_backbone

from benchmarks.compare import compare
from benchmarks.request import Request
from benchmarks.runner import bench
from benchmarks.schema import failed
from benchmarks.suites.nouns import PERSON_NOUNS, name_person
from methods.errors import UsageError
from methods.textual_inversion.method import TextualInversion

TWINS = """
name: twins
description: For tests.
steps: 1
size: [64, 64]
identities:
  two: [{pocket: 10000300, name: one}, {pocket: 10000300, name: other}]
prompts:
  first: [{id: a, text: "a photo of a {person}"}, {id: b, text: "a photo of a {person}"}]
  second: [{id: a, text: "a photo of a {person}"}]
"""

NAMED = """
name: named
description: For tests.
steps: 1
size: [64, 64]
identities: {one: [{pocket: 10000300}]}
prompts:
  some:
    - {id: person, text: "a photo of a {person}"}
    - {id: noun, text: "a solitary man in a dark coat"}
    - {id: own, text: "a coach beside a man", person: coach}
    - {id: nobody, text: "the red beach"}
    - {id: denied, text: "the statue of a man", person: none}
    - {id: unread, text: "%s, a man"}
""" % ("a red garden and a blue beach " * 10)


def test_twins_have_their_rows_and_share_their_pictures(tmp_path: Path, ask: Callable[..., Request]) -> None:
    suite = tmp_path / "twins.yaml"
    suite.write_text(TWINS)
    methods = ("none", "uniform[id_weight=0.5]", "uniform[id_weight=0.50]")
    request = ask(suite=str(suite), methods=methods)
    outcome = bench(request, tmp_path / "run")
    found = rows(tmp_path / "run")
    per_method = Counter(row["method"] for row in found)
    assert per_method == {"none": 3, methods[1]: 6, methods[2]: 6}
    assert len({row["id"] for row in found}) == len(found) == 15
    assert len(pictures(tmp_path / "run")) == 2 == len({row["sha256"] for row in found})
    cells = {(row["method"], row["set"], row["identity"], row["prompt_id"]) for row in found}
    assert len(cells) == 15
    assert outcome.pairs == {"listed": 6, "planned": 6, "pictures": 2}
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["pairs"] == outcome.pairs
    by_id = {row["id"]: row for row in found}
    assert all(by_id[row["baseline"]]["set"] == row["set"] for row in found if row["baseline"])

    whole = contents(tmp_path / "run")
    pictures(tmp_path / "run")[0].unlink()
    (tmp_path / "run" / "pictures" / ".DS_Store").write_bytes(b"what a file manager leaves")
    bench(request, tmp_path / "run")
    (tmp_path / "run" / "pictures" / ".DS_Store").unlink()
    assert contents(tmp_path / "run") == whole
    assert compare(tmp_path / "run", tmp_path / "run").unpaired == 0


def test_a_method_that_has_no_place_for_its_word_never_shows_the_plain_picture(
    tmp_path: Path, ask: Callable[..., Request]
) -> None:
    suite = tmp_path / "named.yaml"
    suite.write_text(NAMED)
    TextualInversion.untrained(tiny_backbone("sd1")).save(tmp_path / "words")
    request = ask(
        suite=str(suite),
        methods=("none", "uniform", "textual-inversion"),
        adapters={**ask().adapters, "textual-inversion": str(tmp_path / "words")},
    )
    outcome = bench(request, tmp_path / "run")
    found = {(row["method"], row["prompt_id"]): row for row in rows(tmp_path / "run")}
    learned = {prompt: row for (method, prompt), row in found.items() if method == "textual-inversion"}
    plain = {row["sha256"] for (method, _), row in found.items() if method == "none"}
    assert len(learned) == 6 and len(found) == 18
    for prompt in ("person", "noun", "own"):
        assert learned[prompt]["picture"] is not None and learned[prompt]["sha256"] not in plain
    for prompt, why in (("nobody", "no place"), ("denied", "no place"), ("unread", "no longer reads")):
        row = learned[prompt]
        assert row["status"] == "nobody_named" and row["picture"] is None and not failed(row)
        assert set(row["metrics"].values()) == {None} and why in row["detail"] and len(row["detail"]) < 200
        assert found["uniform", prompt]["status"] != "nobody_named"
    assert outcome.counts["nobody_named"] == 3
    assert (outcome.pairs["planned"], outcome.pairs["pictures"], outcome.made) == (6, 18, 15)
    assert found["none", "noun"]["prompt"] == "a solitary man in a dark coat"
    assert found["none", "own"]["prompt"] == "a coach beside a man"


@pytest.mark.parametrize(
    ("prompt", "template", "noun"),
    [
        ("a solitary man in a dark coat", "a solitary {person} in a dark coat", "man"),
        ("Woman reading", "{person} reading", "Woman"),
        ("a man's coat", "a man's coat", ""),
        ("a young woman driver at night", "a young woman {person} at night", "driver"),
        ("an Asian male drummer on stage", "an Asian male {person} on stage", "drummer"),
        ("a male juggler, a woman", "a male juggler, a {person}", "woman"),
        ("a seasoned female in blue", "a seasoned {person} in blue", "female"),
        ("female standing, night", "{person} standing, night", "female"),
        ("a young adult Dutch individual", "a young adult Dutch {person}", "individual"),
        ("an ice hockey player gliding", "an ice hockey {person} gliding", "player"),
        ("a Thrill-seeker leaps", "a {person} leaps", "Thrill-seeker"),
        ("close-up of a woman's tired face", "close-up of a {person}'s tired face", "woman"),
        ("a woman's face, a man", "a woman's face, a {person}", "man"),
        ("two men", "two men", ""),
        ("a mangrove, a womanly shape", "a mangrove, a womanly shape", ""),
        ("a {person} and a man", "a {person} and a man", ""),
    ],
)
def test_the_noun_that_is_the_person_is_found(prompt: str, template: str, noun: str) -> None:
    assert name_person(prompt) == (template, noun)
    assert not noun or noun.lower() in PERSON_NOUNS


def test_a_noun_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="does not say"):
        name_person("a man", "coach")


def test_an_edited_row_is_not_believed(tmp_path: Path, ask: Callable[..., Request]) -> None:
    bench(ask(), tmp_path / "run")
    whole = contents(tmp_path / "run")
    journal = tmp_path / "run" / "samples.jsonl"
    for old, new in (('"seed": 0', '"seed": -5'), ('"status": "ok"', '"status": "splendid"'), ("a", "b")):
        text = journal.read_text()
        journal.write_text(text.replace(old, new, 1))
        assert journal.read_text() != text
        bench(ask(), tmp_path / "run")
        assert contents(tmp_path / "run") == whole


def test_a_prompt_that_is_cut_is_counted(tmp_path: Path, ask: Callable[..., Request]) -> None:
    suite = tmp_path / "long.yaml"
    words = "red blue green " * 30
    suite.write_text(
        NAMED.split("prompts:")[0] + f"prompts: {{some: ['a photo of a {{person}} {words}lastly']}}\n"
    )
    outcome = bench(ask(suite=str(suite)), tmp_path / "run")
    assert outcome.cut == len(rows(tmp_path / "run")) == 2
    assert all("lastly" in row["detail"] for row in rows(tmp_path / "run"))
