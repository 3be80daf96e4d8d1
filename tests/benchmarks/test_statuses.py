"""What a run says of samples that are not ok, and which of them make it fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from checkout import face
from folders import rows

from benchmarks.request import Request
from benchmarks.runner import Outcome, bench
from spatialid_cli.app import main
from spatialid_cli.bench import _report

Ask = Callable[..., Request]

SUITE = """
name: two-faced
description: A reference with two people, and one with one.
steps: 1
size: [64, 64]
identities:
  all: [{name: both, picture: both.png}, {name: one, picture: one.png}]
prompts:
  all: ["a photo of a {person}"]
"""


def test_several_faces_in_a_reference_end_no_run(tmp_path: Path, ask: Ask) -> None:
    from io import BytesIO

    from PIL import Image

    left, right = (Image.open(BytesIO(face(person))) for person in (10_000_401, 10_000_402))
    both = Image.new("RGB", (256, 128))
    both.paste(left, (0, 0))
    both.paste(right, (128, 0))
    both.save(tmp_path / "both.png")
    left.save(tmp_path / "one.png")
    (tmp_path / "suite.yaml").write_text(SUITE)
    request = ask(
        suite=str(tmp_path / "suite.yaml"),
        face_select="error",
        metrics=("attr_scene", "fid_clip"),  # a metric of whole methods opens every picture once more
        models={"clip": "pocket"},
    )
    outcome = bench(request, tmp_path / "run")
    assert outcome.complete
    found = {row["identity"]: row for row in rows(tmp_path / "run") if row["method"] == "uniform"}
    assert found["both"]["status"] == "multi_face" and found["both"]["picture"] is None
    assert found["one"]["picture"] is not None


PAIRS = {"listed": 1, "planned": 1, "pictures": 1}


def row(status: str, picture: str | None = "pictures/a.png") -> dict[str, Any]:
    return {
        "status": status, "picture": picture, "method": "uniform", "identity": "anna", "prompt_id": "p",
        "detail": f"why {status}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "strict", "code"),
    [
        ([], True, 0),
        ([row("no_face_gen"), row("multi_face")], False, 0),
        ([row("no_face_gen")], True, 1),
        ([row("multi_face")], True, 1),
        ([row("multi_face", None)], False, 1),
        *(([row(status)], False, 1) for status in ("error", "non_finite", "degenerate", "no_face_ref")),
    ],
)
def test_failures_and_with_strict_findings_end_with_exit_code_1(
    rows: list[dict[str, Any]], strict: bool, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = Outcome(tmp_path, True, 0, {}, rows, None, PAIRS, seconds={"wall": 1.0})
    if code:
        with pytest.raises(typer.Exit) as ended:
            _report(outcome, None, strict=strict, as_json=False)
        assert ended.value.exit_code == 1
    else:
        _report(outcome, None, strict=strict, as_json=False)
    said = capsys.readouterr().err
    assert all(f"{one['status']}: uniform, anna, p: why {one['status']}" in said for one in rows)


def test_failures_are_listed_before_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    troubles = [row("no_face_gen")] * 30 + [row("error")]
    with pytest.raises(typer.Exit):
        _report(
            Outcome(tmp_path, True, 0, {}, troubles, None, PAIRS, seconds={"wall": 1.0}),
            None,
            strict=False,
            as_json=False,
        )
    lines = [line for line in capsys.readouterr().err.splitlines() if "uniform" in line]
    assert "error" in lines[0] and all("no_face_gen" in line for line in lines[1:])


def test_the_help_says_what_the_exit_code_means(capsys: pytest.CaptureFixture[str]) -> None:
    main(["bench", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit code 1 when any of them failed" in said and "without --strict" in said
