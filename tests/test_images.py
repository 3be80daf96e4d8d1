"""The safe loader against every kind of file a user may name; PNGs and sheets that we write."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFile

from methods import images
from methods.errors import PictureError, SpidError
from methods.images import contact_sheet, load_picture, picture_hash, read_metadata, save_png


@pytest.fixture
def picture() -> Image.Image:
    """Four flat quarters: red, green / blue, grey. 16 px blocks survive JPEG."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48], pixels[:32, 48:], pixels[32:, :48], pixels[32:, 48:] = (
        (200, 30, 30),
        (30, 160, 40),
        (20, 40, 180),
        (128, 128, 128),
    )
    return Image.fromarray(pixels)


def close(a: Image.Image, b: Image.Image, tolerance: int) -> bool:
    assert a.mode == b.mode == "RGB" and a.size == b.size
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) <= tolerance


# --- what is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 95, "subsampling": 0}, 6),
        ("a.jpeg", {"quality": 95, "subsampling": 0, "progressive": True}, 6),
    ],
)
def test_allowed_formats(tmp_path: Path, picture, name, options, tolerance):
    picture.save(tmp_path / name, **options)
    assert close(load_picture(tmp_path / name), picture, tolerance)


def test_the_extension_does_not_decide(tmp_path: Path, picture):
    picture.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert close(load_picture(str(tmp_path / "a.jpg")), picture, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, picture, orientation):
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # shown after a turn of 270 degrees
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture.transpose(turned[orientation]) if orientation > 1 else picture
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert close(load_picture(tmp_path / "a.png"), picture, 0)


def test_damaged_exif_is_ignored(tmp_path: Path, picture):
    picture.save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert close(load_picture(tmp_path / "a.jpg"), picture, 6)


def test_alpha_is_composited_on_white(tmp_path: Path, picture):
    rgba = picture.convert("RGBA")
    rgba.putalpha(Image.fromarray(np.tile(np.uint8([[0, 128]]), (64, 48))))
    rgba.save(tmp_path / "a.png")
    expected = np.asarray(picture, float).copy()
    expected[:, 0::2] = 255
    expected[:, 1::2] = expected[:, 1::2] * 128 / 255 + 255 * 127 / 255
    assert close(load_picture(tmp_path / "a.png"), Image.fromarray(np.rint(expected).astype(np.uint8)), 1)


@pytest.mark.parametrize("mode", ["LA", "P", "RGB", "L"])
def test_other_transparency(tmp_path: Path, mode):
    if mode == "LA":
        Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "a.png")
    elif mode == "P":
        source = Image.new("P", (8, 8), 1)
        source.putpalette([9, 9, 9, 0, 0, 0])
        source.save(tmp_path / "a.png", transparency=bytes([255, 0]))
    else:
        black = (0, 0, 0) if mode == "RGB" else 0
        Image.new(mode, (8, 8), black).save(tmp_path / "a.png", transparency=black)
    assert load_picture(tmp_path / "a.png").getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_palette_grey_and_bilevel(tmp_path: Path, picture, mode):
    source = picture.quantize(8) if mode == "P" else picture.convert(mode)
    source.save(tmp_path / "a.png")
    assert close(load_picture(tmp_path / "a.png"), source.convert("RGB"), 0)


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path):
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    loaded = np.asarray(load_picture(tmp_path / "a.png"))
    assert np.array_equal(loaded[..., 0].ravel(), np.arange(256)) and (loaded == loaded[..., :1]).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bit_colour(tmp_path: Path):
    row = struct.pack(">6H", 65535, 32896, 0, 0, 32896, 65535)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, b"\0" + row))
    assert np.asarray(load_picture(tmp_path / "a.png")).tolist() == [[[255, 128, 0], [0, 128, 255]]]


def test_cmyk(tmp_path: Path, picture):
    picture.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert close(load_picture(tmp_path / "a.jpg"), picture, 8)


def test_animation_gives_its_first_frame(tmp_path: Path, picture):
    second = Image.new("RGB", picture.size)
    picture.save(tmp_path / "a.webp", save_all=True, append_images=[second], lossless=True)
    assert close(load_picture(tmp_path / "a.webp"), picture, 0)


