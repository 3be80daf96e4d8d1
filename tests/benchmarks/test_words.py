"""The methods of a run: which can be loaded, and what `{person}` becomes for each."""

from __future__ import annotations

import pytest
from people import somebody
from tiny import tiny_backbone

from benchmarks.prepare import _load_methods, _words
from benchmarks.request import Request, parse_method
from benchmarks.suites import load_suite
from methods.errors import WeightsError
from methods.fitting.words import place
from methods.prompts import expand
from methods.registry import get_method
from methods.uniform.method import Uniform


def test_fitted_methods_get_the_word_that_they_replace_and_others_the_noun() -> None:
    backbone = tiny_backbone("sd1")
    fitted = get_method("textual-inversion").untrained(backbone)
    words = _words(fitted, {"hash": somebody(3)})
    assert words == {"hash": "person"}
    assert place(backbone.text, expand("a photo of a {person}", words["hash"]), 1) is not None
    assert _words(Uniform.untrained(backbone), {"hash": somebody(3)}) == {}


def test_what_all_names_and_cannot_run_is_left_out_with_the_reason() -> None:
    backbone, specs = tiny_backbone("sd1"), [parse_method("none"), parse_method("uniform")]
    suite = load_suite("smoke")
    for wanted in (("all",), ("all", "none")):
        loaded, left_out = _load_methods(specs, Request("smoke", wanted), suite, backbone)
        assert list(loaded) == ["none"] and list(left_out) == ["uniform"]
        assert "weights" in left_out["uniform"]
    for wanted in (("none", "uniform"), ("all", "uniform")):
        with pytest.raises(WeightsError):  # whoever is asked for by name must be there
            _load_methods(specs, Request("smoke", wanted), suite, backbone)
