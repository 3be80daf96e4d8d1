"""The example of CONTRIBUTING runs as it stands there, found through an entry point."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import tiny_pipeline

from methods.backbone.load import load_backbone
from methods.hooks import Identity, Job
from methods.registry import _plugins, get_method, method_names

GUIDE = Path(__file__).resolve().parent.parent / ".github" / "CONTRIBUTING.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as an installed package: its module, and metadata with its entry point."""
    text = GUIDE.read_text()
    ((name, code),) = re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", text, flags=re.DOTALL)
    ((group, line),) = re.findall(r'\[project\.entry-points\."(.*?)"\]\n(.*?)\n```', text, flags=re.DOTALL)
    (tmp_path / name).write_text(code)
    metadata = tmp_path / "louder-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: louder\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(tmp_path)
    _plugins.cache_clear()
    yield
    _plugins.cache_clear()
    sys.modules.pop("louder", None)


def test_the_example_is_found_and_does_what_it_says(example: None, tmp_path: Path) -> None:
    from methods.backbone.sampling import sample

    assert "louder" in method_names()
    backbone = load_backbone(tiny_pipeline(tmp_path / "tiny", "sd1"), device="cpu")
    jobs = [
        Job("a person", 64, 64, guidance=3.0, steps=3, seed=1, identity=Identity("anna"), id_weight=weight)
        for weight in (0.0, 1.0)
    ]
    plain = sample(backbone, jobs[:1])
    silent, loud = sample(backbone, jobs, get_method("louder")())
    assert torch.equal(plain[0].latents, silent.latents)
    assert not torch.equal(plain[0].latents, loud.latents)
