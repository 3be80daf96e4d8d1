"""The command line in this process, as the tests of `spatialid_cli` have it."""

from __future__ import annotations

import pytest
from command import Outcome, Spid

from spatialid_cli.app import main


@pytest.fixture
def spid(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spid:
    """Run `spid` with the given arguments."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run
