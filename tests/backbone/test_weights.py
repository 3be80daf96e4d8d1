"""The one loader: what it reads, what it refuses, what it leaves behind."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from methods.errors import NonFiniteError, WeightsError
from methods.weights import check_finite, fill_module, load_weights, read_metadata, save_weights

TENSORS = {"image_proj.norm.weight": torch.arange(3.0), "ip_adapter.1.to_k_ip.weight": torch.eye(2).half()}


class Malicious:
    """Unpickles to a call that creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_pickles_do_not_run(tmp_path, suffix):
    target = tmp_path / "touched"
    torch.save({"weight": Malicious(target)}, tmp_path / f"evil{suffix}")
    (tmp_path / f"raw{suffix}").write_bytes(pickle.dumps(Malicious(target)))
    for name in ("evil", "raw"):
        with pytest.raises(WeightsError, match=f"{name}{suffix}"):
            load_weights(tmp_path / f"{name}{suffix}")
    assert not target.exists()


@pytest.mark.parametrize("name", ["style.pkl", "expression.t7", "weights", "weights.onnx"])
def test_other_formats_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="refused"):
        load_weights(tmp_path / name)


def test_round_trip_and_public_bin_layout(tmp_path):
    save_weights(tmp_path / "a.safetensors", TENSORS, {"method": "uniform"})
    nested = {
        "image_proj": {"norm.weight": torch.arange(3.0)},
        "ip_adapter": {"1.to_k_ip.weight": torch.eye(2).half()},
    }
    torch.save(nested, tmp_path / "a.bin")
    for name in ("a.safetensors", "a.bin"):
        loaded = load_weights(tmp_path / name)
        assert loaded.keys() == TENSORS.keys()
        for key, tensor in TENSORS.items():
            assert loaded[key].dtype == tensor.dtype and torch.equal(loaded[key], tensor)
    assert read_metadata(tmp_path / "a.safetensors") == {"format": "pt", "method": "uniform"}


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\xff" * 100])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_corrupt_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="broken"):
        load_weights(path)


def test_truncated_safetensors(tmp_path):
    save_weights(tmp_path / "a.safetensors", TENSORS)
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[:-3])
    with pytest.raises(WeightsError, match="corrupt"):
        load_weights(tmp_path / "a.safetensors")


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="absent.bin"):
        load_weights(tmp_path / "absent.bin")


def test_equal_tensors_and_metadata_give_equal_bytes(tmp_path):
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(1, dtype=torch.float16)}
    metadata = {name: "x" for name in ("method", "backbone", "version", "config", "seed", "steps")}
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for path in files:
        save_weights(path, tensors, metadata)
    assert len({path.read_bytes() for path in files}) == 1
    loaded = load_weights(files[0])
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert read_metadata(files[0]) == {"format": "pt", **metadata}


def test_a_module_is_filled_with_copies_in_its_own_dtype():
    with torch.device("meta"):
        module = torch.nn.Linear(3, 2)
    raw = torch.zeros(100, dtype=torch.uint8)
    state = {"weight": raw[4:28].view(torch.float32).view(2, 3), "bias": torch.ones(2).half()}  # 4: unaligned
    filled = fill_module(module, state, "a.safetensors", hint="Try again.")
    assert filled is module and not module.training and not module.weight.requires_grad
    assert module.weight.dtype == module.bias.dtype == torch.float32
    assert module.weight.data_ptr() % 64 == 0
    state["weight"].fill_(1.0)
    assert torch.equal(module(torch.ones(1, 3)), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": None}, "a.safetensors lacks the tensor weight. Try again."),
        ({"weight": None, "bias": None}, "a.safetensors lacks the tensor bias and 1 more. Try again."),
        ({"x": torch.ones(1)}, "a.safetensors has the unknown tensor x. Try again."),
        (
            {"bias": torch.ones(3)},
            "a.safetensors: bias has the shape (3,), expected (2,). Try again.",
        ),
    ],
)
def test_a_module_is_filled_wholly_or_not_at_all(change, said):
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    state = {"weight": torch.ones(2, 3), "bias": torch.ones(2), **change}
    with pytest.raises(WeightsError) as refused:
        fill_module(
            module,
            {name: tensor for name, tensor in state.items() if tensor is not None},
            "a.safetensors",
            hint="Try again.",
        )
    assert str(refused.value) == said
    assert torch.equal(module.weight, before)


def test_nobody_else_opens_weights():
    """`torch.load` occurs in the one loader, and for the trainings' own checkpoints; never unrestricted."""
    root = Path(__file__).parents[2]
    for package in ("methods", "benchmarks", "spatialid_cli", "scripts"):
        for path in (root / package).rglob("*.py"):
            for call in path.read_text().split("torch.load(")[1:]:
                assert "weights_only=True" in call[:200], path
                assert path.name == "weights.py" or "pocket" in path.parts, path


def test_cards_and_registry_do_without_torch():
    code = (
        "import sys, methods, methods.config, methods.contract, methods.registry as r;"
        "[r.method_info(name) for name in r.method_names()];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "is a Git LFS pointer"),
        (b"", "is empty"),
    ],
)
def test_what_is_downloaded_in_the_place_of_weights_is_named(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        load_weights(tmp_path / name)


def test_a_safetensors_file_of_another_name_is_read_and_a_torch_file_is_named(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", {"x": torch.ones(2)})
    (tmp_path / "a.bin").write_bytes((tmp_path / "a.safetensors").read_bytes())
    assert torch.equal(load_weights(tmp_path / "a.bin")["x"], torch.ones(2))
    torch.save({"x": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="is a torch file"):
        load_weights(tmp_path / "b.safetensors")
    for rows in range(1, 40):  # every length of a header is one
        save_weights(tmp_path / "c.safetensors", {"x" * rows: torch.ones(1)})
        assert load_weights(tmp_path / "c.safetensors")


def test_web_addresses_and_broken_tensors_are_refused() -> None:
    with pytest.raises(WeightsError, match="is a web address"):
        load_weights("https://example.org/a.safetensors")
    with pytest.raises(NonFiniteError, match="here: b and 1 more left"):
        check_finite(
            {"a": torch.ones(1), "b": torch.tensor([1.0, torch.nan]), "c": torch.tensor([torch.inf])},
            "here",
            hint="x",
        )
