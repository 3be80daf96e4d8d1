"""Model packs on disk: a folder of ONNX files in insightface's sense, with or without our `pack.json`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from methods.errors import MissingWeightsError, WeightsError
from methods.paths import user_path
from methods.textfile import read_json

INSIGHTFACE_LICENCE = "insightface models: non-commercial research only"


@dataclass(frozen=True)
class Pack:
    """A pack as found: its folder and how its models are to be used.

    detector_size: the pinned input side of the detector in pixels (a multiple of 32). detection_threshold:
    least score of a face. domain: see FaceEncoder. threshold: similarity that means 'same person'.
    """

    folder: Path
    name: str
    licence: str
    detector_size: int = 640
    detection_threshold: float = 0.5
    domain: str | None = None
    threshold: float | None = None


def insightface_home() -> Path:
    """Where insightface itself keeps packs by name."""
    return Path.home() / ".insightface" / "models"


def find_pack(name_or_folder: str | os.PathLike[str]) -> Pack:
    """Locate a pack by folder, or by name below `~/.insightface/models`; nothing is ever downloaded.

    A folder that holds only a folder of ONNX files is looked into: the published antelopev2.zip unpacks to
    antelopev2/antelopev2. Raises WeightsError with the exact path where files are missing.
    """
    given = user_path(name_or_folder)
    folder = given if given.is_dir() or len(given.parts) > 1 else insightface_home() / given
    if not folder.is_dir():
        raise MissingWeightsError(
            f"face pack {str(name_or_folder)!r}: no folder {folder}.",
            hint="Unpack the pack's .onnx files there, or give the folder that holds them.",
        )
    models = _folder_with_models(folder)
    if models is None:
        raise MissingWeightsError(
            f"face pack {str(name_or_folder)!r}: no .onnx files in {folder}.",
            hint="Unpack the pack's .onnx files there (a detector and a recogniser).",
        )
    return _described(models)


def _folder_with_models(folder: Path) -> Path | None:
    candidates = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
    return next((c for c in candidates if any(c.glob("*.onnx"))), None)


def _described(folder: Path) -> Pack:
    description = folder / "pack.json"
    if not description.is_file():
        return Pack(folder, folder.resolve().name, INSIGHTFACE_LICENCE)
    try:
        stated = read_json(description, error=WeightsError, hint="Download or copy the pack again.")
        size = stated.get("det_size", 640)
        threshold = stated.get("threshold")
        return Pack(
            folder=folder,
            name=str(stated["name"]),
            licence=str(stated["licence"]),
            detector_size=int(max(size) if isinstance(size, list) else size),
            detection_threshold=float(stated.get("det_thresh", 0.5)),
            domain=stated.get("domain"),
            threshold=None if threshold is None else float(threshold),
        )
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{description}: not a valid description of a face pack ({error!r}).",
            hint="Download or copy the pack again.",
        ) from error
