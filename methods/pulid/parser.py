"""Telling a face from its background: facexlib's BiSeNet over CelebAMask-HQ's 19 classes.

Source: PuLID@1aa2fc7 pulid/pipeline_flux.py `get_id_embedding`, as described in flux.md B.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.errors import MissingDependencyError
from methods.paths import user_path
from methods.pulid.config import AUTO, OFF
from methods.pulid.files import PARSER_FILE, parser_file
from methods.weights import fill_module, fingerprint_tensors, load_weights

BACKGROUND = (0, 7, 8, 9, 14, 15, 16, 18)
"""Background, ears, earrings, neck, necklace, cloth and hat. Hair and glasses belong to the person."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INSTALL = "Run `pip install 'spid[pulid]'`, or give parser=off."


@dataclass(frozen=True, eq=False)
class FaceParser:
    """fingerprint: SHA-256 over the network's tensors."""

    network: Any
    device: torch.device
    fingerprint: str

    @torch.no_grad()
    def background(self, crop: Tensor) -> Tensor:
        """Where the crop float32 [3, 512, 512] in [0, 1] does not show the person: bool [512, 512]."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (_MEAN, _STD))
        scores = self.network(((crop - mean) / std)[None].to(self.device))[0]
        classes = scores[0].argmax(dim=0).cpu()
        return torch.isin(classes, torch.tensor(BACKGROUND))


def find_parser(parser: str) -> Path | None:
    """The weights file that `Config.parser` means; None for none."""
    if parser == OFF:
        return None
    if parser != AUTO:
        return user_path(parser)
    return parser_file()


@lru_cache(maxsize=1)
def load_parser(path: Path, device: torch.device) -> FaceParser:
    """Raises WeightsError for a file that is missing, damaged or something else."""
    from methods.compat import ensure_torchvision

    state = load_weights(path)
    ensure_torchvision()
    try:
        from facexlib.parsing.bisenet import BiSeNet
    except ImportError as error:
        raise MissingDependencyError(f"A face parser needs facexlib ({error}).", hint=_INSTALL) from error
    with torch.device("meta"):
        empty = BiSeNet(num_class=19)
    network = fill_module(empty, state, str(path), hint=f"Give facexlib's {PARSER_FILE}, or parser=off.")
    return FaceParser(network.to(device), device, fingerprint_tensors(state))
