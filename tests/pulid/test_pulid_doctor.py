"""`spid doctor` knows every public file that PuLID needs, its size and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from command import Spid

from methods.downloads import catalogue
from methods.pulid import files
from methods.pulid.files import needed_files


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of them."""
    monkeypatch.setenv("SPID_MODELS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(files, "eva_file", lambda: None)
    return tmp_path


def test_missing_files_are_listed_with_size_digest_and_command(spid: Spid) -> None:
    answer = spid("doctor", "--json").json
    facts = answer["facts"]["pulid on FLUX"]
    assert len(facts) == 5 and all(text.startswith("missing") for text in facts.values())
    assert "856.2 MB; sha256 f753bca0e832" in facts["EVA02-L-14-336 open_clip_model.safetensors"]
    [gap] = [item for item in answer["optional"] if "pulid on FLUX lacks 5" in item["what"]]
    names = ["pulid-flux", "eva02-clip", "antelopev2", "face-parser"]
    assert gap["fix"] == " && ".join(f"spid fetch {name}" for name in names)


def test_what_is_fetched_is_what_is_checked() -> None:
    """One truth for sizes and digests of whole files, in the catalogue and here."""
    known = {file.sha256: file.size for entry in catalogue().values() for file in entry.files}
    for file in needed_files():
        assert file.fetch in catalogue()
        if file.fetch in ("eva02-clip", "face-parser"):
            assert known[file.sha256] == file.size


def test_a_file_is_told_from_another(empty: Path, spid: Spid, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"weights"
    (empty / "parsing_bisenet.pth").write_bytes(content)
    facts = spid("doctor", "--json").json["facts"]["pulid on FLUX"]
    assert "is not the published file" in facts["parsing_bisenet.pth"]
    [parser] = [file for file in needed_files() if file.fetch == "face-parser"]
    own = replace(parser, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(files, "needed_files", lambda: [own])
    facts = spid("doctor", "--json").json["facts"]["pulid on FLUX"]
    assert facts["parsing_bisenet.pth"].endswith("parsing_bisenet.pth, as published")
