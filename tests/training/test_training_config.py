"""The options of a training: strict, with the nearest name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from methods.errors import UsageError
from methods.paths import configs_dir
from methods.registry import get_method, method_names
from methods.training.config import read_config


def written(folder: Path, text: str) -> Path:
    path = folder / "train.yaml"
    path.write_text(text)
    return path


def test_sections_settings_and_data_are_merged(tmp_path: Path) -> None:
    path = written(tmp_path, "batch: 8\nrate: 1e-4\ndata: {people: 3}\noptions: {steps: 9}\n")
    settings = ["data.pictures=2", "options.tokens=16", "betas=[0.8, 0.9]", "precision=bfloat16"]
    config, options = read_config(path, settings, source="faces")
    assert (config.batch, config.rate, config.betas) == (8, 1e-4, (0.8, 0.9))
    assert (config.data.source, config.data.people, config.data.pictures) == ("faces", 3, 2)
    assert options == {"steps": 9, "tokens": 16}


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("batches: 8", [], "Did you mean 'batch'"),
        ("data: {peoples: 8}", [], "Did you mean 'people'"),
        ("batch: many", [], "batch is 'many'"),
        ("batch: 0", [], "at least 1"),
        ("rate: -1.0", [], "rate is -1.0; it must be above 0"),
        ("average: 1.0", [], "average is 1.0; it must be below 1"),
        ("precision: float8", [], "Did you mean 'float"),
        ("data: pocket", [], "not a section"),
        ("[1]", [], "holds a list"),
        ("", ["batch"], "not key=value"),
        ("", ["seed=-1"], "seed is -1; it must be at least 0"),
        ("", ["batch.size=1"], "batch is .*must be a whole number"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, text: str, settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_config(written(tmp_path, text), settings)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.yaml"):
        read_config(tmp_path / "absent.yaml")


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    from methods.training.config import TrainConfig

    config = TrainConfig(warmup=10, final_rate=0.1)
    rates = [config.learning_rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[9]
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5 * (1 - 0.15643), rel=1e-3)
    assert rates[100] == pytest.approx(0.1)


def test_every_shipped_configuration_is_understood() -> None:
    paths = sorted((configs_dir() / "train").glob("*.yaml"))
    assert paths
    for path in paths:
        config, _ = read_config(path)
        assert path.stem in method_names()
        assert config.backbone in ("pocket",) or get_method(path.stem).info.hooks


def test_reading_options_needs_no_torch() -> None:
    code = "import sys, methods.training.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
