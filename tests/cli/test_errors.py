"""Misuse and failure: one line, what to do next, and the right exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import Spid

from methods import images

PLAIN = ["generate", "--prompt", "x", "--method", "none"]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["dokter"], "No such command 'dokter'", "See spid --help."),
        (["generate", "--stepz", "3"], "No such option: --stepz", "See spid generate --help."),
        (["generate", "--method"], "requires an argument", "See spid generate --help."),
        (["generate", "--steps", "many"], "--steps", "See spid generate --help."),
        (["generate"], "There is no prompt.", "--prompt"),
        (["generate", "--prompt", "x", "--method", "spatialld"], "'spatialld'", "Did you mean 'spatialid'?"),
        (["generate", "--prompt", "x", "--compare", "unifrom"], "'unifrom'", "Did you mean 'uniform'?"),
        (["generate", "--prompt", "x"], "needs a reference", "spid render"),
        (["generate", "--prompt", "x", "--reference", "no/such.png"], "no/such.png", "Check the path."),
        (["generate", "--prompt", "x", "--id", "anna"], "--id 'anna'", "anna=people/anna.png"),
        (["generate", "--prompt-file", "no/such.txt"], "no/such.txt", "one prompt a line"),
        (["generate", "--from", "no/such.png"], "no/such.png", "Check the path."),
        ([*PLAIN, "--backbone", "nonesuch"], "nonesuch", "a hub id"),
        ([*PLAIN, "--backbone", "pokcet"], "pokcet", "Did you mean 'pocket'?"),
        ([*PLAIN, "--backbone", "sd1.5"], "sd1.5", "Did you mean 'sd15'?"),
        (
            [*PLAIN, "--device", "cdua"],
            "'cdua'",
            "Did you mean 'cuda'?",
        ),
        ([*PLAIN, "--revision", "a"], "no revision 'a'", "hub ids"),
        (
            [*PLAIN, "--backbone-config", "a"],
            "own",
            "single .safetensors",
        ),
        (["generate", "--from", "x.png", "--steps", "3"], "takes no --steps.", "--deterministic"),
        (["bench", "--resume", "--output", "x", "--limit", "3"], "takes no --limit.", "Leave out --resume"),
        (["claims", "--resume", "--limit", "3"], "takes no --limit.", "Leave out --resume"),
        (["show", "no/such.png"], "no/such.png", "Check the path."),
        (["methods", "unifrom"], "'unifrom'", "Did you mean 'uniform'?"),
        (["claims", "--list", "--only", "qqq"], "Unknown claim 'qqq'.", "spid claims --list"),
        (["report", "x", "--output", "."], "--output .: is a folder.", "HTML file"),
        (["metrics", "qqq"], "Unknown metric 'qqq'.", "spid metrics lists them."),
        (["render", "--scene", "beech"], "--scene 'beech'", "Did you mean 'beach'?"),
        (["render", "--celebrity", "mira solana"], "'mira solana'", "Did you mean 'mira solano'?"),
        (["render", "--person", "-1"], "--person", "See spid render --help."),
    ],
)
def test_misuse_is_one_line_a_hint_and_exit_code_2(
    spid: Spid, arguments: list[str], error: str, hint: str
) -> None:
    outcome = spid(*arguments)
    first, second = outcome.err.strip().splitlines()
    assert outcome.code == 2
    assert first.startswith("error: ") and error in first
    assert hint in second
    assert outcome.out == ""


def test_a_second_reference_of_one_name_is_another_photograph(spid: Spid, face: Path) -> None:
    outcome = spid("generate", "--prompt", "x", "--id", f"a={face}", "--id", "a=no/such.png")
    assert outcome.code == 2
    assert "no/such.png" in outcome.err


def test_an_absent_backbone_is_named_before_its_face_encoder(spid: Spid, face: Path) -> None:
    outcome = spid("generate", "--prompt", "x", "--reference", face, "--backbone", "absent.safetensors")
    assert outcome.code == 2
    assert "No backbone at" in outcome.err and "absent.safetensors" in outcome.err


@pytest.mark.parametrize(
    "arguments", [["generate", "--prompt", "x"], ["bench", "--suite", "smoke"], ["claims"], ["render"]]
)
def test_an_output_that_is_a_file_is_refused_before_any_work(
    spid: Spid, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    outcome = spid(*arguments, "--output", tmp_path / "taken")
    assert outcome.code == 2
    assert f"--output {tmp_path / 'taken'}: is a file." in outcome.err


def test_a_run_goes_to_outputs_not_among_the_reference_results(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outputs").mkdir()
    Path("outputs/smoke").write_text("a file, not a folder")
    assert "--output outputs/smoke: is a file." in spid("bench", "--suite", "smoke").err


def test_set_without_value_is_refused(spid: Spid, face: Path) -> None:
    outcome = spid("generate", "--prompt", "x", "--reference", face, "--set", "preset")
    assert outcome.code == 2
    assert "--set 'preset'" in outcome.err


def test_a_picture_without_description_is_refused_by_show(spid: Spid, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    outcome = spid("show", tmp_path / "plain.png")
    assert outcome.code == 2
    assert "plain.png" in outcome.err


def test_an_unwritable_place_is_a_failure_with_exit_code_1(spid: Spid, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    outcome = spid("render", "--person", "1", "--size", "64", "--output", tmp_path / "taken" / "below")
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")


def test_an_unexpected_exception_is_one_line_without_debug(
    spid: Spid, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("something\nunforeseen")

    monkeypatch.setattr(images, "read_metadata", broken)
    outcome = spid("show", face)
    assert outcome.code == 1
    assert (
        outcome.err
        == "error: RuntimeError: something unforeseen\n  Run it again with --debug to see where.\n"
    )
    with pytest.raises(RuntimeError, match="unforeseen"):
        spid("show", face, "--debug")


def test_an_interrupt_ends_in_one_word(spid: Spid, face: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "read_metadata", interrupt)
    outcome = spid("show", face)
    assert (outcome.code, outcome.err) == (130, "interrupted\n")
