"""The claims that come with the project: complete, measurable, and strict about their own form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.claims.measures import METRICS
from benchmarks.claims.read import choose, read_claims
from benchmarks.claims.study import cost
from benchmarks.claims.types import Claim
from benchmarks.metrics.catalogue import metrics
from benchmarks.request import parse_method
from benchmarks.suites import load_suite
from methods.errors import UsageError
from methods.registry import get_method, method_info
from methods.settings import configure

CATALOGUE = read_claims()

PROMISED = {  # what the papers are known for, each with the claims that test it
    "spatialid": {"text", "scene", "quality", "background", "identity", "overhead", "early-phase",
                  "mid-phase", "late-phase", "preset-a", "preset-f-identity"},
    "facewise": {"attention", "attention-loss", "loss-text", "split-identity", "split-text", "lambda-small",
                 "lambda-large", "pairs-one", "pairs-ten"},
    "id-ea": {"identity", "time", "time-per-step"},
    "infinite-id": {"training-identity", "mixed-text", "mutual-identity", "adain-style"},
    "pidiff": {"background", "leak", "coarse-to-fine", "diversity"},
}  # fmt: skip


@pytest.mark.parametrize("paper", sorted(PROMISED))
def test_what_every_paper_is_known_for_is_there(paper: str) -> None:
    assert {f"{paper}/{name}" for name in PROMISED[paper]} <= {claim.id for claim in CATALOGUE.claims}


@pytest.mark.parametrize("claim", CATALOGUE.claims, ids=lambda claim: claim.id)
def test_claims_measure_what_exists(claim: object) -> None:
    experiment = CATALOGUE.experiments[claim.experiment]  # type: ignore[attr-defined]
    known = {*metrics("pocket")} if experiment.kind == "suite" else {METRICS[experiment.kind]}
    assert {*claim.effect.metric.values()} <= known  # type: ignore[attr-defined]
    suite = load_suite(experiment.suite, sets=experiment.sets)
    present = {prompt.category for one in suite.sets for prompt in one.prompts}
    assert {*claim.effect.categories} <= present  # type: ignore[attr-defined]


@pytest.mark.parametrize("experiment", CATALOGUE.experiments.values(), ids=lambda one: one.name)
def test_experiments_ask_for_options_that_exist(experiment: object) -> None:
    for variant in experiment.variants:  # type: ignore[attr-defined]
        spec = parse_method(variant.method)
        configure(get_method(spec.name), spec.options, where=variant.method)
        if method_info(spec.name).kind == "fit":  # a paper's claim is about its own settings
            assert spec.options["settings"] == "published"
    assert {*experiment.metrics} <= {*metrics("pocket")}  # type: ignore[attr-defined]


def test_what_takes_hours_says_so() -> None:
    for experiment in CATALOGUE.experiments.values():
        suite = load_suite(experiment.suite, sets=experiment.sets)
        found = cost(experiment, experiment.variants, suite, None)
        assert experiment.on_request == (found["steps"] > 5_000), experiment.name
    curve = CATALOGUE.experiments["facewise-pairs"]
    suite = load_suite(curve.suite, sets=curve.sets)
    assert cost(curve, curve.variants, suite, None) == {"pictures": 320, "fits": 40, "steps": 24_000}
    assert cost(curve, curve.variants, suite, 4)["pictures"] == 20


@pytest.mark.parametrize("claim", CATALOGUE.claims, ids=lambda claim: claim.id)
def test_every_claim_has_its_people(claim: Claim) -> None:
    experiment = CATALOGUE.experiments[claim.experiment]
    assert claim.people == (8 if experiment.axis else 16)
    if experiment.kind in ("seconds", "fit_seconds"):
        assert experiment.repeats >= claim.people
    suite = load_suite(experiment.suite, sets=experiment.sets)
    about = claim.effect.categories
    people = {
        identity.name
        for one in suite.sets
        if not about or any(prompt.category in about for prompt in one.prompts)
        for identity in one.identities
    }
    assert len(people) >= claim.people


def test_wanting_more_people_is_not_another_question() -> None:
    claim = CATALOGUE.claims[0]
    assert replace(claim, people=claim.people + 1).definition == claim.definition
    assert replace(claim, statement="Another.").definition != claim.definition
    with pytest.raises(ValueError, match="at least 5"):
        replace(claim, people=4)


def test_choosing() -> None:
    def ids(*only: str) -> list[str]:
        return [claim.id for claim in choose(CATALOGUE, only)]

    assert ids("spatialid/text") == ["spatialid/text"]
    assert ids("*/identity") == [
        "spatialid/identity", "id-ea/identity", "pidiff/identity", "infinite-id/identity",
    ]  # fmt: skip
    assert all(name.startswith("pidiff/") for name in ids("pidiff"))
    assert len(ids("all")) == len(CATALOGUE.claims)
    with pytest.raises(UsageError, match="Unknown claim 'spatialid/txt'") as caught:
        ids("spatialid/txt")
    assert "spatialid/text" in str(caught.value)


def test_a_definition_changes_with_anything_that_was_settled(claims_folder: Path, tmp_path: Path) -> None:
    text = (claims_folder / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("margin: 0.0001", "margin: 0.0002"))
    before, after = (
        {one.id: one.definition for one in read_claims(folder).claims} for folder in (claims_folder, tmp_path)
    )
    assert [name for name in before if before[name] != after[name]] == ["mine/same"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("treatment: A,", "treatment: Z,", "variant of .*claims.0. 'Z'"),
        ("experiment: hours", "experiment: hour", "experiment of .* 'hour'"),
        ("rule: {kind: kept, margin: 0.0001}", "rule: {kind: kept}", "margin"),
        ("id: changes", "id: same", "'mine/same' exists"),
        ("name: time", "name: mine", "'mine' exists"),
        ("A: spatialid[preset=A]", "A: uniform", "two variants are the same"),
        (
            "kind: seconds",
            "kind: minutes",
            r"experiments\[2\]\.kind 'minutes'. Known: suite, attention, seconds",
        ),
        ("margin: 0.0001}", "margin: 0.0001, bond: 1}", "rule.*'bond'"),
        ("treatment: A,", "treatment: A, kategories: [x],", "effect.*'kategories'"),
        ("id: changes", "id: changes\n    paper: mine", "paper of its own"),
        ("recipe: spid train uniform", "recipe: ''", "recipe"),
        ("published:", "publish:", "publish"),
    ],
)
def test_mistakes_are_named_with_their_place(
    claims_folder: Path, tmp_path: Path, old: str, new: str, words: str
) -> None:
    nowhere = "    source: nowhere\n"
    text = (claims_folder / "mine.yaml").read_text().replace(nowhere, nowhere + "    published: none\n", 1)
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=words):
        read_claims(tmp_path)
