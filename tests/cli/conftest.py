"""The command line in this process, and a rendered person to use it on."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Outcome, Spid

from spatialid_cli.app import main


@pytest.fixture
def spid(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spid:
    """Run `spid` with the given arguments."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picture of pocket person 7."""
    folder = tmp_path_factory.mktemp("people")
    assert main(["render", "--person", "7", "--size", "256", "--output", str(folder)]) == 0
    return folder / "person-0007.png"
