"""Face packs run by insightface: SCRFD detection, ArcFace-style recognition on 112 x 112 crops.

insightface sorts a folder's ONNX files by shape: five or more outputs make a detector, a square input of
at least 112 that is divisible by 16 a recogniser; the first of each kind by file name is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.errors import MissingDependencyError, SpidError, WeightsError
from methods.faces.geometry import align
from methods.faces.packs import Pack
from methods.faces.types import Detection, Face
from methods.later import stand_ins

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
}
_UNUSED = {"skimage.transform": ("SimilarityTransform",)}
"""For alignment (ours is methods/faces/geometry.py) and liveness; with scipy half a second to import."""

_GPU_FIX = "Run `pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu`"


class InsightFaceEncoder:
    """A FaceEncoder over one pack; `similarity` is the cosine of the embeddings, in [-1, 1].

    providers: onnxruntime providers in order of preference, full or short names ('cuda', 'cpu'). The first
    one must become the active one: onnxruntime's silent fall to the CPU is an error here. None means CPU,
    which gives the same numbers on every machine.
    """

    def __init__(self, pack: Pack, providers: Sequence[str] | None = None) -> None:
        wanted = [_PROVIDERS.get(p.lower(), p) for p in providers or ("cpu",)]
        analysis = _face_analysis(pack, wanted)
        self._detector: Any = analysis.models["detection"]
        self._recogniser: Any = analysis.models["recognition"]
        self.provider = _active_provider((self._detector, self._recogniser), wanted[0])
        self.pack = pack
        self.name = pack.name
        self.licence = pack.licence
        self.domain = pack.domain
        self.threshold = pack.threshold
        self.dim = int(self._recogniser.output_shape[-1])
        fixed = self._detector.static_input_size
        self.detector_sizes: tuple[int, ...] = (max(fixed),) if fixed else _ladder(pack.detector_size)

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"insightface {self.detector_sizes} {self.pack.detection_threshold}".encode())
        for model in (self._detector, self._recogniser):
            with Path(model.model_file).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def detect(self, rgb: NDArray[np.uint8], *, size: int | None = None) -> list[Detection]:
        side = size or self.detector_sizes[0]
        if min(rgb.shape[:2]) * side < max(rgb.shape[:2]):  # shrunk, a side would have no pixel
            return []
        boxes, landmarks = self._detector.detect(
            np.ascontiguousarray(rgb[..., ::-1]), input_size=(side, side)
        )
        order = np.argsort(-boxes[:, 4], kind="stable")
        return [
            Detection(boxes[i, :4].astype(np.float32), landmarks[i].astype(np.float32), float(boxes[i, 4]))
            for i in order
        ]

    def embed(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        crop = align(rgb, landmarks, size=self._recogniser.input_size[0])
        features = self._recogniser.get_feat(np.ascontiguousarray(crop[..., ::-1]))  # it takes BGR
        return np.asarray(features, dtype=np.float32).reshape(-1)

    def similarity(self, a: Face, b: Face) -> float:
        return float(a.embedding @ b.embedding)


def _ladder(size: int) -> tuple[int, ...]:
    """The pinned detector size and its halves down to 64, each a multiple of SCRFD's largest stride."""
    sizes = [size]
    while (half := sizes[-1] // 2 // 32 * 32) >= 64:
        sizes.append(half)
    return tuple(sizes[:3])


def _face_analysis(pack: Pack, providers: list[str]) -> Any:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when onnxruntime is first imported
    try:
        with contextlib.redirect_stdout(io.StringIO()), stand_ins(_UNUSED):
            import onnxruntime
            from insightface.app import FaceAnalysis
    except ImportError as error:
        raise MissingDependencyError(
            f"face packs need insightface and onnxruntime ({error}).",
            hint="Run `pip install 'insightface>=2' onnxruntime`.",
        ) from error
    available = onnxruntime.get_available_providers()
    if providers[0] not in available:
        raise MissingDependencyError(
            f"onnxruntime has no {providers[0]} here (it has {', '.join(available)}).",
            hint=f"{_GPU_FIX}, or ask for cpu." if providers[0] == _PROVIDERS["cuda"] else "Ask for cpu.",
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # older versions print every model they find
            analysis = FaceAnalysis(
                name=str(pack.folder.resolve()),
                allowed_modules=["detection", "recognition"],
                providers=providers,
            )
            side = pack.detector_size
            analysis.prepare(ctx_id=0, det_thresh=pack.detection_threshold, det_size=(side, side))
    except AssertionError as error:  # its way of saying that no detector was found
        raise _incomplete(pack, "detector (five or more outputs)") from error
    except Exception as error:  # onnxruntime and protobuf raise many kinds on a damaged file
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"face pack {pack.folder}: a model cannot be loaded ({reason[0][:160]}).",
            hint="Unpack the pack again.",
        ) from error
    if "recognition" not in analysis.models:
        raise _incomplete(pack, "recogniser (square input of 112 or more)")
    if not analysis.models["detection"].use_kps:
        raise _incomplete(pack, "detector with five landmarks")
    return analysis


def _incomplete(pack: Pack, part: str) -> WeightsError:
    return WeightsError(
        f"face pack {pack.folder}: no {part} among its .onnx files.",
        hint="Use a whole pack such as antelopev2 or buffalo_l.",
    )


def _active_provider(models: Sequence[Any], wanted: str) -> str:
    for model in models:
        active = model.session.get_providers()[0]
        if active != wanted:
            raise SpidError(
                f"{wanted} was asked for but onnxruntime runs {Path(model.model_file).name} on {active}.",
                hint=f"{_GPU_FIX} with matching CUDA and cuDNN libraries, or ask for cpu.",
            )
    return wanted
