"""Plug-ins: first-class where they work, named where they do not, and never in anybody's way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Spid
from installed import Install, install  # noqa: F401
from metric_samples import portrait, sample

from benchmarks.metrics.catalogue import faults, metrics, select
from benchmarks.metrics.evaluate import Evaluator
from benchmarks.suites import load_suite, suite_names
from methods.errors import MissingDependencyError, SpidError, UsageError
from methods.faces import load_encoder
from methods.plugins import Origin
from methods.registry import (
    METHODS,
    check_origin,
    get_method,
    method_info,
    method_names,
    origin,
)

METHOD = """
from dataclasses import replace
from methods.none import NoMethod

def named(name):
    return type("Mine", (NoMethod,), {"info": replace(NoMethod.info, name=name)})

Mine, Other, Rival = named("mine"), named("somebody-else"), named("rival")
NUMBER = 3
"""
METRIC = """
from dataclasses import replace
from benchmarks.metrics.identity import IdSim
from benchmarks.metrics.metric import Metric, SetMetric
from benchmarks.metrics.models.base import Extractor

CARD = replace(IdSim.info, name="odd", range=(0.0, 1.0))

class Odd(Metric):
    info = CARD
    needs = ("picture:clip",)
    def score(self, view):
        return [][1]

class OddSet(SetMetric):
    info = replace(CARD, name="odd_set")
    needs = ("picture:clip",)
    def begin(self):
        return self
    def add(self, view):
        raise RuntimeError("no room")
    def result(self):
        return 0.5

class Absent(Odd):
    info = replace(CARD, name="absent")
    needs = ("picture:smell",)
    def score(self, view):
        return 1.0

class Nowhere(Odd):
    info = replace(CARD, name="nowhere")
    needs = ("smell",)
