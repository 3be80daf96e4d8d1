"""One file from elsewhere: resumed where it broke off, checked, and named only when it is right.

A download lands in a part of its own beside its place. Only https is used, a token goes to the hub alone and
never to the host of a redirect, and nothing is unpacked but models.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from methods.errors import SpidError
from methods.files import cannot_write, save_json
from methods.textfile import read_json

Progress = Callable[[int, int], object]
"""Bytes done, bytes in all (0 where the server does not say)."""

_ATTEMPTS = 5  # in a row without a new byte
_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LARGEST_PACK = 4 << 30


@dataclass(frozen=True)
class RemoteFile:
    """One file: its address, its name below the folder it goes to, and what is known of its content.

    size: bytes, None unknown; sha256: hexadecimal, None where only the hub's own announcement is known
    unpack: a zip of models, of which the .onnx files are wanted
    """

    url: str
    path: str
    size: int | None = None
    sha256: str | None = None
    unpack: bool = False


def hub_address() -> str:
    """The hub's address; `HF_ENDPOINT` names a mirror, as for the hub's own library."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def download(file: RemoteFile, target: Path, progress: Progress | None = None, *, pause: float = 1.0) -> None:
    """Bring one file to `target`; goes on with a part that is there, and leaves a file that is right alone.

    pause: seconds before another attempt; doubled while nothing comes

    Raises SpidError for what the server does or sends, for a full disk, and for content that is not what was
    expected, of which nothing is kept; a broken connection leaves the part for the next call.
    """
    _check_address(file.url)
    part = target.with_name(f".{target.name}.part")
    state = target.with_name(f".{target.name}.part.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    with FileLock(f"{part}.lock"):  # two calls at once would write into one part
        if file.unpack or not (target.is_file() and fits(target, file)):
            _bring(file, target, part, state, progress, pause)
    Path(f"{part}.lock").unlink(missing_ok=True)


def _bring(
    file: RemoteFile, target: Path, part: Path, state: Path, progress: Progress | None, pause: float
) -> None:
    failures = 0
    while True:
        before = _length(part)
        try:
            announced = _transfer(file, part, state, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise SpidError(f"{file.url}: {_refusal(error.code)}.", hint=_after(error.code)) from error
            reason: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = error
        except OSError as error:
            raise cannot_write(part, error) from error
        failures = 0 if _length(part) > before else failures + 1
        if failures >= _ATTEMPTS:
            raise SpidError(
                f"{file.url}: the connection broke ({short(reason)}).",
                hint="What came is kept; the same command goes on where it broke off.",
            ) from reason
        time.sleep(min(2.0**failures, 30.0) * pause)
    sha256 = file.sha256 or announced
    if not fits(part, replace(file, sha256=sha256)):
        found = _length(part)
        part.unlink()
        state.unlink(missing_ok=True)
        raise SpidError(
            f"{file.url}: not what was expected ({found} bytes with another SHA-256). It was removed.",
            hint="Try again; if it stays so, the file behind the address has changed.",
        )
    os.replace(part, target)
    state.unlink(missing_ok=True)


def _transfer(file: RemoteFile, part: Path, state: Path, progress: Progress | None) -> str | None:
    """One connection: append to `part` until the body ends; returns the SHA-256 that the hub announces."""
    begun = _length(part)
    known = _state(state) if begun else {}
    request = urllib.request.Request(file.url, headers={"User-Agent": "spid", "Accept-Encoding": "identity"})
    token = os.environ.get("HF_TOKEN")
    if token and file.url.startswith(hub_address() + "/"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # never to a redirect's host
    if begun and known.get("etag"):
        request.add_header("Range", f"bytes={begun}-")
        request.add_header("If-Range", known["etag"])
    try:
        answer, announced = _open(request)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # longer than the file has become: from the beginning
        return _transfer(file, part, state, progress)
    with answer:
        resumed = answer.status == 206
        length = answer.headers.get("Content-Length")
        total = (begun if resumed else 0) + int(length) if length else file.size or 0
        if file.size is not None and total and total != file.size:
            raise SpidError(
                f"{file.url}: {total} bytes are offered where {file.size} were expected.",
                hint="The file behind the address has changed.",
            )
        _check_room(part, total - (begun if resumed else 0))
        announced = announced or known.get("announced")
        etag = answer.headers.get("ETag", "")
        save_json(state, {"etag": "" if etag.startswith("W/") else etag, "announced": announced})
        done = begun if resumed else 0
        with part.open("ab" if resumed else "wb") as out:
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                if total and done > total:
                    raise http.client.IncompleteRead(b"", None)
                if progress is not None:
                    progress(done, total)
            out.flush()
            os.fsync(out.fileno())
        if total and done < total:
            raise http.client.IncompleteRead(b"", total - done)
    return announced


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only, and keeps the digest that the hub announces on its first answer."""

    def __init__(self) -> None:
        self.announced: str | None = None

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl)
        self.announced = _digest(headers.get("X-Linked-ETag")) or self.announced
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> tuple[Any, str | None]:
    """The answer, and the SHA-256 that the hub announces for the file."""
    redirects = _Redirects()
    answer = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT)
    return answer, redirects.announced or _digest(answer.headers.get("X-Linked-ETag"))


def _digest(etag: str | None) -> str | None:
    """The SHA-256 in the hub's X-Linked-ETag; None for another kind of tag."""
    text = (etag or "").strip('"')
    return text if re.fullmatch(r"[0-9a-f]{64}", text) else None


def unpack_models(archive: Path, folder: Path) -> None:
    """The .onnx files of a zip, into `folder` by their own names; folders in the archive do not count.

    Raises SpidError for a damaged archive, one without models, or one that unpacks to over 4 GiB.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [one for one in packed.infolist() if one.filename.endswith(".onnx")]
            if not members:
                raise SpidError(f"{archive.name}: no .onnx files in it.", hint="Fetch it again.")
            if sum(one.file_size for one in members) > _LARGEST_PACK:
                raise SpidError(f"{archive.name}: unpacks to over 4 GiB.", hint="That is not a face pack.")
            folder.mkdir(parents=True, exist_ok=True)
            for member in members:
                name = Path(member.filename.replace("\\", "/")).name
                temporary = folder / f".{name}.part"
                with packed.open(member) as source, temporary.open("wb") as out:
                    shutil.copyfileobj(source, out)
                os.replace(temporary, folder / name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise SpidError(f"{archive.name}: damaged archive ({error}).", hint="Fetch it again.") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def fits(path: Path, file: RemoteFile) -> bool:
    """Whether a file has the size and SHA-256 that are known of it."""
    if file.size is not None and path.stat().st_size != file.size:
        return False
    if file.sha256 is None:
        return True
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _check_address(url: str) -> None:
    address = urllib.parse.urlparse(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
        raise SpidError(f"{url}: not an https address.", hint="Only https is used.")


def _check_room(part: Path, wanted: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if wanted > free:
        raise SpidError(
            f"{part.parent}: {wanted / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free.",
            hint="Free some space, or name another folder.",
        )


def _state(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except SpidError:  # never written, or cut off: the part is begun anew
        return {}


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refusal(code: int) -> str:
    return {
        401: "the server wants an account (401)",
        403: "the server refuses it (403)",
        404: "no such file there (404)",
    }.get(code, f"the server answers {code}")


def _after(code: int) -> str:
    if code in (401, 403):
        return "Agree to the licence on its page, then set HF_TOKEN."
    return "The address in configs/downloads.yaml may be out of date."


def short(error: BaseException) -> str:
    """An error of a library in a few words."""
    return " ".join(str(error).split())[:120] or type(error).__name__
