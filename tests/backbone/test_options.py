"""Configuration, prompts and names: strict, and helpful when wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from methods.config import build, load_yaml
from methods.errors import UsageError
from methods.prompts import expand
from methods.registry import get_method, method_info, method_names


@dataclass(frozen=True)
class Options:
    weight: float = 1.0
    steps: int = 25
    preset: Literal["readme", "ibench"] = "readme"
    floors: tuple[float, ...] = ()
    floor: float | None = None
    on: bool = False
    names: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight is negative.")


def test_options_from_yaml(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text("weight: 2\npreset: ibench\nfloors: [0, 0.5]\nfloor: null\nnames: {a: 1}\n")
    options = build(Options, load_yaml(path), where="test")
    assert options == Options(2.0, 25, "ibench", (0.0, 0.5), None, False, {"a": 1})
    path.write_text("")
    assert build(Options, load_yaml(path), where="test") == Options()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wieght": 1.0}, "Did you mean 'weight'"),
        ({"weight": "1"}, "weight is '1'; it must be a number"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is true"),
        ({"on": 1}, "on is 1"),
        ({"preset": "readm"}, "Did you mean 'readme'"),
        ({"floor": "low"}, "floor is 'low'"),
        ({"weight": -1.0}, "weight is negative"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(UsageError, match=said):
        build(Options, options, where="test")


@pytest.mark.parametrize("text", ["a: [", "- a\n- b", "!!python/object/apply:os.system [echo]", "\x00"])
def test_bad_yaml(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="bad.yaml"):
        load_yaml(path)
    with pytest.raises(UsageError, match="absent"):
        load_yaml(tmp_path / "absent.yaml")


def test_prompts():
    assert expand("a {person} and {id} at {{home}}") == "a person and person at {home}"
    assert expand("{id} smiling", "sks") == "sks smiling"
    for bad in ("a {persn}", "a {person", "a {}", "a {0}", "a {person!r} {x}"):
        with pytest.raises(UsageError):
            expand(bad)


def test_names():
    assert method_names()[0] == "none" and {"uniform", "spatialid"} <= set(method_names())
    for name in method_names():
        assert method_info(name) is get_method(name).info
        assert method_info(name).name == name
    with pytest.raises(UsageError, match="Did you mean 'uniform'"):
        get_method("unifrom")