# --- what is refused ---------------------------------------------------------------------------------


def refused(path: Path, *words: str) -> None:
    """One line naming the file, for the loader, the hash's file check and the metadata alike."""
    with pytest.raises(PictureError) as caught:
        load_picture(path)
    text = str(caught.value)
    assert path.name in text and "\n" not in text and caught.value.exit_code == 2
    for word in words:
        assert word in text


def test_missing_folder_and_empty(tmp_path: Path):
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "0 bytes")
    for reader in (picture_hash, read_metadata):
        with pytest.raises(PictureError, match=r"none\.png"):
            reader(tmp_path / "none.png")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "ordinary file")


def test_a_name_with_nul():
    with pytest.raises(PictureError):
        load_picture("a\0.png")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
def test_truncated(tmp_path: Path, kind, keep):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{kind}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    refused(path, "damaged")


def test_truncated_is_refused_although_pillow_was_made_lenient(tmp_path: Path, monkeypatch, picture):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    picture.save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-200])
    refused(tmp_path / "cut.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, kind):
    generator = np.random.default_rng(1)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(200):
        broken = whole.copy()
        broken[generator.integers(0, len(whole), 8)] = generator.integers(0, 256, 8)
        path.write_bytes(broken.tobytes())
        try:
            assert load_picture(path).mode == "RGB"
        except PictureError:
            pass


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"GIF89a" + b"\0" * 40, "GIF"),
        (b"BM" + b"\0" * 60, "BMP"),
        (b"II*\0" + b"\0" * 60, "TIFF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
        (b"%PDF-1.7\n", "PDF"),
        (b"hello", "not a picture"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, head, word):
    (tmp_path / "a.png").write_bytes(head)
    refused(tmp_path / "a.png", word, "PNG, JPEG or WebP")


def test_formats_pillow_knows_but_we_do_not_read(tmp_path: Path, picture):
    for kind in ("gif", "bmp", "tiff", "ppm", "ico"):
        picture.save(tmp_path / f"a.{kind}")
        refused(tmp_path / f"a.{kind}")


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch):
    for name, side in (("large.png", 8001), ("bomb.png", 60_000)):  # under and over Pillow's own limit
        (tmp_path / name).write_bytes(png(side, side, 8, 2, b"\0"))
        refused(tmp_path / name, "million pixels")
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "heavy.png").write_bytes(b"\0" * 11)
    refused(tmp_path / "heavy.png", "larger than")


def test_text_bomb(tmp_path: Path):
    text = b"parameters\0\0" + zlib.compress(b"a" * 50_000_000)
    data = png(1, 1, 8, 2, b"\0\0\0\0")
    (tmp_path / "text.png").write_bytes(data[:33] + chunk(b"zTXt", text) + data[33:])
    refused(tmp_path / "text.png")


def test_text_is_found_wherever_it_stands_and_a_long_one_does_no_harm(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    for number, texts in enumerate(
        [
            chunk(b"tEXt", b"parameters\0a dog"),
            chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a dog")),
            chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"a dog")),
            chunk(b"tEXt", b"comment\0" + long.encode()) + chunk(b"tEXt", b"parameters\0a dog"),
            chunk(b"zTXt", b"comment\0\0" + zlib.compress(long.encode()))
            + chunk(b"tEXt", b"parameters\0a dog"),
        ]
    ):
        data = png(1, 1, 8, 2, b"\0\0\0\0")
        for place in (33, len(data) - 12):  # behind the header, and behind the pixels
            path = tmp_path / f"{number}-{place}.png"
            path.write_bytes(data[:place] + texts + data[place:])
            assert read_metadata(path)["parameters"] == "a dog"
            assert load_picture(path).size == (1, 1)


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg(tmp_path: Path) -> None:
    one, two = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (8, 6), "blue")
    one.save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[two])
    assert read_metadata(tmp_path / "camera.jpg")["format"] == "JPEG"
    assert load_picture(tmp_path / "camera.jpg").size == (8, 6)


def test_a_web_address_is_named(tmp_path: Path) -> None:
    for path in ("https://example.org/a.png", Path("http://example.org/a.png")):
        with pytest.raises(PictureError, match="is a web address"):
            load_picture(path)


