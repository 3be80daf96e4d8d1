"""Style spaces in and out: the shipped pocket one, our folders, and e4e's public checkpoint.

A folder holds `encoder.safetensors` (`encoder.*` and `latent_avg`, the keys of e4e's `state_dict`),
`config.json`, and `decoder.safetensors` where there is a decoder of ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from methods.backbone.device import seeded
from methods.errors import MissingWeightsError, WeightsError
from methods.files import save_json
from methods.paths import pocket_dir, user_path
from methods.pidiff.stylespace.align import Surround, aligned_head
from methods.pidiff.stylespace.decoder import StyleDecoder
from methods.pidiff.stylespace.encoder import POCKET, StyleEncoder, StyleShape
from methods.textfile import read_json
from methods.weights import fill_module, fingerprint_tensors, load_weights, save_weights

ENCODER_FILE, DECODER_FILE, CONFIG_FILE = "encoder.safetensors", "decoder.safetensors", "config.json"
TRAIN_COMMAND = "python scripts/train_pocket.py stylespace"

_DAMAGED = "Download or copy it again."


@dataclass(eq=False)
class StyleSpace:
    """A W+ encoder ready for use, on the CPU in float32.

    name:     `pocket`, a path, or `random`
    average:  the average code [rows, dim], which the encoder's output is relative to
    surround: what lies around the head in its input (`methods.pidiff.stylespace.align`)
    """

    name: str
    encoder: StyleEncoder
    average: Tensor
    surround: Surround = "white"

    @property
    def shape(self) -> StyleShape:
        """Rows, channels and input size."""
        return self.encoder.shape

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights and average: codes of two spaces can be mixed up only if it is the same."""
        return fingerprint_tensors(_encoder_state(self))

    def crop(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
        """The encoder's input: the aligned head of a picture uint8 [H, W, 3], uint8 [size, size, 3]."""
        return aligned_head(rgb, landmarks, self.shape.size, surround=self.surround)

    @torch.no_grad()
    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """W+ codes float32 [B, rows, dim] of aligned heads, each uint8 [size, size, 3]."""
        with torch.inference_mode(False):
            pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
            return self.encoder(pixels) + self.average

    def encode_picture(self, picture: Image.Image, landmarks: NDArray[np.floating]) -> Tensor:
        """W+ code float32 [rows, dim] of the face with these landmarks [5, 2] in a picture."""
        return self.encode([self.crop(np.asarray(picture.convert("RGB")), landmarks)])[0]


def load_style_space(source: str | Path | None = None) -> StyleSpace:
    """The style space in a folder of ours or in e4e's checkpoint file; None is the shipped pocket one.

    Raises WeightsError for weights that are missing, damaged or of another kind.
    """
    if source is None:
        return _load_folder(_pocket_folder(), "pocket")
    path = user_path(source)
    return _load_folder(path, str(path)) if path.is_dir() else _load_e4e(path)


def random_style_space(shape: StyleShape = POCKET, *, seed: int = 0) -> StyleSpace:
    """An untrained style space: for tests, and where training starts."""
    with seeded(seed):
        encoder = StyleEncoder(shape).eval().requires_grad_(False)
        average = torch.zeros(shape.rows, shape.dim)
    return StyleSpace("random", encoder, average)


def load_decoder(folder: str | Path | None = None) -> StyleDecoder:
    """The decoder that was trained with the encoder of a folder; None is the shipped pocket one."""
    path = (_pocket_folder() if folder is None else Path(folder)) / DECODER_FILE
    state = load_weights(path)
    first = state.get("levels.0.0.convolution.affine.weight")
    if first is None:
        raise WeightsError(
            f"{path} is no style decoder.", hint="Give a folder written by the stylespace training."
        )
    return fill_module(StyleDecoder(first.shape[1]), state, str(path), hint=_DAMAGED)


def save_style_space(
    folder: str | Path,
    space: StyleSpace,
    decoder: StyleDecoder | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder that `load_style_space` reads; figures: what was measured, for the record."""
    folder = Path(folder)
    state = {name: _cast(tensor, dtype) for name, tensor in _encoder_state(space).items()}
    save_weights(folder / ENCODER_FILE, state, {"kind": "style-space"})
    if decoder is not None:
        halves = {name: _cast(tensor, dtype) for name, tensor in decoder.state_dict().items()}
        save_weights(folder / DECODER_FILE, halves, {"kind": "style-decoder"})
    config = {
        "kind": "style-space",
        "shape": dataclasses.asdict(space.shape),
        "surround": space.surround,
        "figures": dict(figures or {}),
    }
    save_json(folder / CONFIG_FILE, config)


def _pocket_folder() -> Path:
    folder = pocket_dir() / "stylespace"
    if not (folder / ENCODER_FILE).is_file():
        raise MissingWeightsError(
            f"The pocket style encoder is missing: expected {folder / ENCODER_FILE}.",
            hint=f"Train it: {TRAIN_COMMAND}.",
        )
    return folder


def _load_folder(folder: Path, name: str) -> StyleSpace:
    path = folder / CONFIG_FILE
    if not path.exists():
        raise MissingWeightsError(
            f"{folder} holds no style space: {CONFIG_FILE} is missing.",
            hint="Give a folder written by the stylespace training, or e4e's checkpoint file.",
        )
    try:
        config = read_json(path, error=WeightsError, hint="Copy the folder again.")
        shape = StyleShape(**{key: _tupled(value) for key, value in config["shape"].items()})
        surround = config["surround"]
        if surround not in get_args(Surround):
            raise ValueError(f"surround is {surround!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged: {error}.", hint="Copy the folder again.") from error
    return _build(load_weights(folder / ENCODER_FILE), shape, name, str(folder / ENCODER_FILE), surround)


def _load_e4e(path: Path) -> StyleSpace:
    loaded = load_weights(path)
    state = {name.removeprefix("state_dict."): tensor for name, tensor in loaded.items()}
    if "encoder.styles.0.linear.weight" not in state:
        raise WeightsError(
            f"{path} is no W+ encoder.", hint="Give e4e_ffhq_encode.pt or a file of the same layout."
        )
    return _build(state, _shape_of(state, path), str(path), str(path), "white")


def _shape_of(state: Mapping[str, Tensor], path: Path) -> StyleShape:
    """The sizes of an e4e encoder from its tensors; every stage after the first widens."""
    styles = {int(name.split(".")[2]) for name in state if name.startswith("encoder.styles.")}
    body = {int(name.split(".")[2]) for name in state if name.startswith("encoder.body.")}
    found = [state.get(f"encoder.body.{unit}.res_layer.1.weight") for unit in range(len(body))]
    widths: list[int] = []
    units: list[int] = []
    for weight in found:
        width = 0 if weight is None else weight.shape[0]
        if not widths or width != widths[-1]:
            widths.append(width)
            units.append(0)
        units[-1] += 1
    convolutions = sum(
        name.startswith("encoder.styles.0.convs.") and name.endswith(".weight") for name in state
    )
    if len(widths) != 4 or 0 in widths:
        raise WeightsError(
            f"{path} has another encoder than IR-SE with four stages.", hint="Give e4e_ffhq_encode.pt."
        )
    return StyleShape(
        size=16 * 2**convolutions,
        rows=len(styles),
        dim=state["encoder.styles.0.linear.weight"].shape[0],
        widths=(widths[0], widths[1], widths[2], widths[3]),
        units=(units[0], units[1], units[2], units[3]),
    )


def _build(
    state: Mapping[str, Tensor], shape: StyleShape, name: str, source: str, surround: Surround
) -> StyleSpace:
    own = {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}
    encoder = fill_module(StyleEncoder(shape), own, source, hint=_DAMAGED)
    average = state.get("latent_avg", torch.zeros(shape.rows, shape.dim)).float()
    average = average.expand(shape.rows, -1) if average.dim() == 1 else average
    if average.shape != (shape.rows, shape.dim):
        raise WeightsError(
            f"{source}: latent_avg is {tuple(average.shape)}, not {(shape.rows, shape.dim)}.",
            hint=_DAMAGED,
        )
    return StyleSpace(name, encoder, average.clone(), surround)


def _encoder_state(space: StyleSpace) -> dict[str, Tensor]:
    own = {f"encoder.{name}": tensor for name, tensor in space.encoder.state_dict().items()}
    return own | {"latent_avg": space.average}


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
