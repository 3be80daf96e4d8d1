"""The examples of CONTRIBUTING run as they stand there, installed as a package with entry points."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from command import Spid
from installed import Install, install  # noqa: F401
from tiny import tiny_backbone, tiny_folder

from methods.images import read_metadata
from methods.registry import get_method, method_names

GUIDE = Path(__file__).resolve().parent.parent / ".github" / "CONTRIBUTING.md"


@pytest.fixture
def example(install: Install) -> Path:  # noqa: F811
    """Everything that the guide shows, as one installed package."""
    text = GUIDE.read_text(encoding="utf-8")
    files = dict(re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, flags=re.DOTALL))
    blocks = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    points = tomllib.loads("\n".join(blocks))["project"]["entry-points"]
    assert set(files) == {"louder.py", "sharp.py", "two_people.yaml"} and len(points) == 4
    return install("example", points, files)


def test_the_method_is_found_and_does_what_it_says(example: Path) -> None:
    from methods.hooks import Identity, Job
    from methods.sampling import sample

    assert "louder" in method_names()
    backbone = tiny_backbone("sd1")
    jobs = [
        Job("a person", 64, 64, guidance=3.0, steps=3, seed=1, identity=Identity("anna"), id_weight=weight)
        for weight in (0.0, 1.0)
    ]
    plain = sample(backbone, jobs[:1])
    silent, loud = sample(backbone, jobs, get_method("louder")())
    assert torch.equal(plain[0].latents, silent.latents)
    assert not torch.equal(plain[0].latents, loud.latents)


def test_its_options_are_flags(example: Path, spid: Spid, tmp_path: Path, pocket_weights: Path) -> None:
    """`--gain` is a flag because the plug-in's Config has it: typed, told in --help, kept in the picture."""
    assert spid("render", "--person", "7", "--size", "128", "--output", tmp_path).code == 0
    asked = [
        "generate", "--prompt", "a {person}", "--reference", tmp_path / "person-0007.png",
        "--backbone", tiny_folder("sd1"), "--face-encoder", "pocket", "--steps", "2", "--json",
    ]  # fmt: skip
    files = {}
    for name, given in (("plain", []), ("flag", ["--gain", "0.7"]), ("set", ["--set", "gain=0.7"])):
        made = spid(*asked, "--method", "louder", *given, "--output", tmp_path / name)
        assert made.code == 0, made.err
        (picture,) = made.json["pictures"]
        files[name] = (tmp_path / name / picture["file"]).read_bytes()
    assert files["flag"] == files["set"] != files["plain"]
    job = spid("show", tmp_path / "flag" / picture["file"], "--json").json["spid"]
    assert job["method_options"]["gain"] == 0.7
    beside = spid(
        *asked,
        "--method",
        "none",
        "--compare",
        "louder",
        "--louder-gain",
        "0.7",
        "--output",
        tmp_path / "beside",
    )
    assert beside.code == 0, beside.err
    assert "--gain" in spid("generate", "--method", "louder", "--help").out
    for wrong, said in ((["--gain", "loud"], "gain"), (["--gian", "1"], "--gian")):
        refused = spid(*asked, "--method", "louder", *wrong, "--output", tmp_path / "wrong")
        assert refused.code == 2 and said in refused.err and not (tmp_path / "wrong").exists()
    assert spid(*asked, "--method", "uniform", "--gain", "1", "--output", tmp_path / "wrong").code == 2


@pytest.mark.timeout(600)  # a start of Python, torch and all
def test_the_documented_command_runs_the_conformance_suite_on_it(example: Path) -> None:
    (command,) = re.findall(r"^python -m (pytest .* -k louder)$", GUIDE.read_text(), flags=re.MULTILINE)
    words = [*shlex.split(command)[:-1], "louder and sd1 and (trace or matters or saves)"]  # in seconds
    root = GUIDE.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", *words, "-q", "-p", "no:cacheprovider"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(example), str(root)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    passed = re.search(r"(\d+) passed, (\d+) deselected", done.stdout)
    assert passed and int(passed[1]) == 3, done.stdout[-2000:]


