"""From the command line to a request: methods, options, backbones; and the shipped configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
from own import own_methods

from methods.config import build, load_yaml
from methods.errors import UsageError
from methods.paths import configs_dir
from methods.registry import get_method
from spatialid_cli.prompt_file import PromptLine
from spatialid_cli.request import (
    collect_adapters,
    collect_backbone,
    collect_methods,
    collect_options,
    collect_pairs,
)
from spatialid_cli.sampling import rows_of


def test_compared_methods_come_first_and_once() -> None:
    assert collect_methods("spatialid", " none,uniform,none,spatialid ") == ["none", "uniform", "spatialid"]
    assert collect_methods("uniform", "") == ["uniform"]


def test_set_speaks_to_the_main_method_or_to_a_named_one() -> None:
    options = collect_options(["preset=B", "early=0.5", "uniform.lora_scale=2"], ["uniform", "spatialid"])
    assert options == {"spatialid": {"preset": "B", "early": 0.5}, "uniform": {"lora_scale": 2}}


def test_set_overrides_the_method_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preset: F\nresponse: entropy\n")
    assert collect_options(["preset=A"], ["spatialid"], file) == {
        "spatialid": {"preset": "A", "response": "entropy"}
    }


def test_adapters_are_for_all_methods_or_for_one(tmp_path: Path) -> None:
    methods = ["none", "uniform", "spatialid"]
    assert collect_adapters([], methods) is None
    assert collect_adapters(["a.bin"], methods) == "a.bin"
    assert collect_adapters(["uniform=a.bin"], methods) == {"uniform": "a.bin"}
    both = collect_adapters(["b.bin", "uniform = a=1.bin"], methods)
    assert both == {"uniform": "a=1.bin", "spatialid": "b.bin"}  # the baseline has no weights
    odd = tmp_path / "lr=1"
    odd.mkdir()
    assert collect_adapters([str(odd)], methods) == str(odd)
    for wrong, message in (
        (["a.bin", "b.bin"], "two files for all"),
        (["pidiff=a.bin"], "pidiff does not run"),
        (["unifrom=a.bin"], "Did you mean 'uniform'"),
        (["uniform=a.bin", "uniform=b.bin"], "takes one file"),
    ):
        with pytest.raises(UsageError, match=message):
            collect_adapters(wrong, methods)


def test_pairs_are_names_with_values_each_name_once() -> None:
    assert collect_pairs("--model", ["clip = a=b", "iq=pocket"], "x=y") == {"clip": "a=b", "iq": "pocket"}
    for wrong in (["clip"], ["=a"], ["clip="], ["clip=a", "clip=b"]):
        with pytest.raises(UsageError, match="--model"):
            collect_pairs("--model", wrong, "x=y")


def test_flags_override_a_backbone_configuration(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name_or_path: somewhere\ndtype: float16\nvae_slicing: true\n")
    flags = {"dtype": "float32", "vae_slicing": False, "device": None}
    assert collect_backbone(str(file), flags) == {
        "name_or_path": "somewhere",
        "dtype": "float32",
        "vae_slicing": True,
    }
    file.write_text("name_or_path: somewhere\ndtpye: float16\n")
    with pytest.raises(UsageError, match="Did you mean 'dtype'"):
        collect_backbone(str(file), flags)


def test_what_is_no_configuration_is_a_model() -> None:
    assert collect_backbone("some/model", {"device": "cpu"}) == {
        "name_or_path": "some/model",
        "device": "cpu",
    }
    assert collect_backbone("some/pocket", {})["name_or_path"] == "some/pocket"


def test_rows_are_by_identity_prompt_and_seed() -> None:
    lines = [PromptLine("a"), PromptLine("a", seed=9)]
    rows = rows_of(lines, ["anna", "ben"], seed=0, num_images=2)
    assert [row.identity for row in rows] == ["anna"] * 4 + ["ben"] * 4
    assert [(row.line, row.seed) for row in rows[:4]] == [(0, 0), (0, 1), (1, 9), (1, 10)]


@pytest.mark.parametrize("name", own_methods())
def test_a_shipped_method_configuration_states_the_defaults(name: str) -> None:
    config = get_method(name).Config
    options = load_yaml(configs_dir() / "methods" / f"{name}.yaml")
    assert build(config, options, where=name) == config()


def test_every_shipped_backbone_configuration_is_understood() -> None:
    files = sorted((configs_dir() / "backbones").glob("*.yaml"))
    assert [file.stem for file in files] == [
        "flux-dev",
        "flux-krea",
        "flux-schnell",
        "pocket-flux",
        "pocket",
        "sd15",
        "sdxl",
    ]
    for file in files:
        assert collect_backbone(file.stem, {})["name_or_path"]
