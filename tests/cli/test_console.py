"""Tables as a terminal of any width gets them, and as a file does."""

from __future__ import annotations

import re
import sys

import pytest

from spatialid_cli import console

COLUMNS = ["method", "metric", "before", "95 % interval", "why"]
ROWS = [
    ["uniform", "attr_clothing_color", "0.8333", "[+0.0000, +0.0000]", "a [text] of a good many words " * 3],
    ["none", "id_sim", "0.2", "n/a", ""],
]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_terminal_gets_every_word_whatever_its_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.out_table(COLUMNS, ROWS)
    shown = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for row in [COLUMNS, *ROWS]:
        assert all(cell in shown for cell in row[:-1])
    assert len(re.findall("words", shown)) == 3
    if width == 200:
        assert max(map(len, shown.splitlines())) <= width


def test_a_file_gets_aligned_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.out_table(["a", "long name"], [["first", "x"], ["2", "y"]], title="two")
    assert capsys.readouterr().out == "two\na      long name\nfirst  x\n2      y\n"
