"""The FLUX-shaped twin to measure costs on: the trained one, or where it is not here, its shape at random."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from methods.backbone.device import seeded
from methods.paths import pocket_dir
from methods.shipped import SHIPPED

TWIN = "pocket-flux"


@contextmanager
def twin_where_missing(name: str) -> Iterator[bool]:
    """Whether `name` is the twin and is not here; then for the duration one of random weights is."""
    if name != TWIN or (pocket_dir() / SHIPPED[TWIN].folder / "model_index.json").is_file():
        yield False
        return
    before = os.environ.get("SPID_POCKET")
    with TemporaryDirectory() as folder:
        os.environ["SPID_POCKET"] = str(random_twin(Path(folder) / "weights"))
        try:
            yield True
        finally:
            del os.environ["SPID_POCKET"]
            os.environ |= {} if before is None else {"SPID_POCKET": before}


def random_twin(folder: Path, **changes: Any) -> Path:
    """A folder of the pocket models, linked, and a random twin among them, by its training's own builders.

    changes: of the transformer's configuration, for tests
    """
    from diffusers import FluxTransformer2DModel

    from scripts.pocket import flux
    from scripts.pocket.diffusion import build_text_encoder
    from scripts.pocket.tokenizer import build_tokenizer

    twin, vae = SHIPPED[TWIN], pocket_dir() / SHIPPED["pocket"].folder / "vae"
    folder.mkdir(parents=True)
    for model in pocket_dir().iterdir():
        if model.name not in (twin.folder, *twin.adapters):
            (folder / model.name).symlink_to(model, target_is_directory=model.is_dir())
    channels = json.loads((vae / "config.json").read_bytes())["latent_channels"]
    with seeded(0):
        tokenizers = build_tokenizer(folder.parent / "tokenizer"), flux.build_t5_tokenizer()
        words = flux.Words(build_text_encoder(tokenizers[0]), flux.build_t5(tokenizers[1]))
        shape = flux.build_transformer(channels).config
        pipeline = flux.assemble(vae, tokenizers, words, FluxTransformer2DModel(**{**shape, **changes}))
    pipeline.to(torch.float16).save_pretrained(folder / twin.folder)
    (folder / twin.folder / "spid.json").write_text(json.dumps(flux.DEFAULTS))
    return folder
