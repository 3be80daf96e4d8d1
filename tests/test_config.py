"""Options of dataclasses from YAML values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
import yaml

from methods.config import build
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
