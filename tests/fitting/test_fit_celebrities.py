"""Where cross-initialised words get their names from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_backbone

from methods.errors import UsageError
from methods.fitting.celebrities import celebrity_names
from methods.pocket.world.names import NAMED


def test_the_pocket_world_has_its_own() -> None:
    assert celebrity_names(None, replace(tiny_backbone("sd1"), family="pocket")) == list(NAMED)


def test_a_file_has_one_name_a_line(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\ufeffAda Lovelace\n\n  Emmy Noether \nMadonna\n")
    assert celebrity_names(str(path), tiny_backbone("sd1")) == ["Ada Lovelace", "Emmy Noether", "Madonna"]


def test_what_is_no_list(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    with pytest.raises(UsageError, match="no list of celebrities for sd1"):
        celebrity_names(None, backbone)
    with pytest.raises(UsageError, match="no such file"):
        celebrity_names(str(tmp_path / "absent.txt"), backbone)
    (tmp_path / "one.txt").write_text("Madonna\n")
    with pytest.raises(UsageError, match="no name of two words"):
        celebrity_names(str(tmp_path / "one.txt"), backbone)
