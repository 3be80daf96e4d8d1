"""`spid bench` and `spid suites` from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Spid
from folders import contents, rows
from tiny import tiny_folder

from benchmarks.schema import failed
from benchmarks.shards import start_child
from spatialid_cli.app import main


@pytest.fixture
def options(suite_file: Path, adapter: Path) -> list[str]:
    return [
        "bench", "--suite", str(suite_file), "--methods", "none,uniform",
        "--backbone", str(tiny_folder("sd1")), "--face-encoder", "pocket", "--device", "cpu",
        "--adapter", f"uniform={adapter}", "--metrics", "attr_scene,leak_scene",
    ]  # fmt: skip


def test_a_run_and_the_same_by_resume(
    spid: Spid, options: list[str], tmp_path: Path, pocket_weights: Path
) -> None:
    first = spid(*options, "--output", tmp_path / "run")
    assert first.code in (0, 1), first.err  # a tiny random backbone paints no faces, and may paint nothing
    assert "statuses" in first.out and "11/11 samples" in first.err
    before = contents(tmp_path / "run")
    again = spid("bench", "--resume", "--output", tmp_path / "run", "--json")
    assert again.code == first.code and again.json["complete"]
    assert contents(tmp_path / "run") == before
    refused = spid(*options, "--steps", "3", "--output", tmp_path / "run")
    assert refused.code == 2 and "settings.steps: 2 -> 3" in refused.err


def test_a_metric_whose_model_does_not_load_ends_a_run_that_asks_for_it(
    spid: Spid, options: list[str], tmp_path: Path, pocket_weights: Path
) -> None:
    (tmp_path / "torn").mkdir()
    run = tmp_path / "run"
    asked = [*options[:-1], "dino,attr_scene", "--model", f"dino={tmp_path / 'torn'}", "--limit", "1"]
    refused = spid(*asked, "--output", run)
    first, second = refused.err.strip().splitlines()[-2:]
    assert refused.code == 1 and "--keep-going" in second
    assert "The metric dino cannot be measured" in first and "cannot be loaded as DINOv2" in first
    assert not run.exists()
    going = spid(*asked, "--output", run, "--keep-going")
    assert going.code == int(any(failed(row) for row in rows(run))) and "dino is unavailable" in going.err
    assert all(row["metrics"]["dino"] is None for row in rows(run))
    assert any("cannot be loaded as DINOv2" in row["notes"].get("dino", "") for row in rows(run))
    cards = {card["name"]: card for card in json.loads((run / "run.json").read_text())["metrics"]}
    assert (cards["dino"]["available"], cards["attr_scene"]["available"]) == (False, True)


def test_two_processes_give_the_same(
    spid: Spid, options: list[str], tmp_path: Path, pocket_weights: Path
) -> None:
    """One by flag, one by the variables of a launcher, at the same time in the same folder."""
    command = [sys.executable, "-m", "spatialid_cli.app", *options]
    alone = spid(*options, "--output", tmp_path / "one" / "run")
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
    output = ["--output", str(tmp_path / "two" / "run")]
    pair = [
        subprocess.Popen([*command, *output, "--shard", "1/2"], stderr=subprocess.PIPE, text=True),
        subprocess.Popen([*command, *output], env=environment, stderr=subprocess.PIPE, text=True),
    ]
    said = [process.communicate()[1] for process in pair]
    assert all(process.returncode in (0, 1) for process in pair), said
    assert alone.code in (0, 1), alone.err
    assert "[2/2]" in said[1]
    assert len(rows(tmp_path / "two" / "run")) == 11
    assert contents(tmp_path / "two" / "run") == contents(tmp_path / "one" / "run")


@pytest.mark.timeout(900)  # two starts of Python, torch and all
def test_processes_of_one_command_give_one_answer(
    options: list[str],
    tmp_path: Path,
    pocket_weights: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the system kills one of them, here as soon as it is started."""

    def start(arguments: list[str], environment: dict[str, str], **more: Any) -> subprocess.Popen[bytes]:
        child = start_child(arguments, environment, **more)
        if environment["SPID_PROCESS"] == "3/3":
            child.kill()
        return child

    monkeypatch.setattr("benchmarks.shards.start_child", start)
    run = tmp_path / "run"
    code = main([*options, "--limit", "1", "--output", str(run), "--num-processes", "3", "--json"])
    out, err = capfd.readouterr()
    assert code in (0, 1) and out, err
    answer = json.loads(out)
    assert answer["complete"] and answer["missing"] == 0
    assert sum(answer["statuses"].values()) == len(rows(run))
    assert code == int(any(failed(row) for row in rows(run)))
    assert "[1/3]" in err and "[2/3]" in err and "[3/3]" not in err
    assert err.count("process 3/3 was killed by signal 9; others do what it left") == 1
    assert not (run / "request.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench"], "no suite"),
        (["bench", "--suite", "smke"], "Did you mean 'smoke'"),
        (["bench", "--suite", "smoke", "--methods", "unifrm"], "Did you mean 'uniform'"),
        (["bench", "--suite", "smoke", "--shard", "3/2"], "no share"),
        (["bench", "--suite", "smoke", "--seeds", "a"], "no list of numbers"),
        (["bench", "--suite", "smoke", "--adapter", "x"], "not name=value"),
        (["bench", "--suite", "smoke", "--shard", "1/2", "--num-processes", "2"], "one of the two"),
        (["bench", "--suite", "smoke", "--data", "."], "no --data"),
        (["bench", "--resume"], "--output"),
        (["bench", "--resume", "--output", "nowhere"], "no run in nowhere"),
        (["suites", "smke"], "Did you mean 'smoke'"),
    ],
)
def test_misuse_is_one_line(
    spid: Spid, arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = spid(*arguments)
    assert outcome.code == 2 and said in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_suites_are_listed_and_shown(spid: Spid) -> None:
    listed = spid("suites")
    assert listed.code == 0 and all(name in listed.out for name in ("ibench", "pocket", "smoke"))
    assert {suite["name"] for suite in spid("suites", "--json").json} >= {"ibench", "pocket", "smoke"}
    shown = spid("suites", "pocket")
    assert "reference-a: 8 people x 14 prompts" in shown.out
    assert spid("suites", "smoke", "--json").json["sets"][0]["prompts"][0]["truth"]["scene"] == "beach"


def test_listing_suites_imports_no_torch() -> None:
    code = (
        "import sys; from spatialid_cli.app import main; code = main(['suites', 'pocket', '--json']);"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "pocket"
