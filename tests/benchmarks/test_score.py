"""`spid score`: pictures that something else made, measured as a run of ours would be."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from command import Spid
from folders import contents, killed_runs, rows
from PIL import Image

from benchmarks.metrics.base import Score
from benchmarks.samples import read_samples
from benchmarks.score import score
from benchmarks.score_read import read_folder, read_metadata_file
from benchmarks.verdict import judge
from methods.errors import UsageError
from methods.pocket.references import PLAIN
from methods.pocket.world import Context, render, sample_person

FIRST = 10_000_500
METRICS = "id_sim,sim_gt,copy_paste,face_found,clip_t,background_leakage,fid_clip"


def draw(path: Path, person: int, **factors: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = Context.from_dict({**PLAIN, **factors, "nuisance": 3})
    Image.fromarray(render(sample_person(FIRST + person), shown, 128).pixels).save(path)
    return path


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Two methods, three people: `copier` hands the reference back, `honest` draws what was asked for."""
    folder, lines = tmp_path / "theirs", []
    for person in range(3):
        reference = draw(folder / "people" / f"p{person}.png", person, scene="forest", pose="left")
        plain = draw(folder / "plain" / f"{person}.png", 40, scene="beach")
        for method, factors in (
            ("copier", {"scene": "forest", "pose": "left"}),
            ("honest", {"scene": "beach"}),
        ):
            picture = draw(folder / method / f"{person}.png", person, **factors)
            lines.append(
                {
                    "file_name": str(picture.relative_to(folder)),
                    "method": method,
                    "prompt": "a photo of a person on a beach",
                    "category": "Background",
                    "reference": str(reference.relative_to(folder)),
                    "baseline": str(plain.relative_to(folder)),
                    "person": FIRST + person,
                    "truth": {"scene": "beach", "style": "photo"},
                    "clip_t": 0.5,
                }
            )
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_folder_becomes_a_run_that_report_and_compare_read(
    theirs: Path, spid: Spid, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = spid("score", theirs, "--pictures", "pocket", "--metrics", METRICS, "--output", run, "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    means = {(one["method"], one["metric"]): one["mean"] for one in results["scores"]}
    assert means["copier", "id_sim"] == pytest.approx(1.0, abs=1e-4)
    assert means["copier", "copy_paste"] == pytest.approx(1.0, abs=2e-3)
    assert means["honest", "copy_paste"] < -0.5 and means["honest", "sim_gt"] > means["copier", "sim_gt"]
    assert means["honest", "background_leakage"] < means["copier", "background_leakage"]
    assert means["honest", "clip_t"] > means["copier", "clip_t"]
    sets = json.loads((run / "sets.json").read_text())["methods"]
    assert sets["honest"]["fid_clip"]["reason"]  # three pictures have no distribution
    samples = read_samples(run)
    assert len(samples) == 6 and sorted(samples.methods) == ["copier", "honest"]
    assert samples.run["settings"]["scored"] is True
    assert all((run / str(name)).is_file() for name in samples.text["picture"])

    page = spid("report", run)
    told = " ".join(re.sub(r"<[^>]*>", "", Path(page.out.strip()).read_text()).split())
    assert page.code == 0 and "copier keeps identity best (1.000" in told
    assert "and its faces are nearer to the reference than to the true picture (copy-paste 1.00" in told
    assert spid("compare", run, run).code == 0
    whole = contents(run)
    again = spid("score", theirs, "--pictures", "pocket", "--metrics", METRICS, "--output", run)
    assert again.code == 0 and contents(run) == whole
    other = spid("score", theirs, "--pictures", "pocket", "--metrics", "clip_t", "--output", run)
    assert other.code == 2 and "holds another run: metrics" in other.err and contents(run) == whole


def test_flags_alone_say_who_and_what(theirs: Path, spid: Spid, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for person, name in ((0, "anna-1"), (0, "anna-2"), (1, "anna-lee 1")):
        draw(pictures / f"{name}.png", person, scene="city" if name.endswith("1") else "garden")
    people = tmp_path / "people"
    draw(people / "anna.png", 0)
    draw(people / "anna-lee.png", 1)
    (tmp_path / "prompts.txt").write_text("in a city\nin a garden\nin a city\n")
    found = read_folder(pictures, people, tmp_path / "prompts.txt")
    assert [(one.identity, one.prompt, one.seed) for one in found] == [
        ("anna", "in a city", 0), ("anna", "in a garden", 0), ("anna-lee", "in a city", 0),
    ]  # fmt: skip
    run = tmp_path / "run"
    done = spid("score", pictures, "--reference", people, "--pictures", "pocket", "--metrics", "id_sim",
                "--prompts", tmp_path / "prompts.txt", "--output", run)  # fmt: skip
    assert done.code == 0, done.err
    assert min(read_samples(run).values[:, 0]) > 0.5  # everybody with their own reference
    one = spid("score", pictures, "--reference", people / "anna.png", "--pictures", "pocket", "--metrics",
               "id_sim", "--output", tmp_path / "one", "--json")  # fmt: skip
    assert len(read_samples(tmp_path / "one")) == 3 and one.json["failed"] == 0


def test_a_picture_that_cannot_be_judged_has_its_row_and_an_exit_code(spid: Spid, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    draw(pictures / "a.png", 0)
    Image.new("RGB", (128, 128), (90, 140, 200)).save(pictures / "b.png")
    (pictures / "c.png").write_bytes(b"no picture")
    done = spid("score", pictures, "--reference", pictures / "a.png", "--pictures", "pocket", "--metrics",
                "id_sim,face_found", "--device", "auto", "--output", tmp_path / "run")  # fmt: skip
    assert done.code == 1 and "1 of 3 pictures could not be judged" in done.err
    assert read_samples(tmp_path / "run").text["status"] == ["ok", "no_face_gen", "error"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_five_points_and_scored_again(tmp_path: Path) -> None:
    """The process dies at random file operations on the run; in the end every byte is as without a death."""
    for person in range(3):
        draw(tmp_path / "pictures" / f"{person}.png", person, scene="beach")
    (tmp_path / "pictures" / "torn.png").write_bytes(b"no picture")
    request = tmp_path / "request.json"
    asked = {"scored": str(tmp_path / "pictures"), "family": "pocket", "metrics": "piqe"}
    request.write_text(json.dumps(asked))
    whole, *killed = killed_runs(request, tmp_path, deaths=5)
    assert killed and len(rows(whole)) == 4
    for folder in killed:
        assert contents(folder) == contents(whole)


def test_an_interrupted_score_goes_on_and_never_mixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after a block, the next call measures the other one alone; another reference is refused."""
    monkeypatch.setattr("benchmarks.score.BLOCK", 1)
    pictures = [draw(tmp_path / "pictures" / f"{person}.png", person) for person in range(2)]
    people = draw(tmp_path / "people" / "anna.png", 0)
    scored = read_folder(tmp_path / "pictures", people, None)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(scored, tmp_path / "run", family="pocket", metrics="face_found", progress=interrupt)
    first = rows(tmp_path / "run")
    assert [row["sha256"] for row in first] == [hashlib.sha256(pictures[0].read_bytes()).hexdigest()]
    kept = tmp_path / "run" / first[0]["picture"]
    score(scored, tmp_path / "run", family="pocket", metrics="face_found")
    score(scored, tmp_path / "whole" / "run", family="pocket", metrics="face_found")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole" / "run")
    kept.write_bytes(b"damaged")
    score(scored, tmp_path / "run", family="pocket", metrics="face_found")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole" / "run")
    draw(people, 1)
    with pytest.raises(UsageError, match="holds another run: settings.plan"):
        score(scored, tmp_path / "run", family="pocket", metrics="face_found")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds files already"):
        score(scored[:1], tmp_path / "notes", family="pocket", metrics="face_found")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_a_row_takes_what_metrics_say() -> None:
    scores = {
        "a": Score(0.12345678),
        "b": Score(float("nan")),
        "c": Score(None, "no_face_gen", "no face"),
        "d": Score(None, "unavailable", "no weights"),
        "e": Score(None, "multi_face", "two faces"),
    }
    found = judge(list(scores), scores, "ok", "note")
    assert found == (
        "no_face_gen",
        "no face",
        {"a": 0.123457, "b": None, "c": None, "d": None, "e": None},
        {"b": "not a finite number", "c": "no face", "d": "no weights", "e": "two faces"},
    )
    assert judge(["c"], {"c": scores["c"]}, "degenerate", "constant")[:2] == ("degenerate", "constant")
    assert judge(["a"], None, "error", "x") == ("error", "x", {"a": None}, {})


def test_photographs_say_which_models_are_missing(spid: Spid, tmp_path: Path) -> None:
    draw(tmp_path / "pictures" / "a.png", 0)
    done = spid("score", tmp_path / "pictures", "--metrics", "pickscore,piqe", "--output", tmp_path / "run")
    assert done.code == 0 and "pickscore is unavailable: No PickScore model in" in done.err


def test_a_metric_that_does_not_load_ends_a_score_that_asks_for_it(spid: Spid, tmp_path: Path) -> None:
    draw(tmp_path / "pictures" / "a.png", 0)
    (tmp_path / "torn").mkdir()
    asked = ["score", tmp_path / "pictures", "--metrics", "dino,piqe", "--model", f"dino={tmp_path / 'torn'}"]
    refused = spid(*asked, "--output", tmp_path / "run")
    assert refused.code == 1 and "The metric dino cannot be measured" in refused.err
    assert "--keep-going" in refused.err and not (tmp_path / "run").exists()
    going = spid(*asked, "--output", tmp_path / "run", "--keep-going")
    assert going.code == 0 and "dino is unavailable" in going.err
    (row,) = rows(tmp_path / "run")
    assert row["metrics"]["dino"] is None and row["metrics"]["piqe"] is not None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"prompt": "x"}', "no file_name"),
        ('{"file_name": "a.png", "promt": "x"}', "Did you mean 'prompt'"),
        ('{"file_name": "a.png", "seed": -1}', "seed is -1"),
        ('{"file_name": "a.png", "truth": {"scene": "moon"}}', "'moon'"),
        ('{"file_name": "a.png", "truth": {"weather": "sun"}}', "'weather'"),
        ('{"file_name": "a.png", "seed": 1}\n{"file_name": "b.png", "seed": 1}', "the same sample"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(UsageError) as caught:
        read_metadata_file(file, tmp_path)
    assert said in str(caught.value) and str(tmp_path) in str(caught.value)


def test_misuse_is_one_line_and_leaves_nothing(spid: Spid, theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "pictures" / "zoe.png", 0)
    draw(tmp_path / "people" / "anna.png", 0)
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    for arguments, said in (
        ([tmp_path / "absent"], "no such folder"),
        ([tmp_path / "empty"], "holds no pictures"),
        ([theirs, "--prompts", tmp_path / "two.txt"], "Give one of the two"),
        ([tmp_path / "pictures", "--prompts", tmp_path / "two.txt"], "2 prompts for 1 pictures"),
        ([tmp_path / "pictures", "--reference", tmp_path / "people"], "nobody of --reference"),
        ([tmp_path / "pictures", "--reference", tmp_path / "nobody.png"], "no such file"),
        ([tmp_path / "pictures", "--metrics", "id_simm"], "Did you mean 'id_sim'"),
        ([tmp_path / "pictures", "--pictures", "drawing"], "--pictures"),
        ([tmp_path / "pictures", "--device", "warp"], "'warp'"),
    ):
        done = spid("score", *arguments, "--output", tmp_path / "out")
        assert done.code == 2 and said in done.err, (arguments, done.err)
        assert not (tmp_path / "out").exists()
