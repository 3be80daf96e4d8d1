"""Pictures in and out: the one safe loader, PNGs that carry their job, contact sheets.

Every picture a user names is read by `load_picture` and every picture we make is written by `save_png`.
Needs Pillow and numpy, never torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import unicodedata
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFile, ImageFont, ImageOps, PngImagePlugin

from methods.errors import PictureError
from methods.files import write_bytes
from methods.other_programs import USER_COMMENT, comment, read_other
from methods.paths import refuse_address
from methods.png_text import MAX_TEXT, png_texts
from methods.textfile import parse_json

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is read. Pillow's other decoders (some thirty, many of them seldom looked at) are never reached."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused before they are decoded: 64 million pixels are 192 MB of RGB."""

MAX_BYTES = 256 * 1024 * 1024

SOFTWARE = "spid"

PngImagePlugin.MAX_TEXT_CHUNK = MAX_TEXT  # a long text in a PNG does not make the picture damaged

_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "icon",
}
_LOOK = "Check the path and its permissions."
_EDITED = "Use the original file; another program has changed this one."
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    AttributeError,
    struct.error,
    zlib.error,
    MemoryError,
)  # what Pillow's decoders raise on damaged files


def load_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Read one picture as 8-bit RGB, upright.

    PNG, JPEG and WebP (the first frame of an animation). EXIF orientation is applied; transparency is
    composited on white; palette, grey, 16-bit and CMYK pictures become what they look like. Colour profiles
    are ignored, as everywhere in this field.

    Raises PictureError, naming the file, for anything else: missing, not a file, empty, another format,
    truncated or damaged, more than MAX_PIXELS.
    """
    path = Path(path)
    _check_file(path)
    with _open(path) as picture:
        try:
            _decode(picture)
            return _to_rgb(_upright(picture))
        except _DECODER_ERRORS as error:
            raise _damaged(path, error) from error


def picture_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of the file's bytes, hexadecimal. Raises PictureError when the file cannot be read."""
    path = Path(path)
    _check_file(path)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror or error}).", hint=_LOOK) from error


def pixels_hash(picture: Image.Image) -> str:
    """sha256 of the picture as RGB pixels with its size: equal pictures, equal hash, whatever the file."""
    rgb = picture.convert("RGB")
    return hashlib.sha256(struct.pack("<II", *rgb.size) + rgb.tobytes()).hexdigest()


