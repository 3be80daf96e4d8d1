"""The texts of a PNG, wherever in the file they stand.

Pillow reads what stands before the pixels; ImageMagick and others write it behind them. Each text is bounded
before it is unpacked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import IO

MAX_TEXT = 16 * 2**20
"""Bytes of one text, unpacked."""
_MAX_CHUNKS = 100_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_texts(stream: IO[bytes]) -> dict[str, str]:
    """Keyword -> text of all tEXt, zTXt and iTXt chunks, the first of each keyword; {} for other files.

    Damaged and oversized texts are passed over: they are not the picture.
    """
    if stream.read(8) != _SIGNATURE:
        return {}
    texts: dict[str, str] = {}
    for kind, data in _chunks(stream):
        try:
            keyword, text = _text(kind, data)
        except (ValueError, zlib.error):
            continue
        texts.setdefault(keyword, text)
    return texts


def _chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The text chunks up to the end of the file, or to where it is cut off."""
    for _ in range(_MAX_CHUNKS):
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        (size,) = struct.unpack(">I", head[:4])
        if head[4:] in (b"tEXt", b"zTXt", b"iTXt") and size <= MAX_TEXT:
            data = stream.read(size)
            if len(data) < size:
                return
            yield head[4:], data
            stream.seek(4, 1)
        else:
            stream.seek(size + 4, 1)


def _text(kind: bytes, data: bytes) -> tuple[str, str]:
    keyword, _, rest = data.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return name, _latin_or_utf8(rest)
    if kind == b"zTXt":
        return name, _latin_or_utf8(_unpacked(rest[1:]))
    packed, rest = rest[:1] == b"\1", rest[2:]
    _, _, rest = rest.partition(b"\0")  # the language
    _, _, text = rest.partition(b"\0")  # the keyword in it
    return name, (_unpacked(text) if packed else text).decode("utf-8")


def _latin_or_utf8(data: bytes) -> str:
    """The standard says Latin-1; what writes UTF-8 there means UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unpacked(data: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(data, MAX_TEXT)
    if unpacking.unconsumed_tail:
        raise ValueError("too long")
    return text
