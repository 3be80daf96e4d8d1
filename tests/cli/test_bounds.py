"""Numbers, prompts and paths that are refused before anything is loaded or written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Spid

from spatialid_cli.generate import _folder, new_folder

PLAIN = ["generate", "--method", "none", "--prompt", "x"]
BENCH = ["bench", "--suite", "smoke", "--output", "run"]
LINES = ["generate", "--method", "none", "--prompt-file", "lines.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*PLAIN, "--num-images", "1000000000"], "num_images is 1000000000; it must be at most"),
        ([*PLAIN, "--width", "1000000"], "width is 1000000; it must be at most 8192"),
        ([*PLAIN, "--height", "7"], "'--height'"),
        ([*PLAIN, "--steps", "1001"], "'--steps'"),
        ([*PLAIN, "--steps", "0"], "'--steps'"),
        ([*PLAIN, "--guidance", "inf"], "'--guidance'"),
        ([*PLAIN, "--guidance", "nan"], "'--guidance'"),
        ([*PLAIN, "--seed", "-1"], "'--seed'"),
        ([*PLAIN, "--set", "none.x=1"], "'x'"),
        (["render", "--count", "1e12"], "'--count'"),
        (["render", "--count", "1000000000000"], "'--count'"),
        ([*BENCH, "--guidance", "inf"], "'--guidance'"),
        ([*BENCH, "--guidance", "nan"], "'--guidance'"),
        ([*BENCH, "--limit", "0"], "'--limit'"),
        ([*BENCH, "--seeds", "-1"], "--seeds '-1'"),
        ([*BENCH, "--batch-size", "1000000000"], "batch_size is 1000000000; it must be at most"),
        ([*BENCH, "--methods", "uniform[lora_scale=.nan]"], "lora_scale is NaN; it must be a finite number"),
        ([*BENCH, "--methods", "uniform[lora_scale=1e400]"], "lora_scale is Infinity"),
        ([*BENCH, "--scheduler", "dimm"], "Unknown scheduler 'dimm'"),
        ([*BENCH, "--suite", "pipe"], "pipe"),
        ([*BENCH, "--suite", "/dev/zero"], "/dev/zero"),
        ([*BENCH, "--suite", "bare.yaml"], "bare.yaml: description is missing"),
        ([*PLAIN, "--prompt", "a {person:1.3} here"], "unknown placeholder {person:1.3}"),
        ([*PLAIN, "--prompt", "a {person:>2000000000}"], "unknown placeholder"),
        ([*PLAIN, "--prompt", "x" * 100_000], "100000 letters"),
        ([*LINES], "lines.txt, line 3: steps is 1000000000; it must be at most 1000"),
        ([*PLAIN, "--output", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        ([*BENCH[:3], "--output", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        (["generate", "--prompt", "x", "--id", "a=~nosuchuser/a.png"], "~nosuchuser has no home folder"),
        (["generate", "--prompt", "x", "--reference=~nosuchuser/a.png"], "~nosuchuser has no home folder"),
        ([*PLAIN, "--backbone", "pokcet"], "No backbone at"),
        ([*PLAIN, "--backbone", "a" * 5000], "too long for the name of a file"),
        ([*PLAIN, "--reference", "a" * 5000], "too long for the name of a file"),
        ([*PLAIN, "--output", "a" * 5000], "too long for the name of a file"),
        ([*BENCH, "--suite", "a" * 5000], "a..."),
        ([*PLAIN, "--adapter", "none=~nosuchuser/x"], "~nosuchuser has no home folder"),
        ([*BENCH, "--data", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        ([*BENCH, "--model", "clip=~nosuchuser/m"], "~nosuchuser has no home folder"),
        ([*BENCH, "--model", "lpips=~nosuchuser/m"], "~nosuchuser has no home folder"),
        (["bench", "--resume", "--output", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        ([*PLAIN, "--lora", "~nosuchuser/x:0.5"], "~nosuchuser has no home folder"),
        ([*PLAIN, "--backbone-config", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        (["generate", "--from", "~nosuchuser/x.png"], "~nosuchuser has no home folder"),
        (["score", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        (["report", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        (["compare", "a", "~nosuchuser/x"], "~nosuchuser has no home folder"),
        (["train", "--method", "uniform", "--data", "~nosuchuser/x", "--output", "t"], "~nosuchuser has no"),
        ([*PLAIN, "--backbone", "https://example.org/x.safetensors"], "https://example.org"),
    ],
)
def test_it_is_refused_in_one_line_and_nothing_is_left(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("a dog\na cat\na bird --s 1000000000\n")
    Path("bare.yaml").write_text("name: bare\n")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
    before = sorted(Path().rglob("*"))
    outcome = spid(*arguments)
    first, _ = outcome.err.strip().splitlines()
    assert outcome.code == 2 and first.startswith("error: ") and said in first
    assert "--debug" not in outcome.err
    assert sorted(Path().rglob("*")) == before


def test_a_prompt_file_is_checked_to_its_end_before_its_first_line(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in ("a {person", "a bird --w 7", "a bird --seed 1e9", "a bird --nonesuch 3"):
        Path("lines.txt").write_text(f"a dog\na cat\n{wrong}\n")
        outcome = spid(*LINES)
        assert outcome.code == 2, wrong
    assert [path.name for path in Path().iterdir()] == ["lines.txt"]


def test_a_home_folder_is_meant_alike_everywhere(
    spid: Spid, tmp_path: Path, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for reference in (["--reference=~/no.png"], ["--id", "anna=~/no.png"]):
        outcome = spid("generate", "--prompt", "x", *reference)
        assert outcome.code == 2 and str(tmp_path / "no.png") in outcome.err
    assert spid("render", "--person", "1", "--size", "64", "--output=~/made").code == 0
    assert (tmp_path / "made" / "person-0001.png").is_file() and not Path("~").exists()


def test_a_bench_that_cannot_begin_leaves_nothing(spid: Spid, tmp_path: Path, face: Path) -> None:
    for flags in (["--face-encoder", "~nosuchuser/x"], ["--face-encoder", "nonesuch"]):
        outcome = spid("bench", "--suite", "smoke", "--methods", "uniform", "--metrics", "face_found",
                       "--output", tmp_path / "run", *flags)  # fmt: skip
        assert outcome.code == 2 and flags[1] in outcome.err and not (tmp_path / "run").exists()


def test_two_runs_of_one_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "generate-now")
    made = [new_folder() for _ in range(3)]
    assert [path.name for path in made] == ["generate-now", "generate-now-2", "generate-now-3"]


def test_a_second_run_into_a_folder_keeps_the_tables_of_the_first(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with _folder(tmp_path):
            for name in ("table.csv", "table.md"):
                (tmp_path / name).write_text(text)
    with _folder(tmp_path):
        pass
    assert (tmp_path / "table-1.csv").read_text() == "first" == (tmp_path / "table-1.md").read_text()
    assert (tmp_path / "table-2.csv").read_text() == "second"


def test_warnings_of_our_own_reach_people_and_those_of_libraries_do_not() -> None:
    code = (
        "from spatialid_cli.app import main; import logging; main(['suites']); "
        "logging.getLogger('methods.x').warning('our word'); logging.getLogger('other').warning('theirs')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "warning: our word" in done.stderr and "theirs" not in done.stderr
