"""`spid fetch` against a server that breaks off, lies, forgets ranges and moves files."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from command import Spid

from methods.downloads import Download, catalogue, fetch
from methods.errors import SpidError, UsageError
from methods.transfer import RemoteFile, download, unpack_models

BODY = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Behaviour:
    """What the server does; `requests` keeps what it was asked."""

    body: bytes = BODY
    breaks_after: int | None = None
    breaks: int = 0
    ranges: bool = True
    status: int = 200
    announced: str | None = None
    claims: int | None = None
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    behaviour = Behaviour()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

        def do_GET(self) -> None:
            behaviour.requests.append((self.path, dict(self.headers)))
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            if self.path.startswith("/moved/"):
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/file.bin")
                if behaviour.announced:
                    self.send_header("X-Linked-ETag", f'"{behaviour.announced}"')
                self.end_headers()
                return
            begin = 0
            asked = self.headers.get("Range")
            if behaviour.ranges and asked:
                begin = int(asked.removeprefix("bytes=").rstrip("-"))
                if begin >= len(behaviour.body):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            rest = behaviour.body[begin:]
            self.send_header("ETag", '"v1"')
            self.send_header("Content-Length", str(behaviour.claims or len(rest)))
            self.end_headers()
            if behaviour.breaks_after is not None and behaviour.breaks > 0:
                behaviour.breaks -= 1
                self.wfile.write(rest[: behaviour.breaks_after])
                return  # the connection closes early
            self.wfile.write(rest)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", behaviour
        running.shutdown()


def test_a_broken_connection_is_gone_on_with(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    address, behaviour = server
    behaviour.breaks_after, behaviour.breaks = 300_000, 2
    download(RemoteFile(f"{address}/file.bin", "f", len(BODY), SHA256), tmp_path / "f", pause=0)
    assert (tmp_path / "f").read_bytes() == BODY
    assert [headers.get("Range") for _, headers in behaviour.requests] == [
        None,
        "bytes=300000-",
        "bytes=600000-",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_killed_download_goes_on_in_the_next_call(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    address, behaviour = server
    file = RemoteFile(f"{address}/file.bin", "f", len(BODY), SHA256)

    def kill(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(file, tmp_path / "f", kill, pause=0)
    assert not (tmp_path / "f").exists()
    assert (tmp_path / ".f.part").stat().st_size > 0
    download(file, tmp_path / "f", pause=0)
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_server_without_ranges_starts_over(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    address, behaviour = server
    behaviour.ranges, behaviour.breaks_after, behaviour.breaks = False, 100_000, 1
    download(RemoteFile(f"{address}/file.bin", "f", None, SHA256), tmp_path / "f", pause=0)
    assert (tmp_path / "f").read_bytes() == BODY


def test_a_server_that_never_gives_a_byte_more_keeps_what_came(
    server: tuple[str, Behaviour], tmp_path: Path
) -> None:
    address, behaviour = server
    behaviour.breaks_after, behaviour.breaks = 0, 100
    with pytest.raises(SpidError, match="the connection broke"):
        download(RemoteFile(f"{address}/file.bin", "f", len(BODY), SHA256), tmp_path / "f", pause=0)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("body", [BODY[:-1] + b"x", b"<html>sign in</html>"])
def test_other_content_is_not_kept(server: tuple[str, Behaviour], tmp_path: Path, body: bytes) -> None:
    address, behaviour = server
    behaviour.body = body
    with pytest.raises(SpidError, match="expected"):
        download(RemoteFile(f"{address}/file.bin", "f", len(BODY), SHA256), tmp_path / "f", pause=0)
    assert not (tmp_path / "f").exists()


def test_the_digest_that_the_hub_announces_counts(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    address, behaviour = server
    behaviour.announced = SHA256
    download(RemoteFile(f"{address}/moved/file.bin", "f"), tmp_path / "f", pause=0)
    behaviour.announced = "0" * 64
    with pytest.raises(SpidError, match="another SHA-256"):
        download(RemoteFile(f"{address}/moved/file.bin", "g"), tmp_path / "g", pause=0)
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(("status", "words"), [(404, "no such file"), (403, "refuses"), (401, "account")])
def test_a_refusal_is_told_at_once(
    server: tuple[str, Behaviour], tmp_path: Path, status: int, words: str
) -> None:
    address, behaviour = server
    behaviour.status = status
    with pytest.raises(SpidError, match=words):
        download(RemoteFile(f"{address}/file.bin", "f"), tmp_path / "f", pause=0)
    assert len(behaviour.requests) == 1


def test_a_file_that_is_there_is_asked_for_no_more(server: tuple[str, Behaviour], tmp_path: Path) -> None:
    address, behaviour = server
    file = RemoteFile(f"{address}/file.bin", "f", len(BODY), SHA256)
    download(file, tmp_path / "f", pause=0)
    download(file, tmp_path / "f", pause=0)
    assert len(behaviour.requests) == 1
    (tmp_path / "f").write_bytes(b"damaged")
    download(file, tmp_path / "f", pause=0)
    assert (tmp_path / "f").read_bytes() == BODY


def test_only_https_and_loopback(tmp_path: Path) -> None:
    for url in ("http://example.org/f", "file:///etc/hostname", "ftp://example.org/f"):
        with pytest.raises(SpidError, match="not an https address"):
            download(RemoteFile(url, "f"), tmp_path / "f", pause=0)


def test_a_token_stays_with_the_hub(
    server: tuple[str, Behaviour], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, behaviour = server
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HF_ENDPOINT", f"{address}/moved")
    download(RemoteFile(f"{address}/moved/file.bin", "f"), tmp_path / "f", pause=0)
    first, second = (headers for _, headers in behaviour.requests)
    assert first["Authorization"] == "Bearer secret"
    assert "Authorization" not in second


def zipped(names: list[str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"model " + name.encode())
    return stream.getvalue()


def test_a_pack_is_unpacked_flat_and_cannot_leave_its_folder(
    server: tuple[str, Behaviour], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, behaviour = server
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    behaviour.body = zipped(["pack/det.onnx", "../../evil.onnx", "pack/readme.txt"])
    item = Download(
        "pack",
        "a pack",
        "none",
        "",
        "insightface",
        (RemoteFile(f"{address}/p.zip", "p.zip", unpack=True),),
        "",
    )
    folder = fetch(item)
    assert sorted(path.name for path in folder.iterdir()) == ["det.onnx", "evil.onnx"]
    assert folder == tmp_path / ".insightface" / "models" / "pack"
    assert item.present


@pytest.mark.parametrize(
    ("data", "words"), [(b"PK nonsense", "damaged"), (zipped(["readme.txt"]), "no .onnx files")]
)
def test_an_archive_without_models(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "p.zip").write_bytes(data)
    with pytest.raises(SpidError, match=words):
        unpack_models(tmp_path / "p.zip", tmp_path / "out")


def test_offline_prints_the_files_and_fails(spid: Spid) -> None:
    done = spid("fetch", "antelopev2")
    assert done.code == 2
    assert "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5" in done.out
    assert "360662982" in done.out
    assert "switched off" in done.err


def test_what_there_is(spid: Spid) -> None:
    names = {entry["name"] for entry in spid("fetch", "--json").json}
    assert {"sd15", "sdxl", "flux-dev", "antelopev2", "faceid-sd15", "pulid-flux"} <= names
    assert spid("fetch", "antelope").code == 2
    assert "antelopev2" in spid("fetch", "antelope").err


def test_nobody_to_agree(spid: Spid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    done = spid("fetch", "sd15")
    assert done.code == 2
    assert "OpenRAIL" in done.err
    assert "--agree" in done.err


def test_the_catalogue_is_well_formed() -> None:
    for item in catalogue().values():
        assert item.licence and item.licence_url.startswith("https://")
        assert all(file.url.startswith("https://") for file in item.files)
        assert all(file.sha256 is None or len(file.sha256) == 64 for file in item.files)
    with pytest.raises(UsageError, match="switched off"):
        fetch(catalogue()["sd15"])
