"""A feature has one class: plug-ins that disagree about one are named, and measure nothing by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Spid
from installed import Install, install  # noqa: F401
from metric_samples import portrait, sample

from benchmarks.metrics.catalogue import faults, metrics, missing, select
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.metrics.plugins import all_extractors
from methods.errors import SpidError

CODE = """
from dataclasses import replace
from benchmarks.metrics.identity import IdSim
from benchmarks.metrics.metric import Metric
from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.models.quality import Piqe

class Grey(Extractor):
    tag, preprocessing, licence = "grey VALUE", "none", "none"
    def __init__(self, device):
        pass
    def compute(self, items):
        return [VALUE] * len(items)

class Torn(Grey):
    def __init__(self):
        pass

def made(name, feature, extractor):
    info = replace(IdSim.info, name=name, range=(0.0, 1.0))
    need = f"picture:{feature}"
    features = {} if extractor is None else {feature: extractor}
    fields = {"info": info, "needs": (need,), "extractors": features, "score": lambda self, view: view[need]}
    return type(name, (Metric,), fields)
"""
FIRST = """
One, Same, Plain = made("one", "grey", Grey), made("same", "fine", Grey), made("plain", "edges", Grey)
Taken, Shares = made("taken", "clip", Grey), made("shares", "piqe", Piqe)
Broken, Odd, Reader = made("broken", "fine", Torn), made("odd", "fine", Grey), made("reader", "grey", None)
Odd.needs = (3,)
"""
SECOND = """
from plug_first import Grey as Theirs
Two, Shared, TakenToo = made("two", "grey", Grey), made("shared", "fine", Theirs), made("more", "clip", Grey)
"""


@pytest.fixture(params=["first", "second"])
def told(request: pytest.FixtureRequest, install: Install) -> dict[str, str]:  # noqa: F811
    """Name -> fault of the plug-ins of two packages, whichever is found first."""
    ours = "one:One same:Same plain:Plain taken:Taken shares:Shares broken:Broken odd:Odd reader:Reader"
    packages = {
        "first": (ours, CODE.replace("VALUE", "0.25") + FIRST),
        "second": ("two:Two shared:Shared more:TakenToo", CODE.replace("VALUE", "0.75") + SECOND),
    }
    for package in sorted(packages, key=lambda name: name == request.param):
        names, code = packages[package]
        points = {
            name: f"plug_{package}:{to}" for name, _, to in (one.partition(":") for one in names.split())
        }
        install(package, {"spid.metrics": points}, {f"plug_{package}.py": code}, version="1.2")
    return {one["name"]: f"{one['package']}: {one['fault']}" for one in faults("all")}


def test_who_disagrees_is_at_fault_whoever_comes_first(told: dict[str, str], spid: Spid) -> None:
    other = "is of another class in '{}' of the package {} 1.2; one of them needs another name."
    built_in = "its feature 'clip' is a built-in one, of another class; it needs a name of its own."
    assert told == {
        "one": "first 1.2: its feature 'grey' " + other.format("two", "second"),
        "two": "second 1.2: its feature 'grey' " + other.format("one", "first"),
        "taken": f"first 1.2: {built_in}",
        "more": f"second 1.2: {built_in}",
        "broken": "first 1.2: its feature 'fine' cannot be made for a device: TypeError: "
        "Torn.__init__() takes 1 positional argument but 2 were given.",
        "odd": "first 1.2: it cannot be looked at: AttributeError: "
        "'int' object has no attribute 'partition'.",
    }
    for name in told:
        with pytest.raises(SpidError, match=rf"plug-in metric '{name}' \(package (first|second) 1.2"):
            select(name)
    listed = spid("metrics")
    assert listed.code == 0 and "plain" in listed.out and "taken" not in listed.out
    gaps = " ".join(one["what"] for one in spid("doctor", "--json").json["optional"])
    for name, fault in told.items():
        package, _, why = fault.partition(": ")
        assert f"the plug-in metric '{name}' of the package {package} is left out: {why}" in listed.err
        assert f"the plug-in metric '{name}' of {package} is unusable: {why}" in gaps


def test_the_others_measure_with_models_of_their_own(
    told: dict[str, str], spid: Spid, tmp_path: Path
) -> None:
    good = ["plain", "reader", "same", "shared", "shares"]
    assert [name for name in metrics() if name in {*told, *good}] == good
    evaluator = Evaluator(good, backbone_family="pocket")
    reader = next(metric for metric in evaluator.metrics if metric.card.name == "reader")
    assert "gives the feature 'grey'" in str(missing(reader, all_extractors("pocket")))
    (found,) = evaluator.score([sample(portrait(1), reference=portrait(1))])
    assert {name: found[name].value for name in ("plain", "same", "shared")} == dict.fromkeys(
        ("plain", "same", "shared"), 0.25
    )
    assert {one.name: one.model for one in evaluator.infos}["shared"] == "grey 0.25"
    assert found["reader"].status == "unavailable"
    (tmp_path / "pictures").mkdir()
    portrait(1).save(tmp_path / "pictures" / "a.png")
    done = spid("score", tmp_path / "pictures", "--metrics", "plain,all", "--output", tmp_path / "run")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["faults"] == faults("all")
    for name in told:
        assert f"warning: the plug-in metric '{name}' of the package" in done.err
