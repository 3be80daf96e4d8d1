"""From photographs to the encoder's inputs: one person for both paths, frame, background, image tower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from people import portrait, somebody
from PIL import Image
from torch import nn

from methods.errors import MissingWeightsError, NoFaceError, UsageError, WeightsError
from methods.faces import analyse, load_encoder
from methods.hooks import Identity
from methods.identify import identify
from methods.infinite_id.clip import StatesEncoder
from methods.pulid.identity import BORDER, TEMPLATE, FaceReader, face_crop
from methods.pulid.parser import BACKGROUND, find_parser, load_parser
from methods.pulid.tower import EVA_LAYERS, ImageTower, load_tower

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(load_tower("pocket", CPU), grey=False)


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large face at the left border, a smaller one in the middle."""
    sheet = np.full((192, 448, 3), 200, dtype=np.uint8)
    sheet[:, :192] = portrait(3, 192).pixels
    sheet[32:160, 192:320] = portrait(4, 128).pixels
    path = tmp_path_factory.mktemp("group") / "group.png"
    Image.fromarray(sheet).save(path)
    return path


def test_embedding_and_crop_are_of_the_same_person(reader: FaceReader, group: Path) -> None:
    """The published code takes the largest face for one path and the most central for the other."""
    encoder = load_encoder("pocket")
    alone = {}
    for number, size in ((3, 192), (4, 128)):
        pixels = portrait(number, size).pixels
        alone[number] = reader.look(pixels, analyse(Image.fromarray(pixels), encoder))[0]
    for policy, chosen, other in (("largest", 3, 4), ("center", 4, 3)):
        person = identify("somebody", group, encoder, policy)
        found = reader.read(person).embeddings[0, 0]
        for part in (slice(0, 512), slice(512, None)):  # the recogniser's and the tower's
            own = torch.cosine_similarity(found[part], alone[chosen][part], dim=0)
            assert own > 0.9 and own > torch.cosine_similarity(found[part], alone[other][part], dim=0) + 0.05


def test_the_recognisers_part_keeps_its_length_and_the_towers_is_one(reader: FaceReader) -> None:
    inputs = reader.read(somebody(1))
    assert inputs.embeddings.shape == (1, 1, 768)
    assert inputs.embeddings[0, 0, :512].norm().item() == pytest.approx(somebody(1).face.norm, rel=1e-4)
    assert inputs.embeddings[0, 0, 512:].norm().item() == pytest.approx(1, rel=1e-5)
    assert [tuple(one.shape) for one in inputs.states] == [(1, 64, 320), (1, 16, 640)]


def test_several_photographs_of_one_person(reader: FaceReader, group: Path) -> None:
    encoder = load_encoder("pocket")
    one, two = (identify("a", path, encoder) for path in (somebody(2).pictures[0], group))
    both = replace(one, pictures=one.pictures + two.pictures)
    inputs = reader.read(both)
    assert inputs.embeddings.shape == (1, 2, 768)
    for place, person in enumerate((one, two)):
        single = reader.read(person)
        assert torch.equal(inputs.embeddings[:, place], single.embeddings[:, 0])
        for joined, own in zip(inputs.states, single.states, strict=True):
            length = own.shape[1]
            assert torch.equal(joined[:, place * length : (place + 1) * length], own)


def test_nobody_to_look_at_is_an_error(reader: FaceReader, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="somebody has no picture with a face"):
        reader.read(Identity("somebody", torch.zeros(512)))
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((64, 64, 3), 127, np.uint8)).save(blank)
    encoder = load_encoder("pocket")
    person = identify("a", somebody(2).pictures[0], encoder)
    with pytest.raises((NoFaceError, UsageError), match="blank.png"):
        reader.read(replace(person, pictures=(*person.pictures, str(blank))))


def test_the_crop_is_ffhqs_frame() -> None:
    """Landmarks land on the template, beyond the picture it is grey, and large pictures are shrunk first."""
    landmarks = TEMPLATE * 0.25 + [40, 20]
    rgb = np.zeros((120, 200, 3), dtype=np.uint8)
    for x, y in landmarks:
        cv2.circle(rgb, (round(x), round(y)), 3, (255, 255, 255), -1)
    crop = face_crop(rgb, landmarks)
    assert crop.shape == (512, 512, 3)
    for x, y in TEMPLATE:
        assert crop[round(y), round(x)].min() > 200
    assert tuple(crop[511, 256]) == BORDER == (132, 133, 135)
    large = cv2.resize(rgb, None, fx=10, fy=10, interpolation=cv2.INTER_LINEAR)
    again = face_crop(large, landmarks * 10)
    assert np.abs(again[:300].astype(int) - crop[:300]).mean() < 6


