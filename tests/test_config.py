"""Options of dataclasses from YAML values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pytest

from methods.config import Count, Positive, Seed, Steps, build, options, read_setting
from methods.errors import UsageError


@options
class Inner:
    size: Count = 1


@options
class Options:
    shift: Literal["mean", "off"] = "mean"
    steps: Steps | None = None
    rate: Positive = 1e-4
    pocket: Seed | tuple[Seed, ...] | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    inner: Inner = Inner()
    people: dict[str, tuple[Inner, ...]] = field(default_factory=dict)
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name == "nobody":
            raise ValueError("nobody is no name")


@dataclass(frozen=True)
class Foreign:
    """What a plug-in may have: a plain dataclass."""

    rate: float = 1.0
    places: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"stepz": 1}, "Unknown option of here 'stepz'. Did you mean 'steps'?"),
        ({"inner": {"sise": 1}}, "Unknown option of here: inner 'sise'. Did you mean 'size'?"),
        ({"people": {"a": [{}, {"x": 1}]}}, "Unknown option of here: people.a[1] 'x'. Known: size."),
        ({"shift": "of"}, "Unknown value of here: shift 'of'. Did you mean 'off'?"),
        ({"steps": 0}, "here: steps is 0; it must be at least 1."),
        ({"steps": 1001}, "here: steps is 1001; it must be at most 1000."),
        ({"steps": True}, "here: steps is true; it must be a whole number."),
        ({"steps": 2.5}, "here: steps is 2.5; it must be a whole number."),
        ({"steps": "20"}, "here: steps is '20'; it must be a whole number."),
        ({"rate": float("nan")}, "here: rate is NaN; it must be a finite number."),
        ({"rate": float("inf")}, "here: rate is Infinity; it must be a finite number."),
        ({"rate": 1e400}, "a finite number"),
        ({"rate": 10**400}, "a finite number"),
        ({"rate": 0}, "here: rate is 0; it must be above 0."),
        ({"rate": None}, "here: rate is null; it must be a number."),
        ({"pocket": "x"}, "here: pocket is 'x'; it must be a whole number or a list."),
        ({"pocket": [1, -1]}, "here: pocket[1] is -1; it must be at least 0."),
        ({"betas": [0.9]}, "here: betas[1] is missing."),
        ({"betas": [0.9, 1, 2]}, "here: betas is [0.9, 1, 2]; it must be a list of at most 2."),
        ({"inner": 5}, "here: inner is 5; it must be a mapping."),
        ({"people": {"a": {}}}, "here: people.a is {}; it must be a list."),
        ({"name": 5}, "here: name is 5; it must be text."),
        ({"name": "nobody"}, "here: nobody is no name."),
        ({"name": "\udcff"}, "here: holds text that is not Unicode."),
        ({"name": object()}, "here: holds more than plain values"),
    ],
)
def test_what_an_option_may_not_be(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        build(Options, given, where="here")
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_values_are_kept_as_they_are_but_for_lists_and_whole_numbers() -> None:
    built = build(Options, {"rate": 1, "betas": [0, 0.5], "pocket": [1, 2], "shift": "off"}, where="here")
    assert (built.rate, built.betas, built.pocket, built.shift) == (1.0, (0.0, 0.5), (1, 2), "off")
    assert replace(built, rate=2.0) == build(Options, asdict(built) | {"rate": 2}, where="here")


def test_a_plain_dataclass_is_held_to_the_same() -> None:
    assert build(Foreign, {"rate": 2, "places": [1]}, where="here") == Foreign(2.0, (1,))
    for wrong in ({"rate": float("inf")}, {"rate": "1"}, {"places": 1}, {"rat": 1}):
        with pytest.raises(UsageError, match="here"):
            build(Foreign, wrong, where="here")


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
