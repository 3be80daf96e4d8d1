"""Identity tokens, CLIP states, mixing, and the files of Infinite-ID."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from people import somebody
from tiny import tiny_backbone

from methods.adapters import WEIGHTS_FILE
from methods.errors import UsageError, WeightsError
from methods.hooks import Identity, Job
from methods.infinite_id.clip import load_states_encoder
from methods.infinite_id.config import Config
from methods.infinite_id.method import InfiniteID, mixed_tokens
from methods.sampling import sample
from methods.weights import load_weights, read_metadata, save_weights

A, B = somebody(1, "a"), somebody(2, "b")
JOB = Job("photo of the person", 64, 64, guidance=4.0, seed=5, steps=2, identity=A)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> str:
    """A tiny random vision transformer in open_clip's folder layout."""
    import open_clip

    folder = tmp_path_factory.mktemp("vit")
    vision = {"image_size": 32, "layers": 2, "width": 48, "head_width": 24, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_weights(folder / "open_clip_model.safetensors", model.state_dict())
    return str(folder)


def test_states_of_the_pocket_encoder(pocket_weights):
    """The tokens that its attention pool reads: pooling them gives the model's own features."""
    encoder = load_states_encoder("pocket", CPU)
    face = np.full((112, 112, 3), 90, np.uint8)
    states = encoder.states(face)
    assert states.shape == encoder.shape == (17, 640) and encoder.size == 128
    pool = encoder.tower.attnpool
    grid = (states - pool.positional_embedding)[1:].T.unflatten(1, (4, 4))[None]
    pixels = torch.full((1, 3, 128, 128), (90 / 255 - 0.5) / 0.5)
    with torch.no_grad():
        torch.testing.assert_close(pool(grid), encoder.tower(pixels), rtol=1e-4, atol=1e-4)


def test_states_of_a_vision_transformer(vit):
    """Class token and patches; the class token, normalised and projected, is the model's feature."""
    encoder = load_states_encoder(vit, CPU)
    face = np.full((112, 112, 3), 90, np.uint8)
    states = encoder.states(face)
    assert states.shape == encoder.shape == (5, 48)
    tower = encoder.tower
    pixels = torch.full((1, 3, 32, 32), (90 / 255 - 0.5) / 0.5)
    with torch.no_grad():
        feature = tower.ln_post(states[None])[:, 0] @ tower.proj
        torch.testing.assert_close(feature, tower(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ViT-Nothing:weights.safetensors", "nowhere", "ViT-B-32"])
def test_unknown_encoders_are_refused(name):
    with pytest.raises(UsageError, match="no CLIP model"):
        load_states_encoder(name, CPU)


def test_tokens_come_from_face_and_embedding(vit):
    backbone = tiny_backbone("sdxl")
    method = InfiniteID.untrained(backbone, Config(clip=vit))
    tokens = method.tokens(A, backbone)["tokens"]
    assert tokens.shape == (5 + 4, 64)
    faceless = method.tokens(Identity("a", A.embedding), backbone)["tokens"]
    stranger = method.tokens(replace(B, embedding=A.embedding), backbone)["tokens"]
    for other in (faceless, stranger):  # another look at the face, the same embedding
        assert not torch.allclose(tokens[:5], other[:5], atol=1e-3)
        assert torch.equal(tokens[5:], other[5:])
    with pytest.raises(UsageError, match="length 128"):
        method.tokens(Identity("short", torch.ones(128)), backbone)
    with pytest.raises(UsageError, match="no face embedding"):
        method.tokens(Identity("nobody"), backbone)


def test_identities_mix():
    backbone = tiny_backbone("sd1")
    method = InfiniteID.untrained(backbone)
    a, b = (method.tokens(one, backbone)["tokens"] for one in (A, B))
    half = method.mixed([A, B], backbone)
    torch.testing.assert_close(method.tokens(half, backbone)["tokens"], (a + b) / 2)
    assert torch.equal(mixed_tokens([a, b], "interpolate", share=0.0), a)
    with pytest.raises(UsageError, match="two single identities"):
        method.mixed([A, B, A], backbone)

    both, twins = method.mixed([A, B], backbone, how="stack"), method.mixed([A, A], backbone, how="stack")
    assert len(method.tokens(both, backbone)["tokens"]) == 2 * len(a)
    jobs = [JOB, *(replace(JOB, identity=one) for one in (half, both, twins))]
    alone, between, stacked, doubled = (one.latents for one in sample(backbone, jobs, method, batch_size=4))
    torch.testing.assert_close(doubled, alone, rtol=1e-4, atol=1e-4)  # the same tokens twice say nothing new
    for one, other in ((alone, between), (alone, stacked), (between, stacked)):
        assert not torch.allclose(one, other, atol=1e-4)


def test_a_second_person_by_option(pocket_weights):
    from methods.faces import load_encoder

    backbone = tiny_backbone("sd1")
    a, b = (replace(one, encoder=load_encoder("pocket")) for one in (A, B))
    options = {"mix_with": b.pictures[0], "mix_share": 0.25}
    plain = InfiniteID.untrained(backbone)
    mixed = InfiniteID.untrained(backbone, Config(**options)).tokens(a, backbone)["tokens"]
    own = plain.tokens(a, backbone)["tokens"]
    assert mixed.shape == own.shape and not torch.allclose(mixed, own, atol=1e-3)
    stacking = InfiniteID.untrained(backbone, Config(**options, mix="stack"))
    tokens = stacking.tokens(a, backbone)["tokens"]
    assert torch.equal(tokens[: len(own)], own)
    torch.testing.assert_close(torch.lerp(own, tokens[len(own) :], 0.25), mixed)
    [result] = sample(backbone, [replace(JOB, identity=a)], stacking)
    assert result.status == "ok"


def test_files_say_what_they_are_for(tmp_path):
    method = InfiniteID.untrained(tiny_backbone("sd1"))
    method.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["method"], config["backbone"], config["states"]) == ("infinite-id", "sd1", 17)
    assert read_metadata(tmp_path / WEIGHTS_FILE)["method"] == "infinite-id"
    with pytest.raises(WeightsError, match="trained for sd1 backbones.*is sdxl"):
        InfiniteID.load(tmp_path, tiny_backbone("sdxl"))
    with pytest.raises(WeightsError, match="spid train --method infinite-id") as missing:
        InfiniteID.load(None, tiny_backbone("sdxl"))
    assert missing.value.exit_code == 2

    (tmp_path / "config.json").write_text(
        json.dumps({**config, "clip": {**config["clip"], "fingerprint": "0"}})
    )
    other = InfiniteID.load(tmp_path, tiny_backbone("sd1"))
    with pytest.raises(WeightsError, match="another CLIP image encoder"):
        other.tokens(A, tiny_backbone("sd1"))
    (tmp_path / "config.json").write_text(json.dumps({"method": "infinite-id", "backbone": "sd1"}))
    with pytest.raises(WeightsError, match="says nothing"):
        InfiniteID.load(tmp_path, tiny_backbone("sd1"))


def test_every_tensor_is_accounted_for(tmp_path):
    backbone = tiny_backbone("sd1")
    InfiniteID.untrained(backbone).save(tmp_path)
    path = tmp_path / WEIGHTS_FILE
    state = load_weights(path)
    name = "image_attention.1.to_k_id.weight"
    for changed, said in (
        ({key: value for key, value in state.items() if key != name}, "lacks the tensor image_attention"),
        ({**state, "more": torch.zeros(1)}, "unknown tensor more[.]"),
        ({**state, name: torch.zeros(3, 3)}, r"shape \(3, 3\)"),
        ({"weight": torch.zeros(1)}, "no Infinite-ID adapter"),
    ):
        save_weights(path, changed)
        with pytest.raises(WeightsError, match=said):
            InfiniteID.load(tmp_path, backbone)


@pytest.mark.parametrize("options", [{"cache_mib": -1}, {"mix_share": 2.0}])
def test_options_are_checked(options):
    with pytest.raises(UsageError):
        Config(**options)
