"""A photograph given to the pocket models is told so; a rendered person never is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from methods.errors import FaceError, NoFaceError, NotRenderedError
from methods.faces import Detection, analyse, load_encoder, rendered_score
from methods.pocket.world import FACTORS, Portrait, render, sample_context, sample_person

# The face of skimage's astronaut: eyes, nose tip and mouth corners in pixels.
ASTRONAUT = np.float32([[204, 102], [246, 103], [226, 126], [203, 142], [248, 141]])


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def portraits(count: int) -> list[Portrait]:
    rng = np.random.default_rng(0)
    styles = FACTORS["style"]
    contexts = [sample_context(rng, style=styles[i % len(styles)]) for i in range(count)]
    return [render(sample_person(500_000 + i), context) for i, context in enumerate(contexts)]


def found(landmarks: np.ndarray) -> Detection:
    """As a sure detector would report it; the box plays no part."""
    return Detection(np.zeros(4, np.float32), landmarks.astype(np.float32), 0.9)


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p,
        lambda p: p.resize((64, 64), Image.Resampling.BOX),
        lambda p: p.resize((512, 512), Image.Resampling.BICUBIC),
        lambda p: jpeg(p, 60),
        lambda p: jpeg(p.resize((300, 300)), 80),
        lambda p: p.filter(ImageFilter.GaussianBlur(0.6)),
    ],
    ids=["as is", "half", "four times", "jpeg 60", "resized jpeg", "soft"],
)
def test_renders_of_every_style_pass_whatever_happened_to_them(change):
    scores = []
    for portrait in portraits(20):
        picture = change(Image.fromarray(portrait.pixels))
        scores.append(rendered_score(picture, found(portrait.landmarks * (picture.width / 128))))
    assert min(scores) > 0, scores


@pytest.mark.parametrize("box", [(0, 0, 512, 512), (100, 0, 350, 250), (150, 40, 300, 190)])
@pytest.mark.parametrize("side", [128, 256, 500])
def test_a_photographed_face_does_not_pass(astronaut, box, side):
    picture = astronaut.crop(box).resize((side, side), Image.Resampling.BOX)
    landmarks = (ASTRONAUT - box[:2]) * (side / (box[2] - box[0]))
    for changed in (picture, jpeg(picture, 70)):
        assert rendered_score(changed, found(landmarks)) < 0


# --- with the shipped pack ---------------------------------------------------------------------------


def test_a_rendered_person_is_found(pocket_weights: Path):
    encoder = load_encoder("pocket")
    assert encoder.domain == "pocket-render" and encoder.dim == 512
    for portrait in portraits(10):
        face = analyse(Image.fromarray(portrait.pixels), encoder)
        eyes = np.linalg.norm(portrait.landmarks[1] - portrait.landmarks[0])
        error = np.linalg.norm(face.landmarks - portrait.landmarks, axis=1).mean() / eyes
        assert error < 0.12 and face.count == 1 and face.rung == "as-is"


def test_the_same_person_is_recognised_elsewhere(pocket_weights: Path):
    rng = np.random.default_rng(1)
    for name in ("pocket", "pocket-scoring"):
        encoder = load_encoder(name)
        plain = {"style": "photo", "accessory": "none"}
        faces = [
            [
                analyse(
                    Image.fromarray(render(sample_person(who), sample_context(rng, **plain)).pixels), encoder
                )
                for _ in range(2)
            ]
            for who in (600_001, 600_002, 600_003)
        ]
        genuine = [encoder.similarity(*pair) for pair in faces]
        impostor = [
            encoder.similarity(faces[i][0], faces[j][1]) for i in range(3) for j in range(3) if i != j
        ]
        assert min(genuine) > max(impostor)


@pytest.mark.parametrize("box", [(0, 0, 512, 512), (100, 0, 350, 250), (150, 40, 300, 190)])
def test_a_photograph_gets_the_two_ways_on(pocket_weights: Path, astronaut, tmp_path: Path, box):
    astronaut.crop(box).save(tmp_path / "me.png")
    for select in ("largest", "error"):
        with pytest.raises(NotRenderedError) as caught:
            analyse(tmp_path / "me.png", load_encoder("pocket"), select=select)
        text = str(caught.value)
        assert "me.png" in text and "rendered people only" in text and "\n" not in text
        assert all(word in text for word in ("spid render", "--backbone", "--face-encoder"))
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["camera", "chelsea", "coffee", "rocket", "moon", "grass", "coins"])
def test_no_photograph_gives_a_face_or_a_bare_no_face(pocket_weights: Path, name):
    from skimage import data

    picture = Image.fromarray(getattr(data, name)()).convert("RGB")
    with pytest.raises(FaceError) as caught:
        analyse(picture, load_encoder("pocket"))
    assert isinstance(caught.value, NoFaceError | NotRenderedError)
    assert "spid render" in str(caught.value) and "rendered people only" in str(caught.value)


def test_generated_pictures_can_be_scored_unchecked(pocket_weights: Path, astronaut):
    try:
        analyse(astronaut, load_encoder("pocket-scoring"), check_domain=False)
    except NotRenderedError:
        pytest.fail("check_domain=False still checks")
    except NoFaceError:
        pass
