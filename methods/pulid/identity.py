"""From photographs of a person to what PuLID's encoder reads: one chosen face, looked at in two ways.

The recogniser's embedding and the image tower's crop are of the same face. The published code lets two
detectors choose, the largest face for one and the most central for the other, so that a group photograph may
give the embedding of one person and the looks of another; here the crop follows the five points of the face
that was analysed. Source: PuLID@1aa2fc7 pulid/pipeline_flux.py `get_id_embedding`, facexlib 0.3.0's
face_restoration_helper, as described in flux.md B.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from methods.errors import UsageError
from methods.faces import analyse
from methods.images import load_picture
from methods.pulid.parser import FaceParser
from methods.pulid.tower import ImageTower

if TYPE_CHECKING:
    from methods.faces import Face
    from methods.hooks import Identity

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""FFHQ's five points in a crop of 512 x 512, (x, y), in insightface's order."""
CROP = 512
BORDER = (132, 133, 135)
"""What lies beyond the picture: the published (135, 133, 132), which is BGR, as RGB."""
LONG_SIDE = 1024
GREY = (0.299, 0.587, 0.114)


class Inputs(NamedTuple):
    """What the encoder reads of B people, n photographs each (see `encoder.identity_tokens`)."""

    embeddings: Tensor
    states: list[Tensor]


@dataclass(frozen=True, eq=False)
class FaceReader:
    """A way to look at faces, the same in training and in use.

    parser:    makes the background white; None leaves it in the crop
    grey:      the person in grey, as published: colours then come from the prompt
    antialias: see `Config`
    """

    tower: ImageTower
    parser: FaceParser | None = None
    grey: bool = True
    antialias: bool = False

    def read(self, identity: Identity) -> Inputs:
        """All photographs of one person: embeddings float32 [1, n, D + E], per depth [1, n * T, V].

        Raises UsageError for an identity without a face, FaceError for a photograph without one.
        """
        looks = [self.look(rgb, face) for rgb, face in photographs(identity)]
        embeddings = torch.stack([embedding for embedding, _ in looks])[None]
        depths = range(len(self.tower.layers))
        return Inputs(embeddings, [torch.cat([states[i] for _, states in looks])[None] for i in depths])

    def look(self, rgb: NDArray[np.uint8], face: Face) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One face of a picture uint8 [H, W, 3]: embedding float32 [D + E] and per depth [T, V].

        The recogniser's part has its original length, the tower's has length 1.
        """
        seen = self.tower.look(self.view(face_crop(rgb, face.landmarks)))
        own = torch.from_numpy(face.descriptor).to(seen.vector)
        return torch.cat([own, seen.vector]), seen.states

    def view(self, crop: NDArray[np.uint8]) -> Tensor:
        """A crop uint8 [512, 512, 3] as the tower sees it: float32 [3, size, size], about [0, 1].

        Bicubic on the tensor, which may overshoot [0, 1] a little, as published.
        """
        picture = torch.from_numpy(crop).permute(2, 0, 1).float() / 255
        shown = picture
        if self.grey:
            shown = (picture * torch.tensor(GREY).view(-1, 1, 1)).sum(dim=0).expand(3, -1, -1)
        if self.parser is not None:
            shown = torch.where(self.parser.background(picture), torch.ones(()), shown)
        side = (self.tower.size, self.tower.size)
        return F.interpolate(
            shown[None], side, mode="bicubic", align_corners=False, antialias=self.antialias
        )[0]

    def nobody(self, embedding: int, device: torch.device) -> Inputs:
        """The unconditional identity: zeros in the place of everything, embeddings `embedding` wide."""
        shapes, _ = self.tower.shapes
        return Inputs(
            torch.zeros(1, 1, embedding, device=device),
            [torch.zeros(1, *shape, device=device) for shape in shapes],
        )


def face_crop(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The face with hair and neck in FFHQ's frame: uint8 [H, W, 3] -> uint8 [512, 512, 3].

    landmarks: [5, 2] in insightface's order. Pictures are shrunk to 1024 pixels first, never enlarged.
    """
    scale = LONG_SIDE / max(rgb.shape[:2])
    points = np.asarray(landmarks, dtype=np.float64)
    if scale < 1:
        height, width = (round(side * scale) for side in rgb.shape[:2])
        points = points * [width / rgb.shape[1], height / rgb.shape[0]]
        rgb = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LANCZOS4), np.uint8)
    matrix, _ = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)
    crop = cv2.warpAffine(rgb, matrix, (CROP, CROP), borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER)
    return np.asarray(crop, dtype=np.uint8)


def photographs(identity: Identity) -> Iterator[tuple[NDArray[np.uint8], Face]]:
    """Every photograph of a person with its face: the first one's was chosen when the person was analysed."""
    pictures: Sequence[Image.Image | str]
    pictures = identity.pictures if identity.image is None else (identity.image, *identity.pictures)
    if identity.face is None or not pictures:
        raise UsageError(
            f"{identity.name} has no picture with a face, and PuLID looks at one.",
            hint="Give a picture with a face.",
        )
    if len(identity.faces) == len(pictures):
        yield from zip(map(_pixels, pictures), identity.faces, strict=True)
        return
    yield _pixels(pictures[0]), identity.face
    for picture in pictures[1:]:
        if identity.encoder is None:
            raise UsageError(
                f"{identity.name} has several pictures and no face encoder to read them with.",
                hint="Give Identity.encoder, or one picture.",
            )
        yield _pixels(picture), analyse(picture, identity.encoder)


def _pixels(picture: Image.Image | str) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("RGB") if isinstance(picture, Image.Image) else load_picture(picture))
