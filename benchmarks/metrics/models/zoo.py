"""Which model plays which role, and the feature each provides. Building a zoo loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.metrics.models.base import Extractor, content_digest
from benchmarks.metrics.models.clip import Aesthetic, ClipImage, ClipText, IBenchClipImage, OpenClip
from benchmarks.metrics.models.faces import Detector, FacesOfCompany, FirstFace, LargestFace, Pack
from benchmarks.metrics.models.gallery import LookAlikes
from benchmarks.metrics.models.pairs import Lpips
from benchmarks.metrics.models.preference import PickImage, PickScore, PickText
from benchmarks.metrics.models.probes import Probed
from benchmarks.metrics.models.quality import IBenchMusiq, Musiq, Piqe
from benchmarks.metrics.models.vision import Dino, DinoFace, DreamSim, Inception
from methods.errors import UsageError, unknown_name
from methods.shipped import is_pocket

ROLES: dict[str, tuple[str, str, str]] = {
    "clip": (
        "pocket",
        "ViT-L-14:openai",
        "open_clip: pocket, a local-dir folder, or ARCHITECTURE:FILE-OR-TAG",
    ),
    "face": ("pocket-scoring", "insightface:antelopev2", "scoring recogniser, as --face-encoder names it"),
    "face-conditioning": ("pocket", "insightface:buffalo_l", "recogniser that conditioned the generation"),
    "face-second": ("none", "dlib", "second recogniser, neither of the two others"),
    "gallery": ("pocket", "none", "look-alikes: pocket (rendered people) or a folder of pictures"),
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
    "lpips": ("local", "local", "AlexNet's weights: local (torch's hub cache) or a file"),
    "preference": (
        "yuvalkirstain/PickScore_v1",
        "yuvalkirstain/PickScore_v1",
        "PickScore: a folder or a cached hub id",
    ),
    "dreamsim": ("models", "models", "folder of DreamSim's checkpoints"),
    "probes": ("pocket", "pocket", "attribute probes: pocket or a folder"),
}
"""role -> model for pocket backbones, model for other backbones, what it may be."""

_RECOGNISERS = {
    True: ("pocket-scoring", "pocket"),
    False: ("insightface:antelopev2", "insightface:buffalo_l", "dlib"),
}
"""Who may judge where nobody was chosen: rendered people, photographs. Never who conditioned the pictures."""

_FEATURES = {
    "clip": "clip",
    "iq": "musiq",
    "aesthetic": "aesthetic",
    "inception": "inception",
    "dino": "dino",
    "dreamsim": "dreamsim",
    "probes": "probes",
    "gallery": "look_alikes",
    "lpips": "lpips",
    "preference": "pick_image",
}
"""role -> a feature of its model. Features of faces need both packs, so a pack is asked itself."""


def roles(family: str, models: Mapping[str, str] | None = None) -> dict[str, str]:
    """The model of every role. Raises UsageError for an unknown role."""
    for role in models or {}:
        if role not in ROLES:
            raise unknown_name("metric model", role, ROLES)
    given = models or {}
    pocket = is_pocket(family)
    chosen = {role: given.get(role, defaults[not pocket]) for role, defaults in ROLES.items()}
    if "face" not in given:
        chosen["face"] = _other(_RECOGNISERS[pocket], [chosen["face-conditioning"]])
    if "face-second" not in given and not pocket:
        taken = [chosen["face-conditioning"], chosen["face"]]
        chosen["face-second"] = _other(_RECOGNISERS[pocket][::-1], taken)
    return chosen


def _other(candidates: Sequence[str], taken: Sequence[str]) -> str:
    """The first recogniser that is not taken, installed or not: what is installed decides no number."""
    free = [name for name in candidates if not any(_same(Pack(name), Pack(one)) for one in taken)]
    return (free or list(candidates))[0]


def _same(one: Pack, other: Pack) -> bool:
    """Whether two encoders are one, under the same name or another one."""
    if one.name == other.name:
        return True
    digests = [content_digest(pack.files(), pack.digests()) for pack in (one, other)]
    return digests[0] is not None and digests[0] == digests[1]


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
    """Every built-in feature's extractor by name; models shared between features are loaded once.

    Those of plug-ins join in `benchmarks.metrics.plugins.all_extractors`.
    """
    chosen = roles(family, models)
    clip = OpenClip(chosen["clip"], device)
    scoring, conditioning = Pack(chosen["face"]), Pack(chosen["face-conditioning"])
    second = Pack(chosen["face-second"])
    detector = Detector(scoring)
    face = LargestFace(detector, scoring, _bias("face", scoring, conditioning))
    third = LargestFace(detector, second, _bias("face-second", second, conditioning, scoring))
    preference = PickScore(chosen["preference"], device)
    dino = Dino(chosen["dino"], device)
    iq = (models or {}).get("iq", "musiq-spaq")  # `iq` is MUSIQ-SPAQ for every backbone: named for what it is
    return {
        "clip": ClipImage(clip),
        "clip_ibench": IBenchClipImage(clip),
        "clip_text": ClipText(clip),
        "aesthetic": Aesthetic(clip, str(Path(chosen["aesthetic"]))),
        "face": face,
        "face_second": third,
        "company": FacesOfCompany(detector, scoring, face.bias),
        "look_alikes": LookAlikes(chosen["gallery"], face),
        "lpips": Lpips(chosen["lpips"], device),
        "pick_image": PickImage(preference),
        "pick_text": PickText(preference),
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


def _bias(role: str, judge: Pack, *others: Pack) -> str | None:
    """Why a recogniser must not judge identity, None where nothing speaks against it."""
    if judge.name == "none":
        return "There is no third recogniser of rendered people. Give face-second=NAME."
    if _same(judge, others[0]):
        return (
            f"{judge.name} conditioned the pictures, so what it sees is flattering. Give another recogniser: "
            f"{role}=NAME."
        )
    if any(_same(judge, other) for other in others):
        return f"{judge.name} is already the recogniser of id_sim. Give another one: {role}=NAME."
    return None
