"""The photographs of an identity as the latents that a fit denoises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from methods.backbone.vae import encode_pixels
from methods.errors import UsageError
from methods.images import load_picture

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone
    from methods.hooks import Identity


def photo_latents(backbone: Backbone, identity: Identity, *, flipped: bool = False) -> Tensor:
    """Latents of all reference pictures, encoded once: float32 [P, C, h, w], on the backbone's device.

    flipped: every picture also as its mirror image, after the others. Raises UsageError without any picture.
    """
    if not identity.pictures:
        raise UsageError(
            f"{identity.name} has no reference picture to fit to.", hint="Give --reference face.png."
        )
    faces = identity.faces or (identity.face,) * len(identity.pictures)
    crops = [
        crop(load_picture(path), backbone.default_size, None if face is None else face.box)
        for path, face in zip(identity.pictures, faces, strict=True)
    ]
    if flipped:
        crops += [ImageOps.mirror(one) for one in crops]
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in crops])).permute(0, 3, 1, 2)
    return encode_pixels(backbone, pixels.float() / 127.5 - 1.0)


def crop(picture: Image.Image, size: tuple[int, int], box: np.ndarray | None) -> Image.Image:
    """The largest part of a picture with the shape of `size` (width, height), as near to the face as can be.

    box: x1, y1, x2, y2 of the face; None takes the middle.
    """
    scale = min(picture.width / size[0], picture.height / size[1])
    wide, high = scale * size[0], scale * size[1]
    middle = (picture.width / 2, picture.height / 2)
    x, y = middle if box is None else ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    left = float(min(max(x - wide / 2, 0.0), picture.width - wide))
    top = float(min(max(y - high / 2, 0.0), picture.height - high))
    return picture.resize(size, Image.Resampling.LANCZOS, (left, top, left + wide, top + high))
