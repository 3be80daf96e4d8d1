"""Textual-inversion files of other programs, read and written.

    A1111, SD 1 and 2      .pt {"string_to_param": {"*": [n, C]}, ...}; .safetensors {"emb_params": [n, C]}
    A1111 and kohya, SDXL  .safetensors {"clip_l": [n, 768], "clip_g": [n, 1280]}
    diffusers              .bin, .safetensors {"<token>": [C] or [n, C]}  (learned_embeds)
    diffusers, FLUX        .safetensors {"clip_l": [n, 768], "t5": [n, 4096]}
                           (examples/advanced_diffusion_training/train_dreambooth_lora_flux_advanced.py)

In spid a word is one tensor [n, sum of widths], the encoders side by side in the order of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from methods.errors import UsageError, WeightsError
from methods.weights import load_weights, save_weights

Format = Literal["diffusers", "a1111"]
SUFFIXES = (".pt", ".bin", ".safetensors")

_PARTS = (("clip_l", "clip_g"), ("clip_l", "t5"))
_SINGLE = ("emb_params", "string_to_param.*")
_OTHERS = ("string_to_token", "name", "step", "sd_checkpoint", "sd_checkpoint_name")


def read_embedding(path: str | Path, widths: Sequence[int]) -> Tensor:
    """The rows of a word, float32 [n, sum of widths]; which format it is shows in its names.

    widths: of the token embeddings of each text encoder of the backbone

    Raises WeightsError for a file that is none of these, or was made for other text encoders.
    """
    state = load_weights(path)
    parts = _parts(state, str(path))
    found = [part.shape[-1] for part in parts]
    if found != list(widths):
        raise WeightsError(
            f"{path}: a word for text encoders of width {_listed(found)}; this backbone's have"
            f" {_listed(widths)}.",
            hint="Give a word that was learned on a backbone of this kind.",
        )
    if len({len(part) for part in parts}) > 1:
        raise WeightsError(
            f"{path}: its encoders have words of {_listed([len(part) for part in parts])} rows.",
            hint="Both parts of a word have as many rows.",
        )
    word = torch.cat(parts, dim=-1)
    if not bool(torch.isfinite(word).all()):
        raise WeightsError(f"{path}: not all of its numbers are finite.", hint="Fit or download it again.")
    return word


def write_embedding(
    path: str | Path, word: Tensor, widths: Sequence[int], *, token: str, form: Format = "diffusers"
) -> None:
    """Write a word as .safetensors that other programs read.

    word: [n, sum of widths]; token: its name in prompts, which `diffusers` keeps in the file and A1111 takes
    from the file's name

    Raises UsageError for three text encoders and more, and for another suffix.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: words are written as .safetensors.", hint="Give that suffix.")
    parts = [part.detach().float().contiguous() for part in word.split(list(widths), dim=-1)]
    if len(parts) == 1:
        name = token if form == "diffusers" else "emb_params"
        state = {name: parts[0]}
    elif len(parts) == 2:
        state = dict(zip(_PARTS[1] if widths[1] == 4096 else _PARTS[0], parts, strict=True))
    else:
        raise UsageError(
            f"A word for {len(parts)} text encoders has no common file format.",
            hint="Words for one or two encoders have.",
        )
    save_weights(path, state)


def _parts(state: Mapping[str, Tensor], where: str) -> list[Tensor]:
    """The tensors of a word, one for each encoder, float32 [n, C]."""
    tensors = {name: value for name, value in state.items() if not name.startswith(_OTHERS)}
    for names in _PARTS:
        if set(names) == set(tensors):
            return [_rows(tensors[name], where) for name in names]
    for single in _SINGLE:
        if single in tensors:
            return [_rows(tensors[single], where)]
    if len(tensors) == 1:
        (only,) = tensors.values()
        if only.dim() in (1, 2):
            return [_rows(only, where)]
    listed = ", ".join(sorted(tensors)[:3]) or "nothing"
    raise WeightsError(
        f"{where}: not a textual-inversion file; it holds {listed}{' ...' if len(tensors) > 3 else ''}.",
        hint="Known are those of A1111 (string_to_param, emb_params, clip_l and clip_g) and of diffusers.",
    )


def _rows(tensor: Tensor, where: str) -> Tensor:
    rows = tensor.detach().float()
    rows = rows[None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or not 1 <= len(rows) <= 75:
        raise WeightsError(
            f"{where}: a word of the shape {tuple(tensor.shape)}.", hint="One to 75 rows are a word."
        )
    return rows


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))
