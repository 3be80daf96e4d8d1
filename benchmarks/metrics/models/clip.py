"""CLIP through open_clip: image and text features, one forward per picture and prompt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.models.base import APACHE, Extractor
from methods.errors import UsageError, WeightsError
from methods.paths import pocket_dir, user_path

if TYPE_CHECKING:
    from PIL import Image

_CONFIG = "open_clip_config.json"


class OpenClip:
    """A dual encoder, loaded on first use.

    spec: `pocket`; a folder with open_clip_config.json; or `ARCHITECTURE:WEIGHTS`, where weights are a file
    (OpenAI's want `ViT-L-14-quickgelu`) or one of open_clip's tags (`ViT-L-14:openai`), which open_clip
    takes from its cache or downloads.
    """

    def __init__(self, spec: str, device: str) -> None:
        self.device = device
        self.folder: Path | None = None
        self.architecture, _, self.weights = spec.partition(":")
        if spec == "pocket":
            self.folder = pocket_dir() / "clip"
            self.tag, self.licence = "open_clip, pocket dual encoder", APACHE
        elif user_path(spec).is_dir() or not self.weights:
            self.folder = user_path(spec)
            self.tag, self.licence = f"open_clip, {self.folder.name}", "of the weights you gave"
        else:
            self.tag = f"open_clip, {self.architecture}, {Path(self.weights).name}"
            self.licence = "MIT (OpenAI)" if self.weights == "openai" else "of the weights you gave"

    def missing(self) -> str | None:
        if self.folder is not None:
            if not (self.folder / _CONFIG).is_file():
                return (
                    f"No CLIP model: {self.folder / _CONFIG} is missing. Give clip=FOLDER or clip=ARCH:FILE."
                )
        elif os.sep in self.weights and not user_path(self.weights).is_file():
            return f"No CLIP weights at {self.weights}. Check the path."
        return None

    def files(self) -> tuple[Path, ...]:
        if self.folder is not None:
            return tuple(path for path in self.folder.glob("*") if path.is_file())
        return (user_path(self.weights),) if os.sep in self.weights else ()

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        from methods.compat import ensure_torchvision

        ensure_torchvision()
        import open_clip

        try:
            if self.folder is not None:
                name = f"local-dir:{self.folder}"
                model, _, transform = open_clip.create_model_and_transforms(name, device=self.device)
            else:
                name = self.architecture
                if name not in open_clip.list_models():
                    raise UsageError(
                        f"open_clip knows no architecture {name!r}.", hint="See open_clip.list_models()."
                    )
                weights = str(user_path(self.weights)) if os.sep in self.weights else self.weights
                # OpenAI's weights were trained with QuickGELU; open_clip only warns when it is left out
                quick = {"force_quick_gelu": True} if self.weights == "openai" else {}
                model, _, transform = open_clip.create_model_and_transforms(
                    name, pretrained=weights, device=self.device, **quick
                )
            return model.eval(), transform, open_clip.get_tokenizer(name)
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise WeightsError(
                f"{self.tag} cannot be loaded: {reason[:200]}.",
                hint="Give the weights as a file, with OpenAI's activation where they are OpenAI's: "
                "clip=ViT-L-14-quickgelu:/path/to/weights.safetensors, or a folder.",
            ) from error

    def images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """L2-normalised features float32 [N,D] of RGB pictures, by the model's own transform."""
        import torch

        model, transform, _ = self._loaded
        with torch.inference_mode():
            pixels = torch.stack([transform(picture) for picture in pictures]).to(self.device)
            return np.asarray(model.encode_image(pixels, normalize=True).float().cpu().numpy())

    def ibench_images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """As `images`, by IBench's transform, which resizes (bicubic) and crops tensors, not pictures.

        clipeval.py: [0,1] -> [-1,1] -> [0,1], torchvision's Resize and CenterCrop on tensors, CLIP's mean and
        standard deviation.
        """
        import torch
        from torchvision.transforms import v2

        model, transform, _ = self._loaded
        size = model.visual.image_size
        side = size[0] if isinstance(size, tuple | list) else size
        normalise = next(step for step in transform.transforms if hasattr(step, "mean"))
        steps = v2.Compose(
            [v2.Resize(side, interpolation=v2.InterpolationMode.BICUBIC), v2.CenterCrop(side), normalise]
        )
        with torch.inference_mode():
            tensors = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255.0 for picture in pictures]
            pixels = torch.stack([steps(tensor) for tensor in tensors]).to(self.device)
            return np.asarray(model.encode_image(pixels, normalize=True).float().cpu().numpy())

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised features float32 [N,D]; text is cut at the model's context length."""
        import torch

        model, _, tokenizer = self._loaded
        with torch.inference_mode():
            tokens = tokenizer(list(texts)).to(self.device)
            return np.asarray(model.encode_text(tokens, normalize=True).float().cpu().numpy())


class _Clip(Extractor):
    def __init__(self, clip: OpenClip) -> None:
        self.clip = clip
        self.tag, self.licence = clip.tag, clip.licence

    def missing(self) -> str | None:
        return self.clip.missing()

    def files(self) -> tuple[Path, ...]:
        return self.clip.files()


class ClipImage(_Clip):
    """float32 [D], L2-normalised."""

    preprocessing = "the model's own transform (resize, crop or squash as its config says, its mean and std)"

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return list(self.clip.images([picture for _, picture in items]))


class IBenchClipImage(_Clip):
    """float32 [D], L2-normalised, by IBench's transform."""

    preprocessing = (
        "tensor resized (shorter side, bicubic, antialiased), centre crop, the model's mean and std"
    )

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return list(self.clip.ibench_images([picture for _, picture in items]))


class ClipText(_Clip):
    """float32 [D], L2-normalised."""

    preprocessing = "the model's own tokenizer, cut at its context length"

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        return list(self.clip.texts([text for _, text in items]))


class Aesthetic(Extractor):
    """LAION's linear head on the normalised ViT-L/14 image feature; a float, about 1 to 10."""

    preprocessing = "as CLIP image features"
    licence = "MIT (LAION aesthetic-predictor)"

    def __init__(self, clip: OpenClip, path: str) -> None:
        self.clip, self.path = clip, user_path(path)
        self.tag = f"LAION linear head {self.path.name} on {clip.tag}"

    def missing(self) -> str | None:
        if not self.clip.architecture.startswith("ViT-L-14"):
            return f"The aesthetic head needs clip=ViT-L-14:..., not {self.clip.tag}."
        if not self.path.is_file():
            return (
                f"No aesthetic head at {self.path}. Put LAION's sa_0_4_vit_l_14_linear.pth there, or give "
                "aesthetic=FILE."
            )
        return self.clip.missing()

    def files(self) -> tuple[Path, ...]:
        return (self.path, *self.clip.files())

    @cached_property
    def _head(self) -> tuple[NDArray[np.float32], float]:
        from methods.weights import load_weights

        state = load_weights(self.path)
        if set(state) != {"weight", "bias"} or tuple(state["weight"].shape) != (1, 768):
            raise WeightsError(
                f"{self.path} is no linear head of width 768.", hint="Use LAION's linear head."
            )
        return state["weight"].float().numpy()[0], float(state["bias"])

    def compute(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        weight, bias = self._head
        return [float(feature @ weight) + bias for feature in self.clip.images([p for _, p in items])]
