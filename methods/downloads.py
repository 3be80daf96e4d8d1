"""Files from elsewhere: what `spid fetch` brings, and the one way in which it does.

Nothing here runs unless a person asks for it by name and agrees to the licence.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from methods.errors import SpidError, UsageError, unknown_name
from methods.paths import configs_dir, hub_folder, models_dir
from methods.textfile import read_yaml
from methods.transfer import RemoteFile, download, fits, hub_address, short, unpack_models


@dataclass(frozen=True)
class Download:
    """What can be asked for by name; `use` is the flag that takes it, with `{path}` for its place."""

    name: str
    title: str
    licence: str
    licence_url: str
    into: Literal["insightface", "models", "hub"]
    files: tuple[RemoteFile, ...]
    use: str
    repo: str | None = None

    @property
    def folder(self) -> Path:
        """Where its files go."""
        if self.into == "insightface":
            from methods.faces.packs import insightface_home

            return insightface_home() / self.name
        if self.into == "models":
            return models_dir()
        return hub_folder(str(self.repo))

    @property
    def present(self) -> bool:
        """Whether it is there; contents are checked when they are fetched, not here."""
        if self.into == "insightface":
            return any(self.folder.rglob("*.onnx"))
        if self.into == "models":
            return all((self.folder / file.path).is_file() for file in self.files)
        return any(
            all((one / file.path).is_file() for file in self.files)
            for one in (self.folder / "snapshots").glob("*")
        )

    @property
    def command(self) -> str:
        """The flag that uses it, with its place."""
        return self.use.format(path=self.folder / self.files[0].path)


def catalogue() -> dict[str, Download]:
    """Everything in `configs/downloads.yaml`, by name."""
    entries = read_yaml(configs_dir() / "downloads.yaml")
    return {name: _entry(name, values) for name, values in entries.items()}


def find(name: str) -> Download:
    """A download by name; raises UsageError with the nearest known one."""
    known = catalogue()
    if name not in known:
        raise unknown_name("download", name, known)
    return known[name]


def _entry(name: str, values: dict[str, Any]) -> Download:
    files = []
    for one in values["files"]:
        known = {key: one[key] for key in ("size", "sha256", "unpack") if key in one}
        repo = one.get("repo", values.get("repo"))
        url = one["url"] if "url" in one else f"{hub_address()}/{repo}/resolve/main/{one['path']}"
        path = one["path"] if "path" in one else urllib.parse.urlparse(url).path.rsplit("/", 1)[-1]
        files.append(RemoteFile(url, path, **known))
    rest = {key: value for key, value in values.items() if key != "files"}
    return Download(name, files=tuple(files), **rest)


def offline() -> bool:
    """Whether the network is switched off (`HF_HUB_OFFLINE`)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def fetch(item: Download, progress: Callable[[str, int, int], object] | None = None) -> Path:
    """Bring everything of `item` that is not there, checked; returns its folder.

    Raises UsageError when the network is switched off, SpidError for what the server does or sends, for a
    full disk, and for content that is not what was expected (nothing of it is kept then).
    """
    if offline():
        raise UsageError(
            "The network is switched off (HF_HUB_OFFLINE).",
            hint=f"Unset it, or put the files in place by hand: spid fetch {item.name} --list",
        )
    if item.into == "hub":
        return _from_hub(item)
    for file in item.files:
        target = item.folder / file.path

        def tell(done: int, total: int, name: str = file.path) -> None:
            if progress is not None:
                progress(name, done, total)

        download(file, target, tell)
        if file.unpack:
            unpack_models(target, item.folder)
            target.unlink()
    return item.folder


def _from_hub(item: Download) -> Path:
    """A pipeline, by the hub's own library, which resumes and shares its cache; then our own check."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(str(item.repo), allow_patterns=[file.path for file in item.files]))
    except GatedRepoError as error:
        raise SpidError(
            f"{item.repo}: the hub wants an account that agreed to the licence ({item.licence_url}).",
            hint="Agree there, then set HF_TOKEN.",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SpidError(
            f"{item.repo}: the hub did not give it ({short(error)}).",
            hint="The same command goes on where it broke off.",
        ) from error
    for file in item.files:
        path = folder / file.path
        if not path.is_file():
            raise SpidError(f"{item.repo}: no file {file.path} there.", hint=f"See {item.licence_url}.")
        if not fits(path, file):
            path.resolve().unlink()
            raise SpidError(
                f"{item.repo}/{file.path}: not the published content (its SHA-256 differs). It was removed.",
                hint="Try again; if it stays so, somebody changed the file.",
            )
    return folder
