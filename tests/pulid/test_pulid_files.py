"""Files in the public layout, read strictly; whatever else is given is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pulid_parts import SITES, SIZES, flux_sites, random_adapter, random_file

from methods.errors import WeightsError
from methods.pulid.adapter import PulidAdapter
from methods.pulid.sizes import Sizes, sizes_of
from methods.weights import load_weights


def read(path: Path, sites=SITES) -> PulidAdapter:
    heads = (SIZES.heads, SIZES.ca_heads)
    return PulidAdapter.from_state_dict(load_weights(path), sites, heads=heads, source=path.name)


def test_a_file_loads_bit_for_bit(tmp_path: Path) -> None:
    adapter = read(random_file(tmp_path / "pulid.safetensors"))
    assert adapter.sizes == SIZES
    expected = random_adapter().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in adapter.state_dict().items())


def test_the_public_files_sizes() -> None:
    """571 million parameters in the published layout, told from shapes alone."""
    with torch.device("meta"):
        adapter = PulidAdapter(Sizes(), flux_sites(19, 38, heads=24, head_dim=128))
    state = adapter.state_dict()
    assert sizes_of(state, "file") == Sizes()
    assert state["pulid_encoder.layers.9.0.to_kv.weight"].shape == (2048, 1024)
    assert state["pulid_encoder.id_embedding_mapping.6.weight"].shape == (5120, 1024)
    assert state["pulid_ca.19.to_kv.weight"].shape == (4096, 2048)
    assert state["pulid_ca.0.to_out.weight"].shape == (3072, 2048)
    assert {name.rpartition(".")[2] for name in state if "to_" in name} == {"weight"}  # no biases
    assert round(sum(tensor.numel() for tensor in state.values()) / 1e6) == 571


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id_adapter.id_embedding_mapping.0.weight", "id_adapter_attn_layers.0.id_to_k.weight"], "SDXL"),
        (["image_proj.proj.0.weight", "ip_adapter.1.to_k_ip.weight"], "is an IP-Adapter"),
        (["double_blocks.0.img_attn.qkv.weight"], "is not a PuLID adapter"),
    ],
)
def test_other_files_are_named(names: list[str], message: str) -> None:
    state = {name: torch.zeros(1) for name in names}
    with pytest.raises(WeightsError, match=f"other.safetensors .*{message}") as caught:
        PulidAdapter.from_state_dict(state, SITES, source="other.safetensors")
    assert "\n" not in str(caught.value)


def test_a_file_with_too_much_or_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="unknown tensor pulid_ca.0.extra"):
        read(random_file(tmp_path / "more.safetensors", **{"pulid_ca.0.extra": torch.zeros(1)}))
    state = random_adapter().state_dict()
    del state["pulid_encoder.mapping_1.3.bias"]
    with pytest.raises(WeightsError, match="lacks the tensor pulid_encoder.mapping_1.3.bias"):
        PulidAdapter.from_state_dict(state, SITES, heads=(4, 4))


def test_another_flux_is_refused(tmp_path: Path) -> None:
    path = random_file(tmp_path / "pulid.safetensors")
    with pytest.raises(WeightsError, match="has 6 attentions, this backbone takes 20"):
        read(path, flux_sites(19, 38))
    with pytest.raises(WeightsError, match="width 48, this backbone has 60"):
        read(path, flux_sites(5, 10, head_dim=15))
