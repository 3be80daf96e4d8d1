"""Features that only exist where their weights are local: Inception, DINOv2, DreamSim."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.models.base import Extractor, loading
from methods.paths import in_hub_cache, user_path

if TYPE_CHECKING:
    from PIL import Image

    from benchmarks.metrics.models.faces import Detector

_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
_DREAMSIM = (
    "dino_vitb16_pretrain.pth",
    "open_clip_vitb16_pretrain.pth.tar",
    "clip_vitb16_pretrain.pth.tar",
    "ensemble_lora",
)
"""What the ensemble consists of; the package downloads whatever is absent, so nothing may be."""


def _unit(rows: Any) -> list[Any]:
    features = np.asarray(rows, np.float32)
    return list(features / np.linalg.norm(features, axis=1, keepdims=True))


class Inception(Extractor):
    """pool_3 features float32 [2048] of the 2015 TensorFlow Inception, as torch-fidelity ports it."""

    preprocessing = "uint8, bilinear to 299 x 299 as TensorFlow 1 did"
    licence = "Apache-2.0 (TensorFlow, torch-fidelity)"

    def __init__(self, path: str, device: str) -> None:
        home = user_path(os.environ.get("TORCH_HOME") or "~/.cache/torch")
        self.file = home / "hub" / "checkpoints" / _INCEPTION if path == "local" else user_path(path)
        self.device = device
        self.tag = f"torch-fidelity, {self.file.name}"

    def missing(self) -> str | None:
        if find_spec("torch_fidelity") is None:
            return "torch-fidelity is not installed. Run `pip install 'spid[fid]'`."
        if not self.file.is_file():
            return f"No Inception weights at {self.file}. Put torch-fidelity's file there, or give "
            "inception=FILE."
        return None

    def files(self) -> tuple[Path, ...]:
        return (self.file,)

    @cached_property
    def network(self) -> Any:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        from methods.weights import load_weights

        load_weights(self.file)  # refuses a file that holds more than tensors, before torch-fidelity opens it
        network = FeatureExtractorInceptionV3(
            "inception", ["2048"], feature_extractor_weights_path=str(self.file)
        )
        return network.eval().to(self.device)

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        rows = []
        with torch.inference_mode():
            for _, picture in items:
                pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].to(self.device)
                rows.append(self.network(pixels)[0].flatten().cpu().numpy())
        return rows


class Dino(Extractor):
    """The CLS feature of DINOv2, L2-normalised float32 [D], through transformers.

    spec: a local folder, or a hub id that is in the local cache (`facebook/dinov2-base`).
    """

    preprocessing = "the model's own processor (shorter side 256 bicubic, centre crop 224 for DINOv2)"
    licence = "Apache-2.0 (DINOv2)"

    def __init__(self, spec: str, device: str) -> None:
        self.spec, self.device = spec, device
        self.tag = f"transformers, {Path(spec).name}"

    def missing(self) -> str | None:
        if user_path(self.spec).is_dir():
            return None
        if os.sep not in self.spec or not in_hub_cache(self.spec, "config.json"):
            return f"No DINOv2 model at {self.spec}. Give dino=FOLDER, or fetch it once into the hub's cache."
        return None

    def files(self) -> tuple[Path, ...]:
        folder = user_path(self.spec)
        return tuple(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else ()

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        from transformers import AutoImageProcessor, AutoModel

        folder = user_path(self.spec)
        name = str(folder) if folder.is_dir() else self.spec
        with loading(name, "DINOv2", "Give dino=FOLDER."):
            processor = AutoImageProcessor.from_pretrained(name, local_files_only=True)
            model = AutoModel.from_pretrained(name, local_files_only=True)
        return processor, model.eval().to(self.device)

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        processor, model = self._loaded
        pixels = processor(images=[self._shown(*item) for item in items], return_tensors="pt")
        with torch.inference_mode():
            return _unit(model(**pixels.to(self.device)).last_hidden_state[:, 0].float().cpu().numpy())

    def _shown(self, key: str, picture: Image.Image) -> Image.Image:
        return picture


@dataclass(frozen=True, eq=False)
class FaceSeen:
    """vector: L2-normalised float32 [D]; foreign: why the detector that found the face may not judge the
    picture, unless that is known to be of its world."""

    vector: NDArray[np.float32]
    foreign: str | None


class DinoFace(Dino):
    """A FaceSeen of the face alone, as IBench's FGIS crops it: the first face's box with 30 pixels around."""

    preprocessing = f"face box and 30 pixels, else the whole picture; then {Dino.preprocessing}"

    def __init__(self, dino: Dino, detector: Detector) -> None:
        super().__init__(dino.spec, dino.device)
        self._whole, self.detector = dino, detector

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return self._whole._loaded

    def missing(self) -> str | None:
        return super().missing() or self.detector.pack.missing()

    def files(self) -> tuple[Path, ...]:
        return (*super().files(), *self.detector.pack.files())

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return [
            FaceSeen(vector, self._foreign(*item))
            for vector, item in zip(super().compute(items), items, strict=True)
        ]

    def _foreign(self, key: str, picture: Image.Image) -> str | None:
        from benchmarks.metrics.models.faces import foreign

        found = self.detector.find(key, picture, ladder=False)
        return foreign((self.detector.pack,), picture, found[0] if found else None)

    def _shown(self, key: str, picture: Image.Image) -> Image.Image:
        found = self.detector.find(key, picture, ladder=False)
        if not found:
            return picture
        x1, y1, x2, y2 = (int(edge) for edge in found[0].box)
        return picture.crop((x1 - 30, y1 - 30, x2 + 30, y2 + 30))


class DreamSim(Extractor):
    """DreamSim's ensemble embedding, L2-normalised float32 [D]. folder: holds the downloaded checkpoints."""

    preprocessing = "224 x 224 bicubic, [0, 1]"
    licence = "MIT (DreamSim)"

    def __init__(self, folder: str, device: str) -> None:
        self.folder, self.device = user_path(folder), device
        self.tag = "dreamsim, ensemble"

    def missing(self) -> str | None:
        if find_spec("dreamsim") is None:
            return "dreamsim is not installed. Run `pip install dreamsim`."
        if absent := [name for name in _DREAMSIM if not (self.folder / name).exists()]:
            return f"No DreamSim checkpoints in {self.folder} ({absent[0]}). Give dreamsim=FOLDER."
        return None

    def files(self) -> tuple[Path, ...]:
        given = [self.folder / name for name in _DREAMSIM]
        return tuple(file for path in given for file in ([path] if path.is_file() else path.rglob("*")))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        from dreamsim import dreamsim

        model, preprocess = dreamsim(pretrained=True, cache_dir=str(self.folder), device=self.device)
        return model.eval(), preprocess

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        import torch

        model, preprocess = self._loaded
        with torch.inference_mode():
            pixels = torch.cat([preprocess(picture) for _, picture in items]).to(self.device)
            return _unit(model.embed(pixels).float().cpu().numpy())