def test_grey_as_published_and_white_where_the_parser_says(reader: FaceReader) -> None:
    class Halves:
        fingerprint = "halves"

        def background(self, crop: torch.Tensor) -> torch.Tensor:
            mask = torch.zeros(512, 512, dtype=torch.bool)
            mask[:, :256] = True
            return mask

    crop = np.full((512, 512, 3), (255, 0, 0), dtype=np.uint8)
    shown = replace(reader, grey=True, parser=Halves()).view(crop)
    assert shown.shape == (3, 128, 128)
    torch.testing.assert_close(shown[:, 60, 10], torch.ones(3))
    torch.testing.assert_close(shown[:, 60, 120], torch.full((3,), 0.299))
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    plain, smooth = reader.view(noise), replace(reader, antialias=True).view(noise)
    assert smooth.std() < 0.5 * plain.std()


def test_the_parsers_classes_and_its_file(tmp_path: Path) -> None:
    """facexlib's own network with random weights: what it calls background, and strict loading."""
    from facexlib.parsing.bisenet import BiSeNet

    torch.manual_seed(0)
    network = BiSeNet(num_class=19).eval()
    torch.save(network.state_dict(), path := tmp_path / "parsing_bisenet.pth")
    parser = load_parser(path, CPU)
    picture = torch.rand(3, 512, 512)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        classes = network(((picture - mean.view(3, 1, 1)) / std.view(3, 1, 1))[None])[0].argmax(1)[0]
    expected = torch.zeros(512, 512, dtype=torch.bool)
    for label in (0, 16, 18, 7, 8, 9, 14, 15):
        expected |= classes == label
    assert torch.equal(parser.background(picture), expected)
    assert sorted(BACKGROUND) == [0, 7, 8, 9, 14, 15, 16, 18] and 17 not in BACKGROUND  # hair stays
    assert find_parser(str(path)) == path and find_parser("off") is None
    torch.save({"cp.resnet.conv1.weight": torch.zeros(1)}, bad := tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="bad.pth lacks the tensor"):
        load_parser(bad, CPU)
    with pytest.raises(MissingWeightsError, match="none.pth"):
        load_parser(tmp_path / "none.pth", CPU)


class Wrapped(nn.Module):
    """A timm network as open_clip holds it."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk(x)


def eva(depth: int) -> nn.Module:
    from timm.models.eva import Eva

    return Eva(
        img_size=28, patch_size=14, embed_dim=32, depth=depth, num_heads=2, num_classes=24, mlp_ratio=8 / 3,
        qkv_fused=False, swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True, use_rot_pos_emb=True,
        ref_feat_shape=(16, 16), global_pool="token",
    ).eval()  # fmt: skip


def tower_of(trunk: nn.Module, layers: tuple[int, ...] | None = None) -> ImageTower:
    encoder = StatesEncoder("eva", Wrapped(trunk), 28, (0.4,) * 3, (0.3,) * 3, CPU, "none")
    return ImageTower(encoder, layers)


@torch.no_grad()
def test_hidden_states_are_inputs_of_blocks() -> None:
    """Of a small EVA02 in timm's own code, block by block: class token first, no norm at the end."""
    torch.manual_seed(0)
    trunk, picture = eva(6), torch.rand(3, 28, 28)
    seen = tower_of(trunk, (1, 4)).look(picture)
    x = ((picture - 0.4) / 0.3)[None]
    x, rope = trunk._pos_embed(trunk.patch_embed(x))
    inputs = []
    for block in trunk.blocks:
        inputs.append(x[0])
        x = block(x, rope=rope)
    assert [tuple(one.shape) for one in seen.states] == [(5, 32)] * 2
    for found, layer in zip(seen.states, (1, 4), strict=True):
        torch.testing.assert_close(found, inputs[layer])
    vector = trunk(((picture - 0.4) / 0.3)[None])[0]
    torch.testing.assert_close(seen.vector, vector / vector.norm())
    assert not any(block._forward_pre_hooks for block in trunk.blocks)


def test_the_depths_of_eva_are_the_published_ones() -> None:
    assert tower_of(eva(24)).layers == EVA_LAYERS == (4, 8, 12, 16, 20)
    with pytest.raises(UsageError, match="has the layers 0 to 5"):
        tower_of(eva(6), (6,))


def test_a_missing_tower_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(MissingWeightsError, match="EVA02-CLIP-L-336.*spid fetch eva02-clip"):
        load_tower(None, CPU)
