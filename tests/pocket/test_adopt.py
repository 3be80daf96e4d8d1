"""The second generation's denoiser around the first one's body."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from methods.paths import pocket_dir
from scripts.pocket.adopt import adopt_text, adopt_unet
from scripts.pocket.tokenizer import build_tokenizer


def test_the_ends_are_composed_with_the_maps_between_the_latents() -> None:
    torch.manual_seed(0)
    old = UNet2DConditionModel.from_pretrained(pocket_dir() / "sd" / "unet", torch_dtype=torch.float32)
    to_old, to_new = torch.randn(8, 16), torch.randn(16, 8)
    new = adopt_unet(old, to_old, to_new)
    latents, hidden = torch.randn(1, 16, 16, 16), torch.randn(1, 64, 16, 16)
    seen = torch.einsum("oc,nchw->nohw", to_old, latents)
    assert torch.allclose(new.conv_in(latents), old.conv_in(seen), atol=1e-4)
    said = torch.einsum("co,nohw->nchw", to_new, old.conv_out(hidden))
    assert torch.allclose(new.conv_out(hidden), said, atol=1e-3)
    body = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert torch.equal(new.state_dict()[body], old.state_dict()[body])


def test_a_known_word_keeps_its_row_and_a_new_one_is_the_mean_of_what_spells_it(tmp_path: Path) -> None:
    first, words = pocket_dir() / "sd", build_tokenizer(tmp_path)
    old_words = CLIPTokenizer.from_pretrained(first / "tokenizer")
    old = CLIPTextModel.from_pretrained(first / "text_encoder", dtype=torch.float32)
    new = adopt_text(old, old_words, words)
    before, after = old.get_input_embeddings().weight, new.get_input_embeddings().weight
    for word in ("beach", "freckles"):
        ids = old_words(word, add_special_tokens=False).input_ids
        row = words(word, add_special_tokens=False).input_ids
        assert len(row) == 1 and torch.allclose(after[row[0]], before[ids].mean(0), atol=1e-6)
    assert len(old_words("freckles", add_special_tokens=False).input_ids) > 1
    assert new.config.max_position_embeddings == 64 > old.config.max_position_embeddings
