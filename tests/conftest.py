"""What every test shares: no hub, no surprises of the user's cache, pocket weights, the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from command import Outcome, Spid  # noqa: E402

from methods.compat import ensure_torchvision  # noqa: E402
from methods.paths import pocket_dir  # noqa: E402
from spatialid_cli.app import main  # noqa: E402

ensure_torchvision()


FIRST = ("test_readme.py", "test_runner.py", "test_bench_command.py", "test_training_processes.py")
"""Files whose tests take longest: begun last, they would keep one worker busy while the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Face analyses are cached in a folder of the test run, never in the user's."""
    monkeypatch.setenv("SPID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def pocket_weights() -> Path:
    """The shipped pocket weights; a checkout without them is broken, so this fails rather than skips."""
    folder = pocket_dir()
    wanted = ("sd", "face", "face-scoring", "clip", "uniform", "probes", "quality")
    missing = [name for name in wanted if not (folder / name).is_dir()]
    assert not missing, f"pocket weights missing: {missing}"
    return folder


@pytest.fixture
def spid(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spid:
    """Run `spid` in this process with the given arguments."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run
