"""Selection, ladder, errors and cache, on the red-square pack and on a small encoder of our own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from square_pack import person

from methods.errors import (
    FaceError,
    NoFaceError,
    PictureError,
    SeveralFacesError,
    TinyFaceError,
    UsageError,
)
from methods.faces import Detection, FaceEncoder, analyse, load_encoder, select_face
from methods.faces.analyse import PADDED_SIDE
from methods.faces.geometry import TEMPLATE


@dataclass
class Brightness:
    """Finds one white rectangle, when it fills 10 to 50 % of the working picture's width."""

    name: str = "brightness"
    licence: str = "none"
    dim: int = 3
    provider: str = "CPU"
    fingerprint: str = "0" * 64
    domain: str | None = None
    detector_sizes: tuple[int, ...] = (640, 320)
    threshold: float | None = None
    calls: list[tuple[int, int]] = field(default_factory=list)
    widest: tuple[float, float] = (0.5, 0.5)

    def detect(self, rgb, *, size=None):
        size = size or self.detector_sizes[0]
        self.calls.append((rgb.shape[1], size))
        rows, columns = np.nonzero(rgb[..., 0] > 200)
        if not len(rows):
            return []
        box = np.float32([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        limit = self.widest[self.detector_sizes.index(size)]
        if not 0.1 <= (box[2] - box[0]) / rgb.shape[1] <= limit:
            return []
        landmarks = box[:2] + TEMPLATE / 112 * (box[2:] - box[:2])
        return [Detection(box, landmarks.astype(np.float32), 0.9)]

    def embed(self, rgb, landmarks):
        return np.float32([3, 4, 0])

    def similarity(self, a, b):
        return float(a.embedding @ b.embedding)


def white(size: int, box: tuple[int, int, int, int]) -> Image.Image:
    picture = Image.new("RGB", (size, size))
    picture.paste((255, 255, 255), box)
    return picture


def test_a_face(pack: Path):
    encoder = load_encoder(pack)
    face = analyse(person(640, (200, 300)), encoder)
    assert (face.rung, face.count, face.encoder) == ("as-is", 1, "squares")
    assert face.embedding.shape == (512,) and face.embedding.dtype == np.float32
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(face.descriptor, face.embedding * face.norm)
    assert face.crop.shape == (112, 112, 3) and face.crop.dtype == np.uint8
    assert face.crop[56, 56, 0] > 200
    assert encoder.similarity(face, face) == pytest.approx(1, abs=1e-5)
    other = analyse(person(640, (200, 300), tint=255), encoder)
    assert encoder.similarity(face, other) < 0.9999


def boxes(*corners: tuple[float, float, float, float]) -> list[Detection]:
    return [Detection(np.float32(c), np.zeros((5, 2), np.float32), 0.9) for c in corners]


def test_selection():
    # (x2-x1)*y2-y1, the bug that circulates, would take the wide one at the bottom
    faces = boxes((10, 10, 60, 60), (100, 150, 140, 190), (70, 90, 110, 112))
    assert select_face(faces, "largest", 200, 200) == 0
    assert select_face(faces, "center", 200, 200) == 2
    assert [select_face(faces, f"index:{i}", 200, 200) for i in range(3)] == [0, 2, 1]
    assert select_face(faces, "2", 200, 200) == 1
    assert select_face(faces[:1], "error", 200, 200) == 0
    with pytest.raises(SeveralFacesError, match="3 faces"):
        select_face(faces, "error", 200, 200)
    with pytest.raises(FaceError, match=r"only 3 face\(s\)"):
        select_face(faces, "index:3", 200, 200)
    for wrong in ("biggest", "index", "index:-1", "index:", ""):
        with pytest.raises(UsageError, match="unknown face selection"):
            select_face(faces, wrong, 200, 200)


def test_selection_reaches_the_face(pack: Path):
    encoder = load_encoder(pack)
    two = person(640, (500, 200), (100, 200))
    assert analyse(two, encoder, select="index:0").box[0] < 200
    assert analyse(two, encoder, select="index:1").box[0] > 400
    assert analyse(two, encoder).count == 2
    with pytest.raises(SeveralFacesError, match="2 faces"):
        analyse(two, encoder, select="error")
    with pytest.raises(UsageError, match="largest"):
        analyse(two, encoder, select="smallest")


def test_ladder_as_is_first():
    encoder = Brightness()
    face = analyse(white(200, (50, 60, 110, 120)), encoder)
    assert face.rung == "as-is" and encoder.calls == [(200, 640)]
    np.testing.assert_array_equal(face.embedding, np.float32([0.6, 0.8, 0]))
    assert face.norm == 5


def test_ladder_padding_for_close_ups_keeps_the_picture_s_coordinates():
    encoder = Brightness()
    face = analyse(white(200, (20, 30, 180, 190)), encoder)
    assert face.rung == "padded" and encoder.calls == [(200, 640), (400, 640)]
    np.testing.assert_array_equal(face.box, [20, 30, 180, 190])


def test_ladder_smaller_detector_last():
    encoder = Brightness(widest=(0.2, 0.9))
    face = analyse(white(200, (20, 30, 180, 190)), encoder)
    assert face.rung == "small-detector" and encoder.calls == [(200, 640), (400, 640), (200, 320)]


def test_no_face_is_named_and_remembered(tmp_path: Path):
    encoder = Brightness()
    path = tmp_path / "dark.png"
    white(200, (0, 0, 1, 1)).save(path)
    for _ in range(2):
        with pytest.raises(NoFaceError, match=r"dark\.png: no face found by brightness") as caught:
            analyse(path, encoder)
        assert "\n" not in str(caught.value) and caught.value.hint and caught.value.exit_code == 2
    assert len(encoder.calls) == 3
    path.rename(tmp_path / "renamed.png")
    with pytest.raises(NoFaceError, match=r"renamed\.png"):
        analyse(tmp_path / "renamed.png", encoder)
    assert len(encoder.calls) == 3


def test_tiny_faces():
    with pytest.raises(TinyFaceError, match="22 x 22 pixels"):
        analyse(white(200, (50, 60, 72, 82)), Brightness())


def test_unreadable_files_keep_their_own_error(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"no")
    for path in (tmp_path / "a.png", tmp_path / "none.png"):
        with pytest.raises(PictureError, match=path.name):
            analyse(path, Brightness())


# --- the cache ---------------------------------------------------------------------------------------


def same(a, b) -> bool:
    arrays = all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("box", "landmarks", "embedding", "crop")
    )
    return arrays and all(
        getattr(a, n) == getattr(b, n) for n in ("score", "norm", "rung", "count", "encoder")
    )


def test_cache_gives_the_same_face_without_detecting_again(private_cache: Path):
    encoder, picture = Brightness(), white(200, (50, 60, 110, 120))
    first, second = analyse(picture, encoder), analyse(picture, encoder)
    assert same(first, second) and len(encoder.calls) == 1
    assert len(list(private_cache.rglob("*.safetensors"))) == 1
    analyse(picture, encoder, cache=False)
    assert len(encoder.calls) == 2


@pytest.mark.parametrize("change", ["picture", "encoder", "select"])
def test_cache_knows_what_changes_the_result(change):
    encoder, picture = Brightness(), white(200, (50, 60, 110, 120))
    analyse(picture, encoder)
    if change == "picture":
        picture.putpixel((0, 0), (1, 0, 0))
    if change == "encoder":
        encoder.fingerprint = "1" * 64
    analyse(picture, encoder, select="center" if change == "select" else "largest")
    assert len(encoder.calls) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "other", "folder"])
