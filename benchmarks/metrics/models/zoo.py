"""Which model plays which role, and the feature each provides. Building a zoo loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.metrics.models.base import Extractor
from benchmarks.metrics.models.clip import Aesthetic, ClipImage, ClipText, IBenchClipImage, OpenClip
from benchmarks.metrics.models.faces import Detector, FirstFace, LargestFace, Pack
from benchmarks.metrics.models.probes import Probed
from benchmarks.metrics.models.quality import IBenchMusiq, Musiq, Piqe
from benchmarks.metrics.models.vision import Dino, DinoFace, DreamSim, Inception
from benchmarks.metrics.plugins import plug_in_features
from methods.errors import UsageError, unknown_name

ROLES: dict[str, tuple[str, str, str]] = {
    "clip": (
        "pocket",
        "ViT-L-14:openai",
        "open_clip: pocket, a local-dir folder, or ARCHITECTURE:FILE-OR-TAG",
    ),
    "face": ("pocket-scoring", "insightface:antelopev2", "scoring recogniser, as --face-encoder names it"),
    "face-conditioning": ("pocket", "insightface:buffalo_l", "recogniser that conditioned the generation"),
    "iq": ("pocket", "musiq-spaq", "MUSIQ: pocket, musiq-spaq (in pyiqa's cache) or a weights file"),
    "aesthetic": (
        "~/.cache/emb_reader/sa_0_4_vit_l_14_linear.pth",
        "~/.cache/emb_reader/sa_0_4_vit_l_14_linear.pth",
        "LAION's linear head: a weights file",
    ),
    "inception": (
        "local",
        "local",
        "torch-fidelity's Inception weights: local (torch's hub cache) or a file",
    ),
    "dino": ("facebook/dinov2-base", "facebook/dinov2-base", "DINOv2: a folder or a cached hub id"),
    "dreamsim": ("models", "models", "folder of DreamSim's checkpoints"),
    "probes": ("pocket", "pocket", "attribute probes: pocket or a folder"),
}
"""role -> model for the pocket backbone, model for other backbones, what it may be."""

_FEATURES = {
    "clip": "clip",
    "iq": "musiq",
    "aesthetic": "aesthetic",
    "inception": "inception",
    "dino": "dino",
    "dreamsim": "dreamsim",
    "probes": "probes",
}
"""role -> a feature of its model. Features of faces need both packs, so a pack is asked itself."""


def roles(family: str, models: Mapping[str, str] | None = None) -> dict[str, str]:
    """The model of every role. Raises UsageError for an unknown role."""
    for role in models or {}:
        if role not in ROLES:
            raise unknown_name("metric model", role, ROLES)
    column = 0 if family == "pocket" else 1
    return {role: (models or {}).get(role, defaults[column]) for role, defaults in ROLES.items()}


def check_models(family: str, models: Mapping[str, str]) -> None:
    """Raise UsageError for an unknown role, and for a chosen model that is not there.

    A model that nobody chose may be missing: its metrics are then unavailable, and say so.
    """
    extractors = zoo(family, models)
    for role, name in models.items():
        model = extractors[_FEATURES[role]] if role in _FEATURES else Pack(name)
        if (reason := model.missing()) is not None:
            raise UsageError(f"--model {role}={name}: {reason}", hint=f"{role}: {ROLES[role][2]}.")


def zoo(family: str, models: Mapping[str, str] | None = None, device: str = "cpu") -> dict[str, Extractor]:
    """Every feature's extractor by name; models shared between features are loaded once."""
    chosen = roles(family, models)
    clip = OpenClip(chosen["clip"], device)
    scoring, conditioning = Pack(chosen["face"]), Pack(chosen["face-conditioning"])
    if scoring.name == conditioning.name:
        scoring.conditioned = True
    detector = Detector(scoring)
    dino = Dino(chosen["dino"], device)
    iq = (models or {}).get("iq", "musiq-spaq")  # `iq` is MUSIQ-SPAQ for every backbone: named for what it is
    built_in: dict[str, Extractor] = {
        "clip": ClipImage(clip),
        "clip_ibench": IBenchClipImage(clip),
        "clip_text": ClipText(clip),
        "aesthetic": Aesthetic(clip, str(Path(chosen["aesthetic"]))),
        "face": LargestFace(detector, scoring),
        "face_same": LargestFace(detector, conditioning),
        "face_first": FirstFace(detector, scoring),
        "piqe": Piqe(device),
        "musiq": Musiq(iq, device),
        "musiq_pocket": Musiq("pocket", device),
        "musiq_ibench": IBenchMusiq(chosen["iq"], device),
        "probes": Probed(chosen["probes"]),
        "inception": Inception(chosen["inception"], device),
        "dino": dino,
        "dino_face": DinoFace(dino, detector),
        "dreamsim": DreamSim(chosen["dreamsim"], device),
    }
    return built_in | plug_in_features(set(built_in), device)
