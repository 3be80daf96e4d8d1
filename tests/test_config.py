"""Options of dataclasses from YAML values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
import yaml

from methods.config import build, read_setting
from methods.errors import UsageError


@dataclass(frozen=True)
class Options:
    shift: Literal["mean", "full", "off"] = "mean"
    kind: Literal["a", "b"] = "a"


def test_a_bare_off_is_the_word_where_the_option_has_it() -> None:
    assert build(Options, yaml.safe_load("shift: off"), where="here").shift == "off"
    assert build(Options, yaml.safe_load("shift: 'off'"), where="here").shift == "off"
    with pytest.raises(UsageError, match="here: kind"):
        build(Options, yaml.safe_load("kind: off"), where="here")


def test_a_setting_is_a_key_and_a_yaml_value() -> None:
    read = {
        text: read_setting(text, where="here", example="a=1") for text in ("a = 0.5", "b.c=[1, 2]", "d=x=y")
    }
    assert list(read.values()) == [("a", 0.5), ("b.c", [1, 2]), ("d", "x=y")]
    assert read_setting("a=", where="here", example="a=1") == ("a", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "here is not key=value. For example: a=1"),
        ("=1", "here is not key=value. For example: a=1"),
        (
            "a=[1",
            "here: is not readable YAML (expected ',' or ']', but got '<stream end>')."
            " Quote it, for the shell too: 'a=\"text\"'",
        ),
    ],
)
def test_a_setting_of_another_form_is_refused_with_an_example(text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_setting(text, where="here", example="a=1")
    assert str(refused.value) == said
