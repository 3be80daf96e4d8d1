"""What `{person}` becomes in a run: methods that fit a word find a place for it in every prompt."""

from __future__ import annotations

from people import somebody
from tiny import tiny_backbone

from benchmarks.runner import _words
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