# --- what we write -----------------------------------------------------------------------------------


def test_png_carries_its_job(tmp_path: Path, picture):
    job = {"prompt": 'a "person" <b>\n日本', "seed": 3, "nested": {"weight": 0.25, "list": [1, None]}}
    text = "a person, naïve 日本\nSteps: 25, Sampler: DDIM"
    path = tmp_path / "deep" / "a.png"
    save_png(path, picture, parameters=text, job=job)
    assert close(load_picture(path), picture, 0)
    found = read_metadata(path)
    assert found == {
        "format": "PNG",
        "size": (96, 64),
        "software": "spid",
        "parameters": text,
        "spid": job,
        "other": None,
    }
    before = path.read_bytes()
    save_png(path, picture, parameters=text, job=dict(reversed(job.items())))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_metadata_of_other_pictures(tmp_path: Path, picture):
    picture.save(tmp_path / "a.jpg")
    found = read_metadata(tmp_path / "a.jpg")
    assert (found["spid"], found["parameters"], found["format"]) == (None, None, "JPEG")


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_broken_job_is_refused(tmp_path: Path, picture, text):
    data = png(1, 1, 8, 2, b"\0\0\0\0")
    (tmp_path / "a.png").write_bytes(data[:33] + chunk(b"tEXt", b"spid\0" + text.encode()) + data[33:])
    with pytest.raises(PictureError, match=r"a\.png: its 'spid' entry: (is not JSON|holds a list|is nested)"):
        read_metadata(tmp_path / "a.png")


def test_nan_never_reaches_the_json(tmp_path: Path, picture):
    with pytest.raises(ValueError):
        save_png(tmp_path / "a.png", picture, job={"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_unwritable_place(tmp_path: Path, picture):
    (tmp_path / "file").write_text("x")
    (tmp_path / "dir.png").mkdir()
    for path in (tmp_path / "file" / "a.png", tmp_path / "dir.png", tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(SpidError, match="cannot be written"):
            save_png(path, picture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dir.png", "file"]


def test_hashes(tmp_path: Path, picture):
    save_png(tmp_path / "a.png", picture, job={"seed": 1})
    save_png(tmp_path / "b.png", picture, job={"seed": 2})
    first, second = picture_hash(tmp_path / "a.png"), picture_hash(tmp_path / "b.png")
    assert len(first) == 64 and first != second
    assert images.pixels_hash(picture) == images.pixels_hash(load_picture(tmp_path / "b.png"))
    assert images.pixels_hash(picture) != images.pixels_hash(picture.resize((64, 96)))


# --- contact sheets ----------------------------------------------------------------------------------


def test_sheet_holds_the_pictures_and_room_for_titles(picture):
    red, wide = Image.new("RGB", (64, 64), (200, 0, 0)), picture
    plain = contact_sheet([[red, wide], [None, red]], cell=128)
    titled = contact_sheet([[red, wide], [None, red]], ["one", "two"], ["first row", "second"], cell=128)
    assert titled.width > plain.width and titled.height > plain.height
    reds = np.all(np.asarray(titled) == (200, 0, 0), axis=-1).sum()
    assert reds == 2 * 128 * 128
    assert np.asarray(titled)[: titled.height - plain.height].min() < 80  # dark letters above


def test_long_titles_stay_in_their_column():
    white = Image.new("RGB", (32, 32), "white")
    long = "an unbroken" + "x" * 300 + " title <b>& more</b> " * 30
    sheet = np.asarray(contact_sheet([[white, white]], [long, ""], [long], cell=96))
    assert sheet.shape[1] < 96 * 2 + 96 and sheet.shape[0] < 96 + 96


def test_an_empty_sheet_is_an_error():
    with pytest.raises(ValueError):
        contact_sheet([])


def test_job_json_is_plain_ascii_json(tmp_path: Path, picture):
    save_png(tmp_path / "a.png", picture, job={"prompt": "é"})
    with Image.open(tmp_path / "a.png") as stored:
        assert json.loads(stored.text["spid"]) == {"prompt": "é"} and stored.text["spid"].isascii()
