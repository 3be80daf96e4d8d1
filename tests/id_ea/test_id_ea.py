"""ID-EA: the gate, what each mode trains and applies, tuned keys and values of every row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fitted import fit_method, job, person
from tiny import tiny_backbone

from methods.errors import UsageError
from methods.id_ea.config import Config
from methods.id_ea.method import IDEA
from methods.id_ea.modules import Adapter, Enhancer
from methods.sampling import sample


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))


def test_a_closed_gate_leaves_the_text_and_lets_only_itself_learn() -> None:
    enhancer, adapter = Enhancer(512, 32), Adapter(32)
    text, anchor = torch.randn(3, 16, 32), torch.randn(2, 32)
    enhanced = enhancer(torch.randn(512), anchor)
    assert enhanced.shape == (2, 64)
    out = adapter(text, enhanced)
    assert torch.equal(out, text)
    (out * torch.randn(out.shape)).sum().backward()
    assert adapter.gamma.grad is not None and adapter.gamma.grad.abs() > 0
    others = [*enhancer.parameters(), *(p for n, p in adapter.named_parameters() if n != "gamma")]
    assert all(weight.grad is None or not weight.grad.any() for weight in others)
    adapter.gamma.data.fill_(1.0)
    adapter(text, enhancer(torch.randn(512), anchor)).square().sum().backward()
    assert all(weight.grad is not None for weight in others)
    assert sum(bool(weight.grad.any()) for weight in enhancer.parameters()) >= 8  # a bias of keys has none


def test_paper_mode_keeps_and_applies_everything(tmp_path: Path) -> None:
    anna, backbone = person(tmp_path), tiny_backbone("sdxl")
    fitted = fit_method("id-ea", tmp_path, "sdxl", steps=3).tokens(anna, backbone)
    assert fitted["word"].shape == (2, 64) and fitted["enhanced"].shape == (2, 128)
    moved = [name for name, value in fitted.items() if name.startswith("kv.") and value.any()]
    assert len(moved) == 2 * len(backbone.cross_sites)
    assert fitted["adapter.gamma"] != 0
    assert {"log.denoising", "log.distance"} < set(fitted)


def test_release_mode_applies_the_tokens_alone(tmp_path: Path) -> None:
    anna, backbone = person(tmp_path), tiny_backbone("sd1")
    fitted = fit_method("id-ea", tmp_path, mode="release").tokens(anna, backbone)
    assert {name for name in fitted if not name.startswith("log.")} == {"word"}


def test_tuned_keys_and_values_are_a_u_net_with_other_weights(tmp_path: Path) -> None:
    """The additions of a job, against a U-Net whose layers hold the sums; other jobs see neither."""
    anna, backbone = person(tmp_path), tiny_backbone("sd1")
    method = IDEA.untrained(backbone)
    fitted = {name: value.float() for name, value in method.tokens(anna, backbone).items()}
    plain_text = {name: value for name, value in fitted.items() if not name.startswith("kv.")}
    zero = {name: torch.zeros_like(value) for name, value in fitted.items() if name.startswith("kv.")}
    wanted, other = job(anna), job(None, seed=6)
    method._tokens[id(anna)] = (anna, fitted)
    tuned, untouched = sample(backbone, [wanted, other], method, batch_size=2)
    method._tokens[id(anna)] = (anna, plain_text | zero)
    without = sample(backbone, [wanted], method)[0]
    layers = [(site, backbone.denoiser.projections(site)) for site in backbone.cross_sites]
    try:
        for site, layer in layers:
            layer.k.weight.data += fitted[f"kv.{site.index}_k"]
            layer.v.weight.data += fitted[f"kv.{site.index}_v"]
        expected = sample(backbone, [wanted], method)[0]
    finally:
        for site, layer in layers:
            layer.k.weight.data -= fitted[f"kv.{site.index}_k"]
            layer.v.weight.data -= fitted[f"kv.{site.index}_v"]
    torch.testing.assert_close(tuned.latents, expected.latents, rtol=1e-3, atol=1e-3)
    assert (tuned.latents - without.latents).abs().max() > 1e-2
    torch.testing.assert_close(untouched.latents, sample(backbone, [other])[0].latents, rtol=1e-3, atol=1e-3)


def test_regularisers_in_force() -> None:
    assert Config().regularisation() == ("ridge", 1e-5)
    assert Config(mode="release").regularisation() == ("pinv", 8e-4)
    assert Config(reg="l2").regularisation() == ("l2", 1e-5)
    assert Config(reg="pinv", reg_weight=0.5).regularisation() == ("pinv", 0.5)
    assert Config(mode="release").rate_of_modules() == 0.012 and Config().rate_of_modules() == 1e-3


def test_options_that_do_not_exist() -> None:
    for options in ({"mode": "both"}, {"reg": "l1"}, {"steps": 0}, {"rate": -1.0}, {"module_rate": 0.0}):
        with pytest.raises(UsageError):
            Config(**options)
