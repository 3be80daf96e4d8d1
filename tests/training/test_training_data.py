"""Training pictures: folders and renders, what is skipped, what is computed once, who is paired with whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Spid
from PIL import Image
from small_training import OPTIONS, arguments, people_folder, run
from tiny import tiny_backbone

from methods.errors import PictureError, UsageError
from methods.faces import load_encoder
from methods.training.features import FeatureStore
from methods.training.pairs import Pairs
from methods.training.sources import FolderSource, PocketSource, _read_metadata, ellipse, open_source
from methods.uniform.method import Uniform

ENCODER = load_encoder("pocket")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return people_folder(tmp_path_factory.mktemp("people"))


def test_a_rendered_person_comes_with_what_is_true(tmp_path: Path) -> None:
    source = PocketSource(ENCODER, 128, people=3, pictures=4)
    assert len(source) == 12 and source.identity(4) == source.identity(7) == "person 1"
    example = source.example(4)
    assert example.picture.size == (128, 128) and example.mask.shape == (128, 128)
    inside = example.mask[tuple(example.face.landmarks[2].astype(int)[::-1])]
    assert inside and 0.005 < example.mask.mean() < 0.6
    assert np.linalg.norm(example.face.embedding) == pytest.approx(1, abs=1e-5)
    again = PocketSource(ENCODER, 128, people=9, pictures=4)
    assert again.content(4) == source.content(4) != source.content(5)
    assert PocketSource(ENCODER, 64, people=3, pictures=4).content(4) != source.content(4)
    words = {source.prompt(4, np.random.default_rng(seed)) for seed in range(8)}
    assert len(words) > 3
    assert all(source._context(number).style == "photo" for number in source.shown(2))
    assert source.identity(source.shown(2)[0]) not in {source.identity(n) for n in range(12)}


def test_a_folder_is_analysed_cropped_and_scaled(folder: Path, tmp_path: Path) -> None:
    source = open_source(str(folder), ENCODER, people=0, pictures=0)
    assert isinstance(source, FolderSource)
    source.size = 64
    example = source.example(0)
    assert (len(source), example.identity, example.prompt) == (4, "p0", "photo")
    assert example.picture.size == (64, 64) and example.mask.shape == (64, 64)
    x, y = example.face.landmarks[2].astype(int)
    assert example.mask[y, x]
    assert [source.identity(number) for number in source.shown(5)] == ["p0", "p1"]

    wide = Image.new("RGB", (256, 128), "gray")
    wide.paste(Image.open(folder / "0" / "0.png"), (128, 0))
    wide.save(tmp_path / "wide.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "wide.png", "identity": "a", "prompt": "b"}\n')
    cropped = FolderSource(tmp_path, ENCODER, 128).example(0)
    apart = np.abs(np.asarray(cropped.picture).astype(int) - np.asarray(wide)[:, 128:].astype(int)).mean()
    assert apart < 30  # the square went where the face is
    np.testing.assert_allclose(
        cropped.face.landmarks, FolderSource(folder, ENCODER, 128).example(0).face.landmarks, atol=16
    )


def test_metadata_may_have_a_byte_order_mark_and_odd_line_marks(tmp_path: Path) -> None:
    line = json.dumps({"file_name": "a.png", "identity": "anna", "prompt": "a\u2028b"}, ensure_ascii=False)
    (tmp_path / "metadata.jsonl").write_text(f"\ufeff{line}\r\n", encoding="utf-8")
    assert [one["prompt"] for one in _read_metadata(tmp_path)] == ["a\u2028b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"has no metadata\.jsonl"),
        ("", "lists no pictures"),
        ("{", "line 1: is not JSON"),
        ('{"file_name": "a.png", "prompt": "x"}', "line 1 has no identity"),
        ("[]", "line 1: holds a list"),
        ('{"file_name": "../a.png", "identity": "a", "prompt": "x"}', "outside of the folder"),
    ],
)
def test_a_folder_without_proper_metadata_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metadata.jsonl").write_text(text)
    with pytest.raises((UsageError, PictureError), match=message) as caught:
        open_source(str(tmp_path), ENCODER, people=1, pictures=1)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_bad_pictures_are_skipped_counted_and_listed_unless_too_many(folder: Path, tmp_path: Path) -> None:
    people = people_folder(tmp_path / "people", people=3)
    (people / "1" / "1.png").write_bytes(b"\x89PNG truncated")
    Image.new("RGB", (64, 64), "white").save(people / "2" / "0.png")
    data = {"source": str(people), "max_skipped": 0.4}
    trained = run(tmp_path / "out", data=data)
    assert [one.name for one in trained.skipped] == ["1/1.png", "2/0.png"]
    listed = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in listed] == ["1/1.png", "2/0.png"]
    assert listed[0]["reason"].startswith("is truncated or damaged") and listed[1]["reason"]
    with pytest.raises(UsageError, match=r"2 of 6 training pictures cannot be used \(1/1\.png: "):
        run(tmp_path / "strict", data=data | {"max_skipped": 0.1})
    assert not (tmp_path / "strict").exists()


def test_features_are_computed_once_and_survive_damage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path))
    task = Uniform.training_task(tiny_backbone("sd1"), OPTIONS)
    opened: list[int] = []

    class Counting(FolderSource):
        def example(self, number):
            opened.append(number)
            return super().example(number)

    store = FeatureStore(Counting(folder, ENCODER, 64), task, "uniform")
    store.prepare(range(4))
    store.prepare(range(4))
    assert opened == [0, 1, 2, 3]
    batch = store.stack([2, 0])
    assert batch["latents"].shape == (2, 4, 8, 8) and batch["embedding"].shape == (2, 512)
    damaged = next(store.folder.rglob("*.safetensors"))
    damaged.write_bytes(b"half")
    again = store.stack([2, 0])
    store.load(1), store.load(3)
    assert len(opened) == 5
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert FeatureStore(FolderSource(folder, ENCODER, 128), task, "uniform").folder != store.folder


def test_pairs_are_of_one_person_and_depend_on_the_number_alone() -> None:
    source = PocketSource(ENCODER, 64, people=5, pictures=6)
    pairs = Pairs(source, range(30), 0.5, seed=1)
    drawn = [pairs[number] for number in range(200)]
    assert [Pairs(source, range(30), 0.5, seed=1)[number] for number in (150, 3, 77)] == [
        drawn[number] for number in (150, 3, 77)
    ]
    for pair in drawn:
        assert source.identity(pair.target) == source.identity(pair.reference)
        assert source.is_reference(pair.reference)
    epoch = [pair.target for pair in drawn[: len(pairs.targets)]]
    assert sorted(epoch) == pairs.targets != epoch
    photos = [pair for pair in drawn if source.is_reference(pair.target)]
    assert 0.35 < np.mean([pair.same for pair in photos]) < 0.65
    apart = Pairs(source, range(30), 0.0, seed=1)
    assert not any(apart[number].same for number in range(60))


def test_the_ellipse_fills_its_box() -> None:
    mask = ellipse((16, 8, 48, 56), 64)
    assert mask.mean() == pytest.approx(np.pi * 16 * 24 / 64**2, rel=0.02)
    assert mask[32, 32] and not mask[9, 17]


def test_captions_that_are_cut_are_told_before_the_first_step(spid: Spid, tmp_path: Path) -> None:
    """The tiny tokenizer reads 16 tokens, begin and end among them."""
    folder = people_folder(tmp_path / "faces")
    listed = folder / "metadata.jsonl"
    first, *others = listed.read_text().splitlines()
    longer = first.replace('"photo"', '"photograph of a tall man"')
    listed.write_text("\n".join([longer, *others]) + "\n")
    settings = [f"data.source={folder}", "options.steps=1"]
    trained = spid(*arguments(tmp_path / "out", *settings), "--json")
    assert trained.code == 0, trained.err
    (cut,) = trained.json["cut_captions"]
    assert cut["file_name"] == "0/0.png" and cut["left_out"] == "an"
    warned = [line for line in trained.err.splitlines() if "longer than the text encoder reads" in line]
    assert len(warned) == 1 and "1 caption is" in warned[0] and "0/0.png: 'an'" in warned[0]