"""


def test_what_is_wrong_with_a_method_is_told_and_the_others_work(install: Install, spid: Spid) -> None:  # noqa: F811
    before = method_names()
    install(
        "plug",
        {
            "spid.methods": {
                "mine": "plug:Mine",
                "wrong": "plug:NUMBER",
                "renamed": "plug:Other",
                "broken": "plug_absent:X",
                "crashing": "plug_exit:X",
                "none": "plug:Mine",
                "two words": "plug:Mine",
                "rival": "plug:Rival",
            },
            "spid.method": {"mine": "plug:Mine"},
        },
        {"plug.py": METHOD, "plug_exit.py": "raise SystemExit(3)\n"},
        version="1.2",
    )
    install("rival", {"spid.methods": {"rival": "plug:Rival"}}, {})
    fresh = [name for name in method_names() if name not in before]  # others may be installed here
    assert fresh == ["broken", "crashing", "mine", "renamed", "wrong"]
    assert get_method("mine").__name__ == "Mine" and method_info("mine").name == "mine"
    assert get_method("none").__name__ == "NoMethod"
    for name, kind, said in (
        ("wrong", SpidError, "not a subclass"),
        ("renamed", SpidError, "card calls it 'somebody-else'"),
        ("broken", MissingDependencyError, "plug_absent"),
        ("crashing", SpidError, "SystemExit"),
        ("rival", UsageError, "Unknown method"),
    ):
        with pytest.raises(kind, match=said):
            get_method(name)
    faults = {one.name: one.fault for one in METHODS.plug_ins()}
    assert faults["mine"] is None
    assert "built-in" in str(faults["none"]) and "letters" in str(faults["two words"])
    assert "rival 1.0" in str(faults["rival"]) or "plug 1.2" in str(faults["rival"])
    assert (origin("mine"), origin("none"), origin("nobody")) == (Origin("plug", "1.2"), None, None)

    listed = spid("methods")
    assert listed.code == 0 and "mine" in listed.out and "crashing" not in listed.out
    for name in ("wrong", "renamed", "broken", "crashing", "none", "two words", "rival"):
        assert f"the plug-in {name!r} of the package" in listed.err, name
    cards = spid("methods", "--json").json
    assert [card["version"] for card in cards if card["package"] == "plug"] == ["1.2"]
    assert spid("generate", "--method", "renamed", "--prompt", "x").code == 1
    gaps = " ".join(item["what"] for item in spid("doctor", "--json").json["optional"])
    assert "'crashing' of plug 1.2 is unusable" in gaps and "spid.method, which nothing reads" in gaps


def test_a_card_of_its_own_keeps_torch_out_of_the_listing(install: Install) -> None:  # noqa: F811
    install(
        "plug",
        {"spid.methods": {"mine": "plug_heavy:Mine"}, "spid.method_cards": {"mine": "plug:INFO"}},
        {
            "plug.py": METHOD + "INFO = Mine.info\n",
            "plug_heavy.py": "raise ImportError('would import torch')\n",
        },
    )
    assert method_info("mine").name == "mine"


def test_a_method_that_is_gone_or_newer_is_named(install: Install) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="package plug 1.0, which is not installed") as caught:
        check_origin("mine", Origin("plug", "1.0"))
    assert caught.value.hint == "Run pip install plug==1.0"
    with pytest.raises(UsageError, match="Unknown method"):
        check_origin("mine", None)
    install("plug", {"spid.methods": {"mine": "plug:Mine"}}, {"plug.py": METHOD}, version="2.0")
    assert check_origin("mine", Origin("plug", "2.0")) is None
    assert check_origin("none", None) is None
    said = check_origin("mine", Origin("plug", "1.0"))
    assert said == "the method 'mine' came from plug 1.0, now it comes from plug 2.0"


def test_a_run_names_the_package_of_a_metric_that_is_gone(spid: Spid, tmp_path: Path) -> None:
    cards = [{"name": "id_sim", "package": None}, {"name": "sharpness", "package": "plug 1.0"}]
    content = {"schema": 1, "methods": [{"name": "none", "method": "none"}], "metrics": cards}
    (tmp_path / "run.json").write_text(json.dumps({**content, "request": {"suite": "smoke"}}))
    gone = spid("bench", "--resume", "--output", tmp_path)
    assert gone.code == 2 and "metric 'sharpness' came with the package plug 1.0" in gone.err
    assert "pip install plug==1.0" in gone.err


def test_a_metric_that_fails_takes_no_other_with_it(install: Install, spid: Spid) -> None:  # noqa: F811
    names = ("odd", "odd_set", "absent", "nowhere", "id_sim", "gone")
    targets = ("Odd", "OddSet", "Absent", "Nowhere", "Odd", "Gone")
    points = {name: f"plug_metrics:{target}" for name, target in zip(names, targets, strict=True)}
    install("plug", {"spid.metrics": points}, {"plug_metrics.py": METRIC})
    assert list(metrics())[-4:] == ["ibench_fgis", "absent", "odd", "odd_set"] or {"absent", "odd"} <= set(
        metrics()
    )
    assert "odd" not in {metric.card.name for metric in select("default")}
    for broken, said in (("nowhere", "needs 'smell'"), ("gone", "Gone")):
        with pytest.raises(SpidError, match=said):
            select(broken)
    evaluator = Evaluator(["face_found", "odd", "odd_set", "absent"], backbone_family="pocket")
    assert "feature 'smell'" in evaluator.unavailable["absent"]
    one = sample(portrait(1), reference=portrait(1))
    found = evaluator.score([one])[0]
    assert found["face_found"].value == 1.0
    assert (found["odd"].status, found["absent"].status) == ("error", "unavailable")
    assert "plug 1.0" in found["odd"].reason and "index out of range" in found["odd"].reason
    assert "no room" in evaluator.score_set([one])["odd_set"].reason
    shown = spid("metrics")
    assert shown.code == 0 and "odd_set" in shown.out and "nowhere" not in shown.out
    assert "'nowhere'" in " ".join(item["what"] for item in spid("doctor", "--json").json["optional"])


def test_metrics_that_all_leaves_out_are_told(install: Install, spid: Spid, tmp_path: Path) -> None:  # noqa: F811
    points = {"gone": "Gone", "nowhere": "Nowhere", "odd": "Odd", "piqe": "Piqe"}
    points = {name: f"plug_metrics:{target}" for name, target in points.items()}
    code = METRIC + "class Piqe(Odd):\n    info = replace(CARD, name='piqe')\n"
    install("plug", {"spid.metrics": points}, {"plug_metrics.py": code})
    (ours,) = select("piqe")
    assert type(ours).__module__ == "benchmarks.metrics.quality"
    assert "piqe" in {metric.card.name for metric in select("default")}
    assert faults("default,id_sim") == []
    assert [(one["name"], one["package"]) for one in faults("id_sim, all")] == [
        ("gone", "plug 1.0"),
        ("nowhere", "plug 1.0"),
        ("piqe", "plug 1.0"),
    ]
    (tmp_path / "pictures").mkdir()
    portrait(1).save(tmp_path / "pictures" / "a.png")
    done = spid("score", tmp_path / "pictures", "--metrics", "all", "--output", tmp_path / "run")
    assert done.code == 0, done.err
    written = json.loads((tmp_path / "run" / "run.json").read_text())["faults"]
    assert written == faults("all") and "needs 'smell'" in written[1]["fault"]
    assert written[2]["fault"] == "its name is taken by a built-in one"
    assert "warning: the plug-in metric 'nowhere' of the package plug 1.0 is left out: it needs" in done.err


def test_encoders_and_suites_that_do_not_work_say_so(install: Install, spid: Spid) -> None:  # noqa: F811
    code = (
        "from pathlib import Path\n"
        "def make(argument, *, providers=None): return argument\n"
        "def read(data): raise ValueError('torn')\n"
        "def nothing(data): return 3\n"
        "ABSENT = Path(__file__).with_name('absent.yaml')\n"
    )
    install(
        "plug",
        {
            "spid.face_encoders": {"theirs": "plug_faces:make"},
            "spid.suites": {
                "torn": "plug_faces:read",
                "nothing": "plug_faces:nothing",
                "absent": "plug_faces:ABSENT",
            },
        },
        {"plug_faces.py": code},
    )
    with pytest.raises(SpidError, match=r"'theirs' \(package plug 1.0\) gave a str"):
        load_encoder("theirs:large")
    card = Evaluator("id_sim", backbone_family="pocket", models={"face": "theirs"})
    assert "theirs" in card.unavailable["id_sim"]
    with pytest.raises(SpidError, match="gave a int"):
        load_suite("nothing")
    with pytest.raises(SpidError, match="absent.yaml is missing"):
        load_suite("absent")
    assert {"torn", "nothing", "absent", "smoke"} <= set(suite_names())
    listed = spid("suites")
    assert listed.code == 0 and "smoke" in listed.out
    assert all(f"{name!r} of the package plug 1.0" in listed.err for name in ("torn", "nothing", "absent"))
