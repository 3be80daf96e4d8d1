"""Face encoders by name; others join through the entry-point group `spid.face_encoders`.

A plug-in is an `EncoderSource`, or only a factory like its `load`: then its licence and fingerprint are
asked of the encoder itself, which has to be loaded for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from methods.errors import SpidError, UsageError, unknown_name
from methods.faces.types import FaceEncoder
from methods.paths import pocket_dir, user_path
from methods.plugins import Registry

_PUBLISHED_PACKS = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")


class Factory(Protocol):
    def __call__(self, argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
        """An encoder, ready to run. argument: what follows the colon in `name:argument`."""
        ...


@dataclass(frozen=True)
class EncoderCard:
    """What is known of an encoder without loading it.

    tag: models in one line. licence: of the models, in words. files: those whose contents decide its results;
    none where they are not files of this machine. digest: stands in for the files' contents where there are
    none. missing: what keeps it from being loaded and what to do, None when nothing does.
    """

    tag: str
    licence: str
    files: tuple[Path, ...] = ()
    digest: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class EncoderSource:
    """How to load an encoder, and how to describe it without loading; both take what follows the colon."""

    load: Factory
    card: Callable[[str | None], EncoderCard]


def _fault(name: str, loaded: Any) -> str | None:
    return (
        None if isinstance(loaded, EncoderSource) or callable(loaded) else "it is not a factory of encoders"
    )


ENCODERS: Registry[EncoderSource | Factory] = Registry(
    "face encoder",
    "spid.face_encoders",
    {
        "pocket": "methods.faces.registry:_POCKET",
        "pocket-scoring": "methods.faces.registry:_POCKET_SCORING",
        "dlib": "methods.faces.dlib_encoder:SOURCE",
        "insightface": "methods.faces.registry:_PACK",
    },
    _fault,
)


def encoder_names() -> list[str]:
    """Names that `load_encoder` knows, built-in ones first; imports nothing."""
    return ENCODERS.names()


def load_encoder(
    name_or_folder: str | os.PathLike[str] = "pocket", *, providers: Sequence[str] | None = None
) -> FaceEncoder:
    """A face encoder, ready to run; nothing is downloaded.

    'pocket' and 'pocket-scoring': the shipped packs, for rendered people. 'dlib' or 'dlib:mmod': real
    photographs, offline (extra 'dlib'). 'insightface:<pack or folder>' or just a folder: an insightface pack
    such as antelopev2. Or a plug-in's name. providers: onnxruntime's, see InsightFaceEncoder.

    Raises UsageError for an unknown name, WeightsError for missing or damaged model files,
    MissingDependencyError for a package or a provider that is not there, SpidError for a broken plug-in.
    """
    source, argument, name = _source(name_or_folder)
    load = source.load if isinstance(source, EncoderSource) else source
    encoder = load(argument, providers=providers)
    if not isinstance(encoder, FaceEncoder):
        raise SpidError(
            f"The face encoder {name!r} (package {ENCODERS.origin(name)}) gave a {type(encoder).__name__}.",
            hint="It must give what methods.faces.FaceEncoder describes.",
        )
    return encoder


def encoder_card(name_or_folder: str | os.PathLike[str]) -> EncoderCard:
    """What an encoder says of itself. Raises nothing: what is wrong is `missing`."""
    text = os.fspath(name_or_folder)
    try:
        source, argument, _ = _source(text)
        if isinstance(source, EncoderSource):
            return source.card(argument)
        encoder = source(argument)
        return EncoderCard(encoder.name, encoder.licence, digest=encoder.fingerprint)
    except SpidError as error:
        return EncoderCard(text, "unknown", missing=str(error))
    except Exception as error:  # a stranger's card must not take the other metrics with it
        return EncoderCard(text, "unknown", missing=f"{text}: {type(error).__name__}: {error}")


def _source(name_or_folder: str | os.PathLike[str]) -> tuple[EncoderSource | Factory, str | None, str]:
    """Source, argument and registered name."""
    text = os.fspath(name_or_folder)
    if text not in ENCODERS and user_path(text).is_dir():
        return _PACK, text, "insightface"
    name, colon, argument = text.partition(":")
    if name not in ENCODERS:
        raise _unknown(text)
    return ENCODERS.get(name), argument if colon else None, name


def _load_pack(argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
    from methods.faces.insightface_pack import InsightFaceEncoder
    from methods.faces.packs import find_pack

    if not argument:
        raise UsageError(
            "face encoder 'insightface' needs a pack.",
            hint="Use insightface:antelopev2 (below ~/.insightface/models) or insightface:/path/to/folder.",
        )
    return InsightFaceEncoder(find_pack(argument), providers)


def _pack_card(argument: str | None, tag: str | None = None) -> EncoderCard:
    from methods.faces.packs import INSIGHTFACE_LICENCE, find_pack

    tag = tag or f"insightface, {argument}"
    try:
        pack = find_pack(argument or "")
    except SpidError as error:
        return EncoderCard(tag, INSIGHTFACE_LICENCE, missing=str(error))
    files = (*sorted(pack.folder.glob("*.onnx")), pack.folder / "pack.json")
    return EncoderCard(tag, pack.licence, tuple(file for file in files if file.is_file()))


def _shipped(name: str, folder: str) -> EncoderSource:
    def load(argument: str | None, *, providers: Sequence[str] | None = None) -> FaceEncoder:
        return _load_pack(str(pocket_dir() / folder), providers=providers)

    def card(argument: str | None) -> EncoderCard:
        return _pack_card(str(pocket_dir() / folder), f"insightface, {name}")

    return EncoderSource(load, card)


_PACK = EncoderSource(_load_pack, _pack_card)
_POCKET = _shipped("pocket", "face")
_POCKET_SCORING = _shipped("pocket-scoring", "face-scoring")


def _unknown(text: str) -> UsageError:
    if text in _PUBLISHED_PACKS:
        return UsageError(f"Unknown face encoder {text!r}.", hint=f"Did you mean insightface:{text}?")
    if len(Path(text).parts) > 1:
        return UsageError(f"face encoder {text!r}: no such folder.", hint="Check the path.")
    names = encoder_names()
    return unknown_name("face encoder", text, names, listing=f"Known: {', '.join(names)}, or a folder.")
