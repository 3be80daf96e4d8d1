"""A suite small enough to be run many times: two rendered people, three prompts, 64 px, two steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_backbone, tiny_folder

from benchmarks.request import Request
from methods.uniform.method import Uniform

SUITE = """
name: mini
description: For tests.
steps: 2
size: [64, 64]
identities:
  two: [{pocket: [10000300, 10000301]}]
prompts:
  three:
    - {text: "a photo of a {person} on a beach", category: Background, truth: {scene: beach}}
    - {text: "a photo of a {person}", category: Attribute}
    - {text: "the red beach", category: Style}
"""


@pytest.fixture(scope="session")
def suite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("suite") / "mini.yaml"
    file.write_text(SUITE)
    return file


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of `uniform` for the tiny backbone."""
    folder = tmp_path_factory.mktemp("adapter")
    Uniform.untrained(tiny_backbone("sd1")).save(folder)
    return folder


@pytest.fixture
def ask(suite_file: Path, adapter: Path, pocket_weights: Path) -> Callable[..., Request]:
    """A request for the small suite with `none` and `uniform`; keywords replace its fields."""

    def make(**changes: Any) -> Request:
        fields: dict[str, Any] = {
            "suite": str(suite_file),
            "methods": ("none", "uniform"),
            "backbone": {"name_or_path": str(tiny_folder("sd1")), "device": "cpu", "face_encoder": "pocket"},
            "adapters": {"uniform": str(adapter)},
            "metrics": ("attr_scene", "leak_scene"),
        }
        return Request(**{**fields, **changes})

    return make
