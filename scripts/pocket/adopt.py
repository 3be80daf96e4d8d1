"""Start the second generation's text encoder and U-Net from what the first one has learned.

    python -m scripts.pocket.adopt --first PIPELINE --autoencoder VAE --dataset FOLDER --output FOLDER

The bodies have the same shapes; what differs are the ends. A new word takes the mean of the old tokens that
spell it. `conv_in` and `conv_out` are composed with the linear maps between the two latent spaces, least
squares over pictures seen through both encoders; what the old space cannot say starts as zero. Attention
heads are cut anew, which training mends in minutes. The output is what `--initial` takes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from scripts.pocket.common import to_pixels
from scripts.pocket.dataset import Dataset
from scripts.pocket.diffusion import build_text_encoder, build_unet
from scripts.pocket.tokenizer import build_tokenizer

PICTURES = 1500


def adopt_text(old: CLIPTextModel, old_words: CLIPTokenizer, words: CLIPTokenizer) -> CLIPTextModel:
    """A text encoder over `words` with the layers of `old`."""
    new = build_text_encoder(words)
    state, learned = new.state_dict(), old.state_dict()
    for name, value in learned.items():
        if name not in state or "token_embedding" in name:
            continue
        if "position_embedding" in name:
            state[name][: len(value)] = value
            state[name][len(value) :] = value[-1]
        else:
            state[name].copy_(value)
    table = next(name for name in state if "token_embedding" in name)
    source = learned[table]
    state[table].copy_(source.mean(0) + source.std(0) * torch.randn_like(state[table]) * 0.3)
    for token, number in words.get_vocab().items():
        if token in (words.bos_token, words.eos_token):
            state[table][number] = source[old_words.convert_tokens_to_ids(token)]
        elif (spelled := re.sub("</w>$", "", token)) != token:
            ids = old_words(spelled, add_special_tokens=False).input_ids
            state[table][number] = source[ids].mean(0)
    new.load_state_dict(state)
    return new


@torch.no_grad()
def latent_maps(old: AutoencoderKL, new: AutoencoderKL, pictures: np.ndarray) -> tuple[Tensor, Tensor]:
    """Least-squares maps of scaled latents, new to old `[Cold,Cnew]` and old to new `[Cnew,Cold]`."""
    seen = []
    for vae in (old, new):
        parts = [
            vae.encode(to_pixels(pictures[i : i + 32])).latent_dist.mean * vae.config.scaling_factor
            for i in range(0, len(pictures), 32)
        ]
        seen.append(torch.cat(parts).permute(0, 2, 3, 1).flatten(0, 2).double())
    before, after = (values - values.mean(0) for values in seen)
    print("explained:", *(f"{share:.3f}" for share in (_explained(after, before), _explained(before, after))))
    return (
        torch.linalg.lstsq(after, before).solution.T.float(),
        torch.linalg.lstsq(before, after).solution.T.float(),
    )


def _explained(x: Tensor, y: Tensor) -> float:
    rest = y - x @ torch.linalg.lstsq(x, y).solution
    return 1.0 - float(rest.square().sum() / y.square().sum())


@torch.no_grad()
def adopt_unet(old: UNet2DConditionModel, to_old: Tensor, to_new: Tensor) -> UNet2DConditionModel:
    """A U-Net on the new latents around the body of `old`."""
    new = build_unet(to_new.shape[0])
    state, learned = new.state_dict(), old.state_dict()
    for name, value in learned.items():
        if name == "conv_in.weight":
            value = torch.einsum("oikl,ic->ockl", value, to_old)
        elif name == "conv_out.weight":
            value = torch.einsum("co,oikl->cikl", to_new, value)
        elif name == "conv_out.bias":
            value = to_new @ value
        state[name].copy_(value)
    new.load_state_dict(state)
    return new


def main() -> None:
    """Write `text_encoder` and `unet` under the output folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("first", "autoencoder", "dataset", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    torch.manual_seed(0)
    words = build_tokenizer(given.output / "tokenizer")
    old_words = CLIPTokenizer.from_pretrained(given.first / "tokenizer")
    old_text = CLIPTextModel.from_pretrained(given.first / "text_encoder", dtype=torch.float32)
    adopt_text(old_text, old_words, words).save_pretrained(given.output / "text_encoder")
    old = AutoencoderKL.from_pretrained(given.first / "vae", torch_dtype=torch.float32)
    new = AutoencoderKL.from_pretrained(given.autoencoder, torch_dtype=torch.float32)
    to_old, to_new = latent_maps(old, new, Dataset(given.dataset).pictures[:PICTURES])
    unet = UNet2DConditionModel.from_pretrained(given.first / "unet", torch_dtype=torch.float32)
    adopt_unet(unet, to_old, to_new).save_pretrained(given.output / "unet")


if __name__ == "__main__":
    main()
