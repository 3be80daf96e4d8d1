"""The one door for text files: what is opened, how it is decoded, what YAML and JSON may hold."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from methods import textfile
from methods.errors import UsageError, WeightsError
from methods.textfile import parse_json, parse_yaml, read_json, read_lines, read_text, read_yaml


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_only_ordinary_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is not an ordinary file"):
            read_text(path)
    with pytest.raises(UsageError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(UsageError, match="cannot be read"):
        read_text(tmp_path / "a\0b")
    with pytest.raises(UsageError, match="cannot be read"):
        read_text(tmp_path / ("a" * 5000))


def test_a_file_of_another_size_than_meant_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(textfile.MAX_BYTES + 1)  # takes no room on the disk
    with pytest.raises(UsageError, match="is larger than 64 MB"):
        read_text(tmp_path / "large")
    with pytest.raises(UsageError, match="is larger than 4 MB"):
        read_yaml(tmp_path / "large")


def test_a_byte_order_mark_is_no_letter_and_lines_end_at_newlines_only(tmp_path: Path) -> None:
    (tmp_path / "names").write_bytes("\ufeffAnna Ö\r\nBen\u2028Ces\x0b\x0c\x85 x\n\nlast".encode())
    assert read_lines(tmp_path / "names") == ["Anna Ö", "Ben\u2028Ces\x0b\x0c\x85 x", "", "last"]
    (tmp_path / "names").write_bytes(b"")
    assert read_lines(tmp_path / "names") == []


def test_other_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "wide").write_text("Anna", encoding="utf-16")
    with pytest.raises(UsageError, match="UTF-16"):
        read_text(tmp_path / "wide")
    (tmp_path / "latin").write_bytes("Bjö".encode("latin-1"))
    with pytest.raises(UsageError, match=r"is not UTF-8 text \(byte 2\)"):
        read_text(tmp_path / "latin")


def test_yaml_is_the_core_of_1_2() -> None:
    text = (
        "a: [1, -2.5, 1e-4, .5, 0x1f, 010]\nb: [no, on, 12:30, 2020-99-99, 1_0]\nc: [true, ~, null, .inf]\n"
    )
    assert parse_yaml(text, "here") == {
        "a": [1, -2.5, 1e-4, 0.5, 31, 10],
        "b": ["no", "on", "12:30", "2020-99-99", "1_0"],
        "c": [True, None, None, float("inf")],
    }
    assert parse_yaml("", "here") is None
    assert parse_yaml("name: 'off'\nversion: '1'", "here") == {"name": "off", "version": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "here, line 3: .*'a' is given twice"),
        ("a: {b: 1, b: 2}", "'b' is given twice"),
        ("!!int x", "not what its tag says"),
        ("a: !!float x", "not what its tag says"),
        ("a: !!timestamp 2020-01-01", "timestamp is not read"),
        ("!!python/object/apply:os.system [ls]", "is not read"),
        ("a: !!map [1]", "by its tag"),
        ("a: !!seq {}", "by its tag"),
        ("a: &x 1\nb: *x", "anchors and aliases"),
        ("a: &a [*a]", "anchors and aliases"),
        ("[" * 3000, "nested too deeply"),
        ("- " * 3000, "nested too deeply"),
        (f"a: {'1' * 5000}", "too many digits"),
        ("1: x", "the key '1' is not text"),
        ("? [a]\n: 1", "is not text"),
        ("null: x", "is not text"),
        ("a: \0", "not readable YAML"),
        ("a: 'x", "not readable YAML"),
        ("a: 1\n---\nb: 2", "another document"),
        ("%YAML 9.1\n---\na", "version"),
    ],
)
def test_yaml_of_another_kind_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        parse_yaml(text, "here")
    assert "\n" not in refused.value.message and len(refused.value.message) < 300


def test_a_yaml_file_holds_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for content, held in (("- 1", "a list"), ("word", "text"), ("1", "a number"), ("true", "a truth value")):
        file.write_text(content)
        with pytest.raises(UsageError, match=f"a.yaml: holds {held}"):
            read_yaml(file)
    file.write_text("\ufeff# nothing\n", encoding="utf-8")
    assert read_yaml(file) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested too deeply"),
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', "out of range"),
        ('{"a": ' + "1" * 5000 + "}", "too many digits"),
        ("[]", "holds a list, not an object"),
        ("null", "holds nothing, not an object"),
        ('{"a": 1', "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_json_of_another_kind_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as refused:
        parse_json(text, "here", error=WeightsError)
    assert "\n" not in refused.value.message and len(refused.value.message) < 200


def test_json_files_say_which_key_they_lack(tmp_path: Path) -> None:
    value: dict[str, Any] = {"a": [1.5, "ö", {"b": None}]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json", keys=["a"]) == value
    with pytest.raises(UsageError, match="a.json: has no 'b'"):
        read_json(tmp_path / "a.json", keys=["b"])