def test_a_corrupt_entry_is_ignored_and_rewritten(private_cache: Path, damage):
    encoder, picture = Brightness(), white(200, (50, 60, 110, 120))
    first = analyse(picture, encoder)
    (entry,) = private_cache.rglob("*.safetensors")
    whole = entry.read_bytes()
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        other = b"\x02\0\0\0\0\0\0\0{}"
        entry.write_bytes({"empty": b"", "cut": whole[:-9], "noise": b"\xff" * 64, "other": other}[damage])
    assert same(analyse(picture, encoder), first) and len(encoder.calls) == 2
    if damage != "folder":
        assert entry.read_bytes() == whole
    assert not list(private_cache.rglob("*.tmp"))


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "file"))
    assert analyse(white(200, (50, 60, 110, 120)), Brightness()).count == 1


def test_brightness_is_a_face_encoder():
    assert isinstance(Brightness(), FaceEncoder)


def test_pictures_of_odd_shapes_cost_no_memory_and_end_in_one_line():
    encoder = Brightness()
    with pytest.raises(TinyFaceError, match="512 x 4 pixels: no face fits"):
        analyse(Image.new("RGB", (512, 4)), encoder)
    with pytest.raises(NoFaceError):
        analyse(Image.new("RGB", (100, 30_000)), encoder)
    assert max(width for width, _ in encoder.calls) <= 2 * PADDED_SIDE


def test_a_reduced_picture_keeps_the_coordinates_of_the_given_one():
    side = 2 * PADDED_SIDE
    encoder = Brightness()
    face = analyse(white(side, (400, 400, side - 400, side - 400)), encoder)
    assert face.rung == "padded" and encoder.calls == [(side, 640), (side, 640)]
    np.testing.assert_allclose(face.box, [400, 400, side - 400, side - 400], atol=4)


def test_a_pack_takes_a_picture_of_any_shape(pack: Path):
    encoder = load_encoder(str(pack))
    for shape in ((24, 30_000, 3), (30_000, 24, 3), (4, 512, 3)):
        for size in encoder.detector_sizes:
            assert encoder.detect(np.zeros(shape, np.uint8), size=size) == []
