"""Textual inversion on FLUX: rows of CLIP and of T5, each at its own tokenizer's places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from people import somebody
from tiny_flux import flux_backbone

from methods.errors import UsageError
from methods.fitting.words import celebrity_anchor, embedding_widths, encode, noun_embedding, place
from methods.hooks import Job
from methods.registry import check_backbone, method_info
from methods.sampling import sample
from methods.textual_inversion.files import read_embedding, write_embedding
from methods.textual_inversion.method import Config, TextualInversion

PROMPT = "photo of the person on the red beach, xyz"


def test_each_tokenizer_has_its_own_places() -> None:
    text = flux_backbone("dev").text
    placed = place(text, PROMPT, 2, keep_noun=True)
    assert placed is not None and [len(ids) for ids in placed.ids] == list(text.lengths)
    for tokenizer, ids, (at, row) in zip(text.tokenizers, placed.ids, placed.spots, strict=True):
        noun = tokenizer("person", add_special_tokens=False).input_ids
        first = tokenizer(PROMPT).input_ids.index(noun[0])
        assert at.tolist() == [first, first + 1] and row.tolist() == [0, 1]
        assert ids[first + 2 : first + 2 + len(noun)].tolist() == noun
    assert placed.spots[0][0].tolist() != placed.spots[1][0].tolist()
    first = placed.at[0].item()
    assert placed.source[: first + 4].tolist() == [*range(first), first, first, first, first + 1]


def test_the_nouns_own_rows_give_the_plain_prompt() -> None:
    text = flux_backbone("dev").text
    placed = place(text, PROMPT, 1)
    with torch.no_grad():
        hidden, pooled = encode(text, [placed], noun_embedding(text)[None, None])
        plain = text.encode(PROMPT)
    torch.testing.assert_close(hidden[0], plain.hidden)
    torch.testing.assert_close(pooled[0], plain.pooled)


def test_gradients_reach_the_rows_of_both_encoders() -> None:
    text = flux_backbone("dev").text
    word = noun_embedding(text).repeat(2, 1).requires_grad_()
    hidden, pooled = encode(text, [place(text, PROMPT, 2), place(text, "the person", 2)], word[None])
    sums = [
        (part * torch.randn_like(part)).sum() for part in (hidden, pooled)
    ]  # norms are no loss: they are normed
    sum(sums).backward()
    for part in word.grad.split(embedding_widths(text), dim=-1):
        assert (part != 0).any(dim=-1).all()
    assert not any(weight.grad is not None for model in text.models for weight in model.parameters())


def test_a_word_is_fitted_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    backbone = replace(flux_backbone("dev"), default_size=(64, 64))
    method = TextualInversion(Config(steps=3, batch=2, rows=2))
    job = Job("photo of the person", 64, 64, 3.5, steps=2, identity=somebody(1))
    plain, [own] = sample(backbone, [job])[0], sample(backbone, [job], method)
    assert own.status == "ok" and not torch.equal(plain.latents, own.latents)
    word = method.tokens(somebody(1), backbone)["word"]
    widths = embedding_widths(backbone.text)
    assert word.shape == (2, sum(widths))
    moved = (word - noun_embedding(backbone.text)).split(widths, dim=-1)
    assert all(part.abs().max() > 1e-3 for part in moved)


def test_the_file_is_the_one_that_others_read(tmp_path: Path) -> None:
    """clip_l and t5, at FLUX.1's own widths."""
    from methods.weights import load_weights

    word = torch.randn(2, 768 + 4096)
    write_embedding(tmp_path / "anna.safetensors", word, (768, 4096), token="anna")
    state = load_weights(tmp_path / "anna.safetensors")
    assert {name: tuple(part.shape) for name, part in state.items()} == {"clip_l": (2, 768), "t5": (2, 4096)}
    assert torch.equal(read_embedding(tmp_path / "anna.safetensors", (768, 4096)), word)


def test_cross_initialisation_needs_clip_alone() -> None:
    with pytest.raises(UsageError, match="Cross-initialised words need encoders"):
        celebrity_anchor(flux_backbone("dev").text, ["red beach"])


@pytest.mark.parametrize("name", ["facewise", "id-ea", "infinite-id", "pidiff"])
def test_who_needs_a_text_of_its_own_is_told_which_hook_is_missing(name: str) -> None:
    """FLUX's text changes from block to block: no keys and values of it stand still."""
    with pytest.raises(
        UsageError, match=f"'{name}' does not run on flux backbones.*no text_keys_values"
    ) as told:
        check_backbone(method_info(name), flux_backbone("dev"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["none", "pulid", "spatialid", "uniform", "textual-inversion"])
def test_what_runs_on_flux(name: str) -> None:
    check_backbone(method_info(name), flux_backbone("dev"))
