"""The figures of the quality report, the parts on real small models, and its command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metrics.models.clip import OpenClip
from methods.errors import UsageError
from methods.pocket.models import PocketModels
from methods.pocket.probes import JUDGED
from methods.pocket.world import FACTORS, caption, render, sample_context, sample_person
from methods.pocket.world.captions import UNSAID
from scripts.pocket.bars import AT_MOST, TARGETS, share, verdicts
from scripts.pocket.quality import PARTS, TWIN, measure
from scripts.pocket.realism import clipped, features, frechet
from scripts.pocket_quality import main

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/pocket_quality.py", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_share_has_a_wilson_interval() -> None:
    right = np.array([True] * 90 + [False] * 10)
    figure = share(right)
    assert figure["value"] == 0.9 and figure["n"] == 100
    np.testing.assert_allclose(figure["interval"], [0.8256, 0.9448], atol=2e-4)
    assert share(np.ones(50, bool))["interval"][1] == 1.0
    assert share(np.zeros(0, bool)) == {"value": None, "interval": None, "n": 0}


def test_verdicts_know_their_direction() -> None:
    figures = {
        "text": {"scene": {"value": 0.99}, "style": {"value": 0.5}},
        "faces": {"landmark_error": {"value": 0.02}},
    }
    found = verdicts(figures)
    assert found["text.scene"]["reached"] and not found["text.style"]["reached"]
    assert found["faces.landmark_error"]["reached"]
    assert set(found) == {"text.scene", "text.style", "faces.landmark_error"}


def test_the_quality_model_ranks_damage() -> None:
    found = measure(["quality"], count=100)["quality"]
    assert found["rank_correlation"]["value"] > 0.8
    assert found["rank_correlation"]["n"] == 100 and found["mean_error"]["value"] < 0.1


def test_targets_name_real_parts_and_factors() -> None:
    assert {name.split(".")[0] for name in TARGETS} <= {*PARTS, *TWIN}
    assert set(JUDGED) <= set(FACTORS)
    assert set(AT_MOST) <= set(TARGETS)


@pytest.mark.parametrize("factor", sorted(FACTORS))
def test_unsaid_values_are_the_ones_a_canonical_caption_leaves_out(factor: str) -> None:
    """Replacing a said value by another one must change the caption; an unsaid one shortens it."""
    if factor not in UNSAID:
        return
    context = sample_context(np.random.default_rng(3))
    texts = {
        v: caption(sample_person(1), sample_context(np.random.default_rng(3), **{factor: v}))
        for v in FACTORS[factor]
    }
    assert context is not None
    assert min(texts, key=lambda v: len(texts[v].split())) == UNSAID[factor]


def test_unknown_part_is_refused() -> None:
    with pytest.raises(UsageError, match="no part 'beauty'"):
        measure(["beauty"])


def test_every_generated_part_on_the_shipped_models(pocket_weights: Path) -> None:
    parts = ["text", "uniform", "realism"]
    figures = measure(parts, weights=pocket_weights, count=8, steps=4, batch_size=8)
    assert figures["realism"]["fid"]["value"] > figures["realism"]["fid_of_renders"]["value"] > 0
    assert figures["realism"]["clipped_in_renders"]["n"] >= 7
    assert figures["text"]["scene"]["n"] == 8
    assert figures["text"]["accessory"]["n"] <= 8
    assert figures["uniform"]["genuine_mean"] > figures["uniform"]["impostor_mean"] + 0.3
    assert figures["uniform"]["position"]["n"] == 32
    json.dumps(figures)


def test_realism_of_renders_themselves(pocket_weights: Path) -> None:
    """Two halves of one set are near, a set and itself at nothing; white cheeks count, dark eyes hardly."""
    models = PocketModels(pocket_weights)
    rng = np.random.default_rng(0)
    people = [sample_person(number) for number in range(24)]
    shown = np.stack([render(one, sample_context(rng, style="photo", pose="front")).pixels for one in people])
    clip = OpenClip(str(pocket_weights / "clip"), "cpu")
    own, darker = features(clip, shown), features(clip, shown // 2)
    assert frechet(own, own)["value"] == pytest.approx(0, abs=1e-3)
    assert frechet(own, darker)["value"] > frechet(own[:12], own[12:])["value"] > 0
    plain = clipped(models.scorer, shown)
    assert plain["n"] >= 20 and plain["value"] < 0.2
    bright = np.clip(shown.astype(int) + 60, 0, 255).astype(np.uint8)
    assert clipped(models.scorer, bright)["value"] > plain["value"] + 0.2
    assert clipped(models.scorer, np.zeros((2, 128, 128, 3), np.uint8)) == {"value": None, "n": 0}


def test_the_command_prints_one_json(
    pocket_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "quality.json"
    asked = ["--parts", "probes", "--count", "1", "--weights", str(pocket_weights), "--output", str(output)]
    code, said = main(asked), capsys.readouterr()
    assert code == 0, said.err
    printed = json.loads(said.out)
    assert printed == json.loads(output.read_text())
    assert printed["targets"]["probes.scene"]["target"] == 0.98


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    done = run("--parts", "probes", "--weights", str(tmp_path))
    assert done.returncode == 2 and "probes" in done.stderr and "Traceback" not in done.stderr
