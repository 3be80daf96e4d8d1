"""A ledger small enough to be written many times: five rendered people, one prompt, 64 px, two steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from people import open_pack
from tiny import tiny_backbone, tiny_folder

from benchmarks.claims.study import Settings
from methods.uniform.method import Uniform

SUITE = """
name: mini
description: For tests.
steps: 2
size: [64, 64]
identities:
  five: [{pocket: [10000400, 10000401, 10000402, 10000403, 10000404]}]
prompts:
  one:
    - {text: "a photo of a {person} on a beach", category: Background, truth: {scene: beach}}
"""

CLAIMS = """
paper: "A paper <b>of</b> its own"
arxiv: "0000.00000"
experiments:
  - name: mine
    title: Uniform injection and itself
    suite: SUITE
    variants:
      uniform: uniform
      A: spatialid[preset=A]
      weak: uniform[id_weight=0.0]
      special: {method: uniform, weights: special-weights, recipe: spid train uniform}
  - name: hours
    title: Takes hours
    suite: SUITE
    on_request: true
    variants: {uniform: uniform, fitted: "textual-inversion[steps=3]"}
  - name: time
    title: Time
    kind: seconds
    suite: SUITE
    repeats: 5
    variants: {uniform: uniform, weak: "uniform[id_weight=0.0]"}
claims:
  - id: same
    title: preset A is uniform
    statement: "No mask, <script>alert(1)</script>"
    source: nowhere
    operationalised: by difference
    experiment: mine
    people: 5
    effect: {metric: background_leakage, treatment: A, control: uniform}
    rule: {kind: kept, margin: 0.0001}
  - id: changes
    title: identity changes the picture
    statement: It does.
    source: nowhere
    operationalised: by difference
    experiment: mine
    people: 5
    effect: {metric: background_leakage, treatment: weak, control: uniform}
    rule: {kind: superior, expect: lower, least: 0.0000001}
  - id: special
    title: special weights help
    statement: They do.
    source: nowhere
    operationalised: by difference
    experiment: mine
    people: 5
    effect: {metric: background_leakage, treatment: special, control: uniform}
    rule: {kind: superior, expect: lower}
  - id: elsewhere
    title: needs the pocket world
    statement: It does.
    source: nowhere
    operationalised: by truth
    experiment: mine
    people: 5
    effect: {metric: {pocket: attr}, treatment: A, control: uniform}
    rule: {kind: superior, expect: higher}
  - id: slow
    title: takes hours
    statement: It does.
    source: nowhere
    operationalised: slowly
    experiment: hours
    people: 5
    effect: {metric: background_leakage, treatment: fitted, control: uniform}
    rule: {kind: superior, expect: lower}
  - id: time
    title: no identity costs no more than ten times
    statement: It does.
    source: nowhere
    operationalised: by the clock
    experiment: time
    people: 5
    effect: {metric: seconds, treatment: weak, control: uniform, ratio: true}
    rule: {kind: at_most, bound: 10}
"""


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of `uniform` for the tiny backbone; `spatialid` reads the same."""
    folder = tmp_path_factory.mktemp("adapter")
    Uniform.untrained(tiny_backbone("sd1")).save(folder)
    return folder


@pytest.fixture(scope="session")
def claims_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    (folder / "suite").mkdir()
    suite = folder / "suite" / "mini.yaml"
    suite.write_text(SUITE)
    (folder / "mine.yaml").write_text(CLAIMS.replace("SUITE", str(suite)))
    return folder


@pytest.fixture
def settings(adapter: Path, pocket_weights: Path) -> Callable[..., Settings]:
    """Settings for the tiny backbone; keywords replace fields."""

    def make(**changes: Any) -> Settings:
        fields: dict[str, Any] = {
            "backbone": {"name_or_path": str(tiny_folder("sd1")), "device": "cpu", "face_encoder": "pocket"},
            "weights": {"uniform": str(adapter), "spatialid": str(adapter)},
            "models": {"face": str(open_pack())},
        }
        return Settings(**{**fields, **changes})

    return make
