"""The public files that PuLID on FLUX needs: where they are, and how large and which they should be.

Nothing is downloaded here, and torch is not imported: `spid doctor` asks too.
Sizes and digests: public manifests of other projects, several of which agree (flux.md B.4).
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from methods.errors import SpidError
from methods.paths import in_hub_cache, models_dir

EVA = "EVA02-L-14-336"
EVA_REPOSITORY = "timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k"
EVA_FILE = "open_clip_model.safetensors"
PARSER_FILE = "parsing_bisenet.pth"
ADAPTERS = ("pulid_flux_v0.9.1.safetensors", "pulid_flux_v0.9.0.safetensors")

_RECOGNISER = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
_DETECTOR = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"


@dataclass(frozen=True)
class NeededFile:
    """One file: what it is for, its size in bytes and SHA-256 where they are known, and where it was found.

    fetch: its name for `spid fetch`
    """

    name: str
    use: str
    found: Path | None
    fetch: str
    size: int | None = None
    sha256: str | None = None

    @property
    def fits(self) -> bool:
        """Whether what was found is what was published; a file of unknown digest is taken as it is."""
        if self.found is None or self.size not in (None, self.found.stat().st_size):
            return False
        if self.sha256 is None:
            return True
        with self.found.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256


def needed_files() -> list[NeededFile]:
    """Everything beside FLUX itself. An adapter elsewhere, named by --adapter, is not known here."""
    adapters = [models_dir() / name for name in ADAPTERS]
    eva, parser = eva_file(), parser_file()
    return [
        NeededFile(
            ADAPTERS[0],
            "encoder and attentions, 1.14 GB",
            next((path for path in adapters if path.is_file()), None),
            "pulid-flux",
        ),
        NeededFile(
            f"{EVA} {EVA_FILE}",
            "image tower",
            eva,
            "eva02-clip",
            856_239_456,
            "f753bca0e8327f77e8845b0af2510d599c3e4614237007b48078c791f2cf391c",
        ),
        NeededFile(
            "antelopev2 glintr100.onnx",
            "face recogniser",
            _of_pack("glintr100.onnx"),
            "antelopev2",
            260_665_334,
            _RECOGNISER,
        ),
        NeededFile(
            "antelopev2 scrfd_10g_bnkps.onnx",
            "face detector",
            _of_pack("scrfd_10g_bnkps.onnx"),
            "antelopev2",
            16_923_827,
            _DETECTOR,
        ),
        NeededFile(
            PARSER_FILE,
            "face parser; without it the background stays in the reference",
            parser,
            "face-parser",
            53_289_463,
            "468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
        ),
    ]


def eva_file() -> Path | None:
    """EVA02-CLIP-L-336, if the hub's cache has it."""
    return in_hub_cache(EVA_REPOSITORY, EVA_FILE)


def parser_file() -> Path | None:
    """The face parser's weights, where `spid fetch` or facexlib itself puts them."""
    places = [models_dir() / PARSER_FILE]
    facexlib = importlib.util.find_spec("facexlib")
    if facexlib is not None and facexlib.origin is not None:
        places.append(Path(facexlib.origin).parent / "weights" / PARSER_FILE)
    return next((path for path in places if path.is_file()), None)


def _of_pack(name: str) -> Path | None:
    from methods.faces.packs import find_pack

    try:
        path = find_pack("antelopev2").folder / name
    except SpidError:
        return None
    return path if path.is_file() else None
