"""The bound of learned words: fitted text features, where they belong and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from people import somebody

from benchmarks.studies.free_features import Config, FreeFeatures
from methods.backbone.load import load_backbone
from methods.fitting.words import place
from methods.pocket.world import HELD_OUT

PROMPT = "a photo of a person beside a person at the beach"


@pytest.mark.parametrize("places", ["word", "all"])
def test_features_are_fitted_and_stand_at_their_places(
    places: str, pocket_weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    backbone, identity = load_backbone("pocket"), somebody(HELD_OUT)
    method = FreeFeatures(Config(places=places, steps=16, batch=2))
    fitted = method.encode(identity, backbone)
    still = FreeFeatures(Config(places=places, steps=16, batch=2, rate=1e-12)).encode(identity, backbone)
    learned = fitted["log.denoising"] - still["log.denoising"]  # the same pictures, noise and sentences
    assert learned[0] == 0 and learned[8:].mean() < 0

    spoken = method.speak(PROMPT, fitted, backbone)
    placed = place(backbone.text, PROMPT, 1)
    assert spoken is not None and placed is not None
    changed = (spoken.key[0] - backbone.text.encode(PROMPT).hidden).abs().amax(-1) > 0
    if places == "word":
        assert len(placed.at) == 2
        assert changed.nonzero().flatten().tolist() == placed.at.tolist()
    else:  # the sentence of the fit, whatever the prompt says
        other = method.speak("a portrait of a person", fitted, backbone)
        assert other is not None and torch.equal(other.key, spoken.key)


def test_a_prompt_without_the_word_stays(pocket_weights: Path) -> None:
    backbone = load_backbone("pocket")
    assert FreeFeatures().speak("a beach", {"features": torch.zeros(1, 1)}, backbone) is None
