"""The sheet at the top of README."""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.images import load_picture
from scripts import sheet


def test_people_are_rows_and_methods_columns(
    pocket_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sheet, "METHODS", ("none", "uniform"))
    output = tmp_path / "sheet.jpg"
    given = ["--people", "400,403", "--cell", "64", "--work", str(tmp_path / "work"), "--output", str(output)]
    assert sheet.main(given) == 0
    assert capsys.readouterr().out.strip() == str(output)
    width, height = load_picture(output).size
    assert 3 * 64 < width < 4 * 64 and 2 * 64 < height < 3.5 * 64
    assert len(list((tmp_path / "work").glob("person-*.png"))) == 2


def test_people_that_are_no_numbers_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("x", "-4", ""):
        with pytest.raises(SystemExit) as stopped:
            sheet.main([f"--people={wrong}"])
        assert stopped.value.code == 2
        assert "argument --people: invalid numbers value" in capsys.readouterr().err


def test_the_committed_one_has_all_methods_and_is_small() -> None:
    path = Path(__file__).resolve().parents[2] / "results" / "sheet.jpg"
    width, height = load_picture(path).size
    assert width > 9 * 112 and height > len(sheet.PEOPLE) * 112
    assert path.stat().st_size < 300_000