def test_metric_encoder_and_suite_measure_a_run(example: Path, spid: Spid, tmp_path: Path) -> None:
    from benchmarks.metrics.catalogue import select
    from benchmarks.samples import read_samples

    assert "sharpness" not in [metric.card.name for metric in select("default")]
    card = spid("metrics", "sharpness", "--json").json[0]
    assert card["package"] == "example 1.0" and card["model"] == "grey differences" and card["available"]
    run = tmp_path / "run"
    done = spid(
        "bench", "--suite", "two-people", "--methods", "none,louder", "--metrics", "sharpness,id_sim",
        "--model", "face=grey-faces", "--steps", "2", "--output", run,
    )  # fmt: skip
    assert done.code in (0, 1), done.err  # two steps make no face, which is a finding
    samples = read_samples(run)
    assert [one.get("package") for one in samples.run["methods"]] == [None, "example 1.0"]
    assert samples.metrics == ["id_sim", "sharpness"] and len(samples) == 2 + 2  # `none` once per noun
    sharpness = samples.values[:, 1]
    assert ((sharpness > 0.001) & (sharpness < 0.5)).all()
    cards = samples.cards
    assert cards["sharpness"]["package"] == "example 1.0" and cards["sharpness"]["weights"] is None
    assert cards["id_sim"]["model"] == "grey pixels" and cards["id_sim"]["weights"]
    assert "Apache-2.0" in cards["id_sim"]["licence"]
    assert samples.run["suite"]["package"] == "example 1.0"
    for row in map(json.loads, (run / "samples.jsonl").read_text().splitlines()):
        package = "example 1.0" if row["method"] == "louder" else None
        assert read_metadata(run / row["picture"])["spid"].get("method_package") == package

    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    next(iter(sorted((run / "pictures").rglob("*.png")))).unlink()
    resumed = spid("bench", "--resume", "--output", run)
    assert resumed.code == done.code, resumed.err
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)} == {
        run / "timings.jsonl"
    }
    page = tmp_path / "report.html"
    reported = spid("report", run, "--output", page)
    assert reported.code == 0, reported.err
    assert all(
        word in page.read_text() for word in ("louder", "sharpness", "grey differences", "grey pixels")
    )
    same = spid("compare", run, run, "--json")
    assert same.code == 0 and same.json["pairs"] == 4, same.err
    changes = {(one["method"], one["metric"]): one["delta"] for one in same.json["changes"]}
    assert changes["louder", "sharpness"] == changes["none", "sharpness"] == 0.0


def test_doctor_lists_all_of_it_by_package_and_version(example: Path, spid: Spid) -> None:
    facts = spid("doctor", "--json").json["facts"]["plug-ins"]
    assert {name: said for name, said in facts.items() if said.startswith("example ")} == {
        "face_encoders: grey-faces": "example 1.0 (sharp:ENCODER), works",
        "methods: louder": "example 1.0 (louder:Louder), works",
        "metrics: sharpness": "example 1.0 (sharp:Sharpness), works",
        "suites: two-people": "example 1.0 (sharp:SUITE), works",
    }


def test_a_picture_names_the_package_it_needs(
    example: Path, spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from methods import plugins

    run = tmp_path / "run"
    made = spid("bench", "--suite", "two-people", "--methods", "louder", "--metrics", "sharpness", "--steps",
                "2", "--limit", "1", "--face-encoder", "grey-faces", "--output", run)  # fmt: skip
    assert made.code == 0, made.err
    encoder = json.loads((run / "run.json").read_text())["settings"]["face_encoder"]
    assert (encoder["name"], encoder["package"]) == ("grey-faces", "example 1.0")
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    (picture,) = [run / row["picture"] for row in rows if row["method"] == "louder"]
    assert spid("show", picture, "--json").json["spid"]["method_package"] == "example 1.0"
    again = spid("generate", "--from", picture, "--output", tmp_path / "again")
    assert again.code == 0 and "example" not in again.err, again.err

    metadata = example / "example-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 2.0"))
    plugins.forget()
    newer = spid("generate", "--from", picture, "--output", tmp_path / "newer")
    assert "the method 'louder' came from example 1.0, now it comes from example 2.0" in newer.err

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(example)])
    plugins.forget()
    for arguments in (["generate", "--from", picture, "--output", tmp_path / "gone"],
                      ["bench", "--resume", "--output", run]):  # fmt: skip
        gone = spid(*arguments)
        assert gone.code == 2 and "came with the package example 1.0, which is not installed" in gone.err
