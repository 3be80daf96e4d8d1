"""A bench picture says how it was made, and is made again from it, wherever one stands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folders import contents, pictures, rows
from typer.testing import CliRunner

from benchmarks.request import Request
from benchmarks.runner import bench
from methods.errors import UsageError
from methods.images import load_picture, pixels_hash, read_metadata
from spatialid_cli.app import app


def spid(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def run(tmp_path: Path, ask: Callable[..., Request], adapter: Path) -> Path:
    """A run with an adapter of one's own, in a folder that moved since."""
    shutil.copytree(adapter, tmp_path / "own")
    bench(ask(adapters={"uniform": str(tmp_path / "own")}), tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / "run")
    return tmp_path / "run"


def picture_of(run: Path, method: str) -> Path:
    return run / next(row["picture"] for row in rows(run) if row["method"] == method and row["picture"])


def test_every_picture_has_the_text_of_viewers_and_the_whole_job(run: Path) -> None:
    for path in pictures(run):
        found = read_metadata(path)
        job = found["spid"]
        assert found["parameters"].splitlines()[0] == job["prompt_expanded"]
        assert {"prompt", "seed", "steps", "code", "face_select", "batch_size", "adapter"} <= job.keys()
        if job["method"] == "uniform":
            assert job["adapter"] == str(run.parent / "own") and len(job["adapter_sha256"]) == 64


@pytest.mark.parametrize("method", ["none", "uniform"])
def test_it_is_made_again_bit_for_bit_from_another_directory(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = picture_of(run, method)
    done = spid("generate", "--from", os.path.relpath(source), "--output", "again", "--json")
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)["pictures"]
    assert record["same_pixels"] is True and record["changed"] == []
    again = load_picture(tmp_path / "elsewhere" / "again" / record["file"])
    assert pixels_hash(again) == pixels_hash(load_picture(source))
    shown = json.loads(spid("show", source, "--json").stdout)
    remade = json.loads(spid("show", tmp_path / "elsewhere" / "again" / record["file"], "--json").stdout)
    assert shown["spid"]["seed"] == remade["spid"]["seed"] and shown["parameters"] == remade["parameters"]


def test_moved_files_can_be_given_and_others_are_refused(run: Path, tmp_path: Path, adapter: Path) -> None:
    source = picture_of(run, "uniform")
    (tmp_path / "own").rename(tmp_path / "moved")
    missing = spid("generate", "--from", source, "--output", tmp_path / "a")
    assert isinstance(missing.exception, UsageError) and "--adapter" in (missing.exception.hint or "")
    given = spid("generate", "--from", source, "--adapter", tmp_path / "moved", "--output", tmp_path / "b")
    assert given.exit_code == 0, given.output
    config = tmp_path / "moved" / "config.json"
    config.write_text(config.read_text() + " ")
    other = spid("generate", "--from", source, "--adapter", tmp_path / "moved", "--output", tmp_path / "c")
    assert isinstance(other.exception, UsageError) and "is not the adapter" in str(other.exception)


def test_other_pixels_are_exit_1_and_a_field(run: Path, tmp_path: Path) -> None:
    from methods.images import save_png

    source = picture_of(run, "none")
    picture = load_picture(source)
    picture.putpixel((0, 0), (1, 2, 3))
    save_png(tmp_path / "touched.png", picture, job=read_metadata(source)["spid"])
    done = spid("generate", "--from", tmp_path / "touched.png", "--output", tmp_path / "a", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["pictures"][0]["same_pixels"] is False


def test_a_run_is_taken_up_from_another_directory(
    tmp_path: Path, suite_file: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny import tiny_folder

    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    shutil.copy(suite_file, home / "mini.yaml")
    shutil.copytree(adapter, home / "own")
    monkeypatch.chdir(home)
    done = spid(
        "bench", "--suite", "mini.yaml", "--methods", "none,uniform", "--adapter", "uniform=own",
        "--backbone", tiny_folder("sd1"), "--face-encoder", "pocket", "--metrics", "attr_scene",
        "--device", "cpu", "--output", "run",
    )  # fmt: skip
    assert done.exit_code in (0, 1), done.output
    whole = contents(home / "run")
    (home / "run" / next(name for name in whole if name.startswith("pictures"))).unlink()
    (home / "run").rename(elsewhere / "run")
    monkeypatch.chdir(elsewhere)
    again = spid("bench", "--resume", "--output", "run")
    assert again.exit_code == done.exit_code, again.output
    assert contents(elsewhere / "run") == whole


def test_what_an_option_names_counts_by_content(
    tmp_path: Path, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.fingerprint import describe_method, pixels_of_method
    from methods.textual_inversion.config import Config
    from methods.textual_inversion.method import TextualInversion

    def pixels(path: Path) -> str:
        method = TextualInversion(Config(init="celebrity", celebrities=str(path)))
        return pixels_of_method({}, describe_method("x", method, {}))

    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("Ada Lovelace\n")
    two.write_text("Ada Lovelace\n")
    assert pixels(one) == pixels(two)
    two.write_text("Emmy Noether\n")
    assert pixels(one) != pixels(two)
