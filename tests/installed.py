"""Packages as pip leaves them, for the tests of plug-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from methods import plugins

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install(package, {group: {name: target}}, {file: code}, version="1.0") -> its folder on sys.path."""
    before = set(sys.modules)

    def installed(
        package: str,
        points: Mapping[str, Mapping[str, str]],
        files: Mapping[str, str],
        version: str = "1.0",
    ) -> Path:
        folder = tmp_path / "site" / package
        metadata = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = [
            line
            for group, of in points.items()
            for line in [f"[{group}]", *(f"{name} = {target}" for name, target in of.items())]
        ]
        (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
        for name, code in files.items():
            (folder / name).write_text(code)
        monkeypatch.syspath_prepend(folder)
        plugins.forget()
        return folder

    yield installed
    monkeypatch.undo()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    plugins.forget()