def save_png(
    path: str | os.PathLike[str],
    picture: Image.Image,
    *,
    parameters: str | None = None,
    job: Mapping[str, Any] | None = None,
) -> None:
    """Write a PNG that says how it was made; the same arguments give the same bytes.

    `parameters` is the text that AUTOMATIC1111 and most viewers show; `job` the complete description that
    reproduces the picture, stored as JSON under `spid`. Folders are made; the file appears whole or not at
    all. Raises SpidError when it cannot be written.
    """
    text = PngImagePlugin.PngInfo()
    if parameters is not None:
        text.add_text("parameters", parameters)
    if job is not None:
        text.add_text("spid", json.dumps(job, sort_keys=True, allow_nan=False))
    text.add_text("Software", SOFTWARE)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=text)
    write_bytes(path, buffer.getvalue())


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a picture file says about itself, without decoding its pixels.

    Keys: `format`, `size` (width, height), `software`, `parameters` (text or None), `spid` (the job or None),
    `other` (what another program says, see `methods.other_programs`, or None).
    Raises PictureError as `load_picture` does, and for a `spid` entry that is not a JSON object.
    """
    path = Path(path)
    _check_file(path)
    with _open(path) as picture:
        size, kind = picture.size, picture.format
        found = picture.info.items()
        info = {str(key): value for key, value in found if isinstance(value, str)}
        exif = _exif(picture)
    if kind == "MPO":  # a JPEG with more pictures behind it, as cameras write
        kind = "JPEG"
    if kind == "PNG":
        with path.open("rb") as stream:
            info |= png_texts(stream)
    job = None
    if "spid" in info:
        job = parse_json(info["spid"], f"{path}: its 'spid' entry", error=PictureError, hint=_EDITED)
    return {
        "format": kind,
        "size": size,
        "software": info.get("Software"),
        "parameters": info.get("parameters") or comment(exif.get(USER_COMMENT)),
        "spid": job,
        "other": None if job is not None else read_other(info, exif),
    }


def contact_sheet(
    rows: Sequence[Sequence[Image.Image | None]],
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    *,
    cell: int = 256,
) -> Image.Image:
    """Pictures in a grid with a title over each column and beside each row, on white.

    Each picture is fitted into `cell` x `cell` pixels with its proportions kept; None leaves a hole, short
    rows end early. Titles are wrapped, and shortened with an ellipsis when even four lines do not hold them.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a contact sheet needs at least one picture")
    gap = max(4, cell // 32)
    font = ImageFont.load_default(size=max(12, cell // 14))
    line = sum(font.getmetrics()) if isinstance(font, ImageFont.FreeTypeFont) else 14
    tops = [_wrap(title, font, cell) for title in column_titles[:columns]]
    sides = [_wrap(title, font, cell // 2) for title in row_titles[: len(rows)]]
    top = max((len(lines) for lines in tops), default=0) * line + (gap if tops else 0)
    side = max((int(font.getlength(text)) + 1 for lines in sides for text in lines), default=0)
    side += gap if side else 0

    step = cell + gap
    sheet = Image.new("RGB", (side + columns * step + gap, top + len(rows) * step + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for column, lines in enumerate(tops):
        middle = side + gap + column * step + cell / 2
        for index, text in enumerate(lines):
            start = middle - font.getlength(text) / 2
            draw.text((start, gap + index * line), text, fill="black", font=font)
    for row, lines in enumerate(sides):
        first = top + gap + row * step + (cell - line * len(lines)) / 2
        for index, text in enumerate(lines):
            draw.text((gap, first + index * line), text, fill="black", font=font)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            if picture is not None:
                small = _fit(picture, cell)
                left = side + gap + column * step + (cell - small.width) // 2
                sheet.paste(small, (left, top + gap + row * step + (cell - small.height) // 2))
    return sheet


# --- reading -----------------------------------------------------------------------------------------


def _check_file(path: Path) -> None:
    refuse_address(path, PictureError)
    try:
        if path.is_dir():
            raise PictureError(f"{path}: is a folder, not a picture.", hint="Name one file in it.")
        if not path.exists():
            raise PictureError(f"{path}: no such file.", hint="Check the path.")
        if not path.is_file():
            raise PictureError(f"{path}: is not an ordinary file.", hint="Save the picture as one.")
        size = path.stat().st_size
    except (OSError, ValueError) as error:  # no permission on the way there, or a NUL in the name
        raise PictureError(f"{str(path)!r}: cannot be read ({error}).", hint=_LOOK) from error
    if size == 0:
        raise PictureError(f"{path}: is empty (0 bytes).", hint="Copy or download it again.")
    if size > MAX_BYTES:
        raise PictureError(f"{path}: is larger than {MAX_BYTES // 2**20} MB.", hint="Make it smaller first.")


def _open(path: Path) -> ImageFile.ImageFile:
    """Parse the header only; the caller decodes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our cap is lower
            warnings.simplefilter("ignore", UserWarning)  # damaged EXIF
            picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except _DECODER_ERRORS as error:
        raise _unreadable(path, error) from error
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width} x {picture.height}"
        picture.close()
        raise _too_large(path, size)
    return picture


def _unreadable(path: Path, error: BaseException) -> PictureError:
    """Why the header could not be parsed, as far as the first bytes tell."""
    allowed = "PNG, JPEG or WebP"
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as cause:
        return PictureError(f"{path}: cannot be read ({cause.strerror or cause}).", hint=_LOOK)
    if head[4:8] == b"ftyp":
        kind = "HEIC/AVIF" if head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi") else "video"
    else:
        kind = next((name for magic, name in _OTHER_FORMATS.items() if head.startswith(magic)), "")
    if kind:
        return PictureError(f"{path}: is a {kind} file, which is not read.", hint=f"Convert it to {allowed}.")
    if head.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF")):
        return _damaged(path, error)
    return PictureError(f"{path}: is not a picture.", hint=f"Give a {allowed} file.")


def _damaged(path: Path, error: BaseException) -> PictureError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return PictureError(
        f"{path}: is truncated or damaged ({reason[:120]}).", hint="Copy or download it again."
    )


def _too_large(path: Path, size: str = "its size") -> PictureError:
    return PictureError(
        f"{path}: {size} exceeds {MAX_PIXELS // 1_000_000} million pixels.", hint="Make it smaller first."
    )


def _decode(picture: ImageFile.ImageFile) -> None:
    """Decode strictly, whatever another library of this process told Pillow to put up with."""
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        picture.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _upright(picture: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:  # a damaged EXIF block does not spoil the picture
        return picture
    return ImageOps.exif_transpose(picture) if orientation in range(2, 9) else picture


def _exif(picture: Image.Image) -> dict[int, Any]:
    """EXIF values by tag, those of the Exif directory included; {} for a block that is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            block = picture.getexif()
            return {**block, **block.get_ifd(ExifTags.IFD.Exif)}
    except _DECODER_ERRORS:
        return {}


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # 16-bit grey; convert() would clip it at 255
        levels = np.asarray(picture, dtype=np.float64)
        return Image.fromarray(np.clip(np.rint(levels / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


# --- writing -----------------------------------------------------------------------------------------


def _fit(picture: Image.Image, cell: int) -> Image.Image:
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    resample = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return picture.convert("RGB").resize(size, resample)


def _wrap(text: str, font: Any, width: int, most: int = 4) -> list[str]:
    """Break at spaces, inside a word only when it alone is wider than the column."""
    # Pillow's own font knows ASCII: accents are left out, what has no plain letter shows as '?'.
    plain = "".join(c for c in unicodedata.normalize("NFKD", text[:500]) if not unicodedata.combining(c))
    lines = [""]
    for word in plain.replace("’", "'").encode("ascii", "replace").decode().split():
        candidate = f"{lines[-1]} {word}".strip()
        if font.getlength(candidate) <= width:
            lines[-1] = candidate
            continue
        if lines[-1]:
            lines.append("")
        while font.getlength(word) > width:
            cut = next(n for n in range(1, len(word)) if font.getlength(word[: n + 1]) > width)
            lines[-1], word = word[:cut], word[cut:]
            lines.append("")
        lines[-1] = word
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(last + "...") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], last + "..."]
    return lines
