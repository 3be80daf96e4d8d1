"""Words of others on their way to terminals and tables, and placeholders of prompts."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.request import Request
from methods.errors import UsageError
from methods.prompts import MAX_LETTERS, expand, weights_in
from methods.words import csv_cell, visible
from spatialid_cli import console
from spatialid_cli.outputs import csv_table, markdown_table

EVIL = "a\x1b[31m\x00\r\n\x9b2J\u2028\u202eb\udcff"
WRITTEN = r"a\x1b[31m\x00\r\n\x9b2J\u2028\u202eb\udcff"


def test_control_characters_are_written_out_and_letters_are_not() -> None:
    assert visible(EVIL) == WRITTEN
    assert visible("Ünïcode 人 👩‍🚀 [x] a\\b") == "Ünïcode 人 👩‍🚀 [x] a\\b"
    assert visible("a\nb\tc", keep="\n\t") == "a\nb\tc"


def test_every_way_to_the_terminal_passes_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    console.out(EVIL)
    console.out_table(["a"], [[EVIL]], title=EVIL)
    console.out_fields({"a": EVIL})
    console.log(EVIL)
    console.warn(EVIL)
    console.error(EVIL, EVIL)
    with console.progress(EVIL) as advance:
        advance(0, 2, EVIL)
        advance(2, 2, EVIL)
    shown = "".join(capsys.readouterr())
    assert shown and all(one in "\n\t" or one.isprintable() for one in shown)


def test_tables_and_bars_on_a_terminal_pass_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    console.out_table(["a"], [[EVIL]])
    with console.progress(EVIL) as advance:
        advance(1, 2, EVIL)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, Terminal)
        assert WRITTEN in stream.getvalue() and not {"\x00", "\x9b", "\u2028"} & set(stream.getvalue())


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\uff1d"])
def test_a_table_holds_no_formulas(start: str) -> None:
    assert str(csv_cell(f"{start}cmd|'/c calc'!A0")).startswith("'")
    record = {"prompt": f"{start}1+1\x1b[2J", "seed": -5, "guidance": 4.5}
    (row,) = csv.DictReader(io.StringIO(csv_table([record])))
    assert row["prompt"].startswith("'") and "\x1b" not in row["prompt"]
    assert (row["seed"], row["guidance"]) == ("-5", "4.5")
    assert "\x1b" not in markdown_table([record])


def test_only_person_and_id_are_placeholders() -> None:
    assert expand("a {person}, {id}: {{x}} }}", "woman") == "a woman, woman: {x} }"
    assert expand("{{{person}}}") == "{person}"
    for wrong in (
        "{person:1.3}", "{person!r}", "{person.x}", "{person[0]}", "{person:>2000000000}", "{0}", "{}",
    ):  # fmt: skip
        with pytest.raises(UsageError, match="unknown placeholder"):
            expand(f"a {wrong} b")
    for wrong in ("{", "a } b", "{person", "{id}}"):
        with pytest.raises(UsageError, match="unbalanced"):
            expand(wrong)


def test_a_prompt_is_text_of_some_length() -> None:
    with pytest.raises(UsageError, match="is not Unicode"):
        expand("a \udcff b")
    with pytest.raises(UsageError, match="letters") as refused:
        expand("a" * (MAX_LETTERS + 1))
    assert len(refused.value.message) < 200


def test_prompt_weights_of_other_programs_are_found() -> None:
    assert weights_in("a (red hat:1.2) on a dog") == "(red hat:1.2)"
    assert weights_in("a portrait (oil on canvas), ratio 1:2") is None


def run(*arguments: str, closed: str = "", encoding: str = "utf-8", out: object = subprocess.PIPE) -> tuple:
    """`spid suites` in a process of its own, with streams closed by the shell."""
    command = f'exec "$0" -m spatialid_cli.app "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments],
        stdout=out,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PYTHONIOENCODING": encoding,
        },
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_a_narrow_encoding_does_not_end_a_command(tmp_path: Path) -> None:
    said = PngInfo()
    said.add_itxt("parameters", "a \u4eba on a hill")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=said)
    code, out, err = run("show", str(tmp_path / "a.png"), encoding="cp1252")
    assert code == 0 and rb"a \u4eba on a hill" in out, err
    code, out, _ = run("bench", "--suite", "\u4eba\u0101", encoding="cp1252")
    assert code == 2
    code, _, err = run("suites", "\u4eba\u0101", encoding="cp1252")
    assert code == 2 and r"\u4eba\u0101" in err and "Traceback" not in err


def test_closed_and_full_streams_are_told_in_one_line() -> None:
    code, _, err = run("suites", closed=">&-")
    assert code == 1 and "standard output: it is closed" in err and "Traceback" not in err
    code, out, _ = run("suites", closed="2>&-")
    assert code == 0 and b"smoke" in out
    code, _, _ = run("suites", "nonesuch", closed="2>&- >&-")
    assert code == 2
    if Path("/dev/full").exists():
        code, _, err = run("suites", closed=">/dev/full")
        assert code == 1 and "No space left" in err and "--debug" not in err
        assert run("suites", closed="2>/dev/full")[0] == 0


def test_a_quoted_word_without_an_end_is_shortened() -> None:
    """A key of 7,000 letters in a damaged request.json (fuzz, seed 104)."""
    with pytest.raises(UsageError, match=r"asks for 'model1{50,100}\.\.\. which this version") as caught:
        Request.from_dict({"suite": "smoke", "model" + "1" * 7000: 1})
    assert len(caught.value.message) < 300
    assert UsageError("a" * 900).message == "a" * 900
