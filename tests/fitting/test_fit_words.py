"""A learned word inside the frozen text encoder."""

from __future__ import annotations

import pytest
import torch
from tiny import FAMILIES, tiny_backbone

from methods.fitting.words import celebrity_anchor, embedding_widths, encode, noun_embedding, place


def ids(text, *words: str) -> list[int]:
    tokenizer = text.tokenizers[0]
    return [token for word in words for token in tokenizer(word, add_special_tokens=False).input_ids]


def test_the_word_replaces_the_noun_and_everything_after_it_moves() -> None:
    text = tiny_backbone("sd1").text
    placed = place(text, "photo of the person on the beach", 2)
    assert placed is not None
    assert placed.at.tolist() == [4, 5] and placed.row.tolist() == [0, 1]
    [own] = placed.ids
    assert own[1:4].tolist() == ids(text, "photo", "of", "the")
    assert own[6:9].tolist() == ids(text, "on", "the", "beach")
    assert placed.source.tolist() == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


def test_the_word_may_precede_the_noun_and_stands_at_every_noun() -> None:
    text = tiny_backbone("sd1").text
    placed = place(text, "person on person", 2, keep_noun=True)
    assert placed is not None
    assert placed.at.tolist() == [1, 2, 5, 6] and placed.row.tolist() == [0, 1, 0, 1]
    assert placed.ids[0][3] == placed.ids[0][7] == ids(text, "person")[0]
    assert placed.source[:9].tolist() == [0, 1, 1, 1, 2, 3, 3, 3, 4]


def test_no_noun_no_place() -> None:
    text = tiny_backbone("sd1").text
    assert place(text, "the red beach", 1) is None
    assert place(text, "persons", 1) is None
    assert place(text, "the " * 15 + "person", 1) is None


def test_what_does_not_fit_is_cut_before_the_end_token() -> None:
    text = tiny_backbone("sd1").text
    placed = place(text, "the " * 12 + "person on beach", 3)
    assert placed is not None
    assert placed.at.tolist() == [13, 14] and placed.row.tolist() == [0, 1]
    assert placed.ids[0][-1] == text.tokenizers[0].eos_token_id
    assert len(placed.ids[0]) == len(placed.source) == 16


@pytest.mark.parametrize("family", FAMILIES)
def test_the_nouns_own_embedding_gives_the_plain_prompt(family: str) -> None:
    text = tiny_backbone(family).text
    prompt = "photo of the person on the beach"
    placed = place(text, prompt, 1)
    assert placed is not None
    with torch.no_grad():
        hidden, pooled = encode(text, [placed], noun_embedding(text)[None, None])
    plain = text.encode(prompt)
    torch.testing.assert_close(hidden[0], plain.hidden)
    assert (pooled is None) == (plain.pooled is None)
    if pooled is not None:
        torch.testing.assert_close(pooled[0], plain.pooled)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_has_its_own_word_and_nothing_stays_behind(family: str) -> None:
    text = tiny_backbone(family).text
    prompts = ["photo of the person", "person on the red beach"]
    plain = text.forward(
        [text.tokenizers[0](prompts[0], padding="max_length", return_tensors="pt").input_ids]
        * (len(text.models))
    )
    placed = [one for one in (place(text, prompt, 2) for prompt in prompts) if one is not None]
    words = torch.randn(2, 2, sum(embedding_widths(text)), generator=torch.Generator().manual_seed(0))
    together, _ = encode(text, placed, words)
    for number, one in enumerate(placed):
        alone, _ = encode(text, [one], words[number][None])
        torch.testing.assert_close(together[number], alone[0])
    again = text.forward(
        [text.tokenizers[0](prompts[0], padding="max_length", return_tensors="pt").input_ids]
        * (len(text.models))
    )
    assert torch.equal(plain[0], again[0])


def test_gradients_reach_the_word_and_no_weight() -> None:
    text = tiny_backbone("sdxl").text
    placed = place(text, "photo of the person", 1)
    assert placed is not None
    word = noun_embedding(text)[None, None].requires_grad_()
    hidden, pooled = encode(text, [placed], word)
    assert pooled is not None
    (hidden.sum() + pooled.sum()).backward()
    assert word.grad is not None and (word.grad != 0).all(dim=-1).any() and torch.isfinite(word.grad).all()
    assert all(weight.grad is None for model in text.models for weight in model.parameters())


def test_a_cross_initialised_word_is_the_encoders_answer_to_mean_names() -> None:
    """Two names of two words and one of one: column means by hand, through the encoder at places 1 and 2."""
    text = tiny_backbone("sd1").text
    table = text.models[0].get_input_embeddings().weight  # type: ignore[operator]
    red, beach, photo, person = ids(text, "red", "beach", "photo", "person")
    columns = torch.stack([table[[red, photo, beach]].mean(0), table[[beach, person]].mean(0)])
    tokenizer = text.tokenizers[0]
    prompt = tokenizer("red beach", padding="max_length", return_tensors="pt").input_ids
    handle = (
        text.models[0]
        .get_input_embeddings()
        .register_forward_hook(  # type: ignore[operator]
            lambda module, inputs, output: torch.cat([output[:, :1], columns[None], output[:, 3:]], dim=1)
        )
    )
    with torch.no_grad():
        expected = text.models[0](prompt)[0][0, 1:3]
    handle.remove()
    torch.testing.assert_close(celebrity_anchor(text, ["red beach", "photo person", "beach"]), expected)
