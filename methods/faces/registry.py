"""Face encoders by name; others join through the entry-point group `spid.face_encoders`.

A plug-in is a callable `factory(argument: str | None, *, providers: Sequence[str] | None) -> FaceEncoder`,
where `argument` is what follows the colon in `name:argument`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from methods.errors import UsageError, unknown_name
from methods.faces.types import FaceEncoder
from methods.paths import pocket_dir

GROUP = "spid.face_encoders"

_BUILT_IN = {
    "pocket": "methods.faces.registry:_pocket",
    "pocket-scoring": "methods.faces.registry:_pocket_scoring",
    "dlib": "methods.faces.dlib_encoder:load",
    "insightface": "methods.faces.registry:_pack",
}
_PUBLISHED_PACKS = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")


def encoder_names() -> list[str]:
    """Names that `load_encoder` knows, built-in ones first; imports nothing."""
    return [*_BUILT_IN, *sorted(point.name for point in _plug_ins() if point.name not in _BUILT_IN)]


def load_encoder(
    name_or_folder: str | os.PathLike[str] = "pocket", *, providers: Sequence[str] | None = None
) -> FaceEncoder:
    """A face encoder, ready to run; nothing is downloaded.

    'pocket' and 'pocket-scoring': the shipped packs, for rendered people. 'dlib' or 'dlib:mmod': real
    photographs, offline (extra 'dlib'). 'insightface:<pack or folder>' or just a folder: an insightface pack
    such as antelopev2. Or a plug-in's name. providers: onnxruntime's, see InsightFaceEncoder.

    Raises UsageError for an unknown name, WeightsError for missing or damaged model files,
    MissingDependencyError for a package or a provider that is not there.
    """
    text = os.fspath(name_or_folder)
    if text not in _BUILT_IN and Path(text).expanduser().is_dir():
        return _pack(text, providers=providers)
    name, colon, argument = text.partition(":")
    target = _BUILT_IN.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
    else:
        point = next((point for point in _plug_ins() if point.name == name), None)
        if point is None:
            raise _unknown(text)
        factory = point.load()
    return cast(FaceEncoder, factory(argument if colon else None, providers=providers))


def _plug_ins() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _pack(argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
    from methods.faces.insightface_pack import InsightFaceEncoder
    from methods.faces.packs import find_pack

    if not argument:
        raise UsageError(
            "face encoder 'insightface' needs a pack.",
            hint="Use insightface:antelopev2 (below ~/.insightface/models) or insightface:/path/to/folder.",
        )
    return InsightFaceEncoder(find_pack(argument), providers)


def _pocket(argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
    return _pack(str(pocket_dir() / "face"), providers=providers)


def _pocket_scoring(argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
    return _pack(str(pocket_dir() / "face-scoring"), providers=providers)


def _unknown(text: str) -> UsageError:
    if text in _PUBLISHED_PACKS:
        return UsageError(f"Unknown face encoder {text!r}.", hint=f"Did you mean insightface:{text}?")
    if len(Path(text).parts) > 1:
        return UsageError(f"face encoder {text!r}: no such folder.", hint="Check the path.")
    names = encoder_names()
    return unknown_name("face encoder", text, names, listing=f"Known: {', '.join(names)}, or a folder.")
