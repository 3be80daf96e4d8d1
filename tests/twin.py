"""Pocket models with a random FLUX twin where the trained one will lie, by the training's own builders."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from methods.paths import pocket_dir


def pocket_with_twin(folder: Path) -> Path:
    """The shipped pocket models, linked, and `flux` beside them: a FluxPipeline folder of one block each."""
    from diffusers import FluxTransformer2DModel

    from scripts.pocket import flux
    from scripts.pocket.diffusion import build_text_encoder
    from scripts.pocket.tokenizer import build_tokenizer

    folder.mkdir(parents=True)
    for model in pocket_dir().iterdir():
        if model.name not in ("flux", "pulid"):
            (folder / model.name).symlink_to(model, target_is_directory=model.is_dir())
    torch.manual_seed(0)
    tokenizers = build_tokenizer(folder.parent / "tokenizer"), flux.build_t5_tokenizer()
    words = flux.Words(build_text_encoder(tokenizers[0]), flux.build_t5(tokenizers[1]))
    shape = flux.build_transformer(8).config
    transformer = FluxTransformer2DModel(**{**shape, "num_layers": 1, "num_single_layers": 1})
    pipeline = flux.assemble(pocket_dir() / "sd" / "vae", tokenizers, words, transformer)
    pipeline.to(torch.float16).save_pretrained(folder / "flux")
    (folder / "flux" / "spid.json").write_text(json.dumps(flux.DEFAULTS))
    return folder
