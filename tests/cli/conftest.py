"""A rendered person to use the command line on."""

from __future__ import annotations

from pathlib import Path

import pytest

from spatialid_cli.app import main


@pytest.fixture(scope="session")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Picture of pocket person 7."""
    folder = tmp_path_factory.mktemp("people")
    assert main(["render", "--person", "7", "--size", "256", "--output", str(folder)]) == 0
    return folder / "person-0007.png"
