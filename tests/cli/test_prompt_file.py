"""The prompt-file dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.errors import UsageError
from spatialid_cli.prompt_file import PromptLine, parse_line, read_prompt_file


def test_plain_lines_comments_and_empty_lines(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa cat\n\n# not this\n   a dog  \r\n", encoding="utf-8")
    assert read_prompt_file(file) == [PromptLine("a cat"), PromptLine("a dog")]


def test_every_flag_of_a_line() -> None:
    line = "a {person} -- dashed, well-lit --n blurry, bad text --w 128 --h 64 --d 7 --l 4.5 --s 30"
    assert parse_line(line, "here") == PromptLine(
        "a {person} -- dashed, well-lit",
        negative_prompt="blurry, bad text",
        width=128,
        height=64,
        seed=7,
        guidance=4.5,
        steps=30,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a cat --x 3", "unknown flag --x"),
        ("a cat --w wide", "--w 'wide' is not a number"),
        ("a cat --s", "--s '' is not a number"),
        ("--s 3", "no prompt"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(f"fine\n{line}\n")
    with pytest.raises(UsageError, match=message) as caught:
        read_prompt_file(file)
    assert "line 2" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xff\xfe\x00"])
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="prompts.txt"):
        read_prompt_file(file)
