"""A pack on disk, and a cache that no test shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from square_pack import write_pack


@pytest.fixture(scope="session")
def pack(tmp_path_factory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packs") / "squares")


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
