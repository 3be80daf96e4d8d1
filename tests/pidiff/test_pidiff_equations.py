"""PIDiff's equations: the gated residual block, tokens of rows, style rows, public w-plus-adapter weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from people import somebody
from tiny import tiny_backbone

from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.hooks import Job, RowLayout, StepInfo
from methods.pidiff.adapter import StyleAdapter
from methods.pidiff.config import Config, parse_levels
from methods.pidiff.method import PIDiff
from methods.pidiff.style import mix_rows
from methods.pidiff.stylespace.encoder import StyleShape
from methods.pidiff.stylespace.load import random_style_space, save_style_space
from methods.pidiff.wplus import GROUPS, initialise_from_wplus
from methods.sampling import sample

SOMEBODY, OTHER = somebody(1), somebody(2, "anybody")


def job(**changes: object) -> Job:
    base = {"prompt": "photo", "width": 64, "height": 64, "guidance": 4.0, "steps": 5, "identity": SOMEBODY}
    return Job(**{**base, **changes})


def test_the_block_reads_tokens_with_the_text_attentions_output() -> None:
    """alpha * softmax((W_q' h_txt)(W_k' f)^T / sqrt d) (G W_v' f), per head, at one site."""
    backbone = tiny_backbone("sd1")
    method = PIDiff.untrained(backbone)
    hooks = method.attach(backbone, [job(id_weight=0.3, guidance=1.0)])
    site = backbone.cross_sites[0]
    block = method.adapter.at(site)
    with torch.no_grad():
        block.gate.copy_(torch.linspace(-1, 2, 18))
        h, w = site.grid(8, 8)
        output = torch.randn(1, h * w, site.width)
        step = StepInfo(RowLayout(1, False), (8, 8), index=1, count=5, time=0.5, noise_level=0.6)
        hooks.on_step(step)
        found = hooks.image_attention(site, step, torch.randn(1, site.heads, h * w, site.head_dim), output)
        f = method.tokens(SOMEBODY, backbone)["tokens"][None]
        heads = [
            x.unflatten(-1, (site.heads, -1)).transpose(1, 2)
            for x in (block.to_q_wplus(output), block.to_k_wplus(f), block.to_v_wplus(f))
        ]
        q, k, v = heads
        attended = torch.softmax(q @ k.mT / site.head_dim**0.5, dim=-1) @ (v * block.gate[:, None])
        block.gate.fill_(1.0)
    torch.testing.assert_close(found, 0.3 * attended.transpose(1, 2).flatten(2))


def test_closed_gates_are_the_backbone_itself() -> None:
    backbone = tiny_backbone("sd1")
    adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=18, dim=64)
    method = PIDiff.ready(adapter, random_style_space(), backbone)
    one, two = sample(backbone, [job()], method)[0], sample(backbone, [job(identity=None)])[0]
    torch.testing.assert_close(one.latents, two.latents, rtol=0, atol=0)


def test_projections_start_as_the_unets_own() -> None:
    backbone = tiny_backbone("sd2")
    adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=18, dim=64)
    for site in backbone.cross_sites:
        layer, block = backbone.denoiser.unet.get_submodule(site.name), adapter.at(site)
        for part in ("q", "k", "v"):
            own, theirs = getattr(block, f"to_{part}_wplus").weight, getattr(layer, f"to_{part}").weight
            assert torch.equal(own, theirs)
        assert (block.gate == 0).all()


def test_every_row_is_projected_by_its_own_weight() -> None:
    adapter = PIDiff.untrained(tiny_backbone("sd1")).adapter
    codes = torch.randn(2, 18, 64)
    with torch.no_grad():
        tokens, projection = adapter.tokens(codes), adapter.w_proj
        for row in (0, 9, 17):
            expected = projection.norm(codes[:, row] @ projection.weight[row].T + projection.level[row])
            torch.testing.assert_close(tokens[:, row], expected)
        assert (adapter.tokens(torch.zeros(1, 18, 64)) == 0).all()  # nobody has nothing to add at the start


@pytest.mark.parametrize(("own", "start"), [({}, 1), ({"id_start": 0.6}, 3), ({"id_end": 0.4}, 1)])
def test_the_identity_enters_after_a_fifth_of_the_steps(own: dict[str, float], start: int) -> None:
    backbone = tiny_backbone("sd1")
    trails: dict[str, list[torch.Tensor]] = {"none": [], "pidiff": []}
    method = PIDiff.untrained(backbone)
    for name, chosen in (("none", None), ("pidiff", method)):
        sample(
            backbone, [job(**own)], chosen, callback=lambda step, x, name=name: trails[name].append(x.clone())
        )
    same = [torch.equal(one, two) for one, two in zip(*trails.values(), strict=True)]
    assert same == [True] * start + [False] * (5 - start)


def test_levels() -> None:
    assert parse_levels("8-11") == (8, 9, 10, 11)
    assert parse_levels("fine") == tuple(range(8, 18))
    assert parse_levels("coarse, 9,3") == (0, 1, 2, 3, 9)
    for wrong in ("", "x", "5-3", "1-", "-3", "0-9999"):
        with pytest.raises(UsageError):
            parse_levels(wrong)


def test_rows_are_swapped_and_interpolated() -> None:
    one, other = torch.zeros(18, 4), torch.ones(18, 4)
    mixed = mix_rows(one, other, parse_levels("8-17"), 1.0)
    assert (mixed[:8] == 0).all() and (mixed[8:] == 1).all() and (one == 0).all()
    assert (mix_rows(one, other, (2,), 0.25)[2] == 0.25).all()
    with pytest.raises(UsageError, match="no style level 20"):
        mix_rows(one, other, (20,), 1.0)


def test_style_rows_come_from_the_other_picture() -> None:
    backbone = tiny_backbone("sd1")
    plain = PIDiff.untrained(backbone)
    one, other = (plain.tokens(person, backbone)["codes"] for person in (SOMEBODY, OTHER))
    mean = PIDiff.untrained(backbone, Config(style_from="mean", style_levels="0-3", style_strength=0.5))
    codes = mean.tokens(SOMEBODY, backbone)["codes"]
    torch.testing.assert_close(codes[:4], 0.5 * one[:4])
    assert torch.equal(codes[4:], one[4:]) and mean.record() == {}
    styled = PIDiff.untrained(backbone, Config(style_from=OTHER.pictures[0]))
    with pytest.raises(UsageError, match="without a face encoder"):
        styled.tokens(SOMEBODY, backbone)
    styled._style = other
    codes = styled.tokens(SOMEBODY, backbone)["codes"]
    assert torch.equal(codes[:8], one[:8]) and torch.equal(codes[8:], other[8:])
    assert styled.record()["style_reference"]["path"] == OTHER.pictures[0]
    with pytest.raises(UsageError, match="strength"):
        from methods.config import build

        build(Config, {"style_strength": 2.0}, where="method pidiff")


def wplus_checkpoint(backbone: object, width: int, dim: int) -> dict[str, dict[str, torch.Tensor]]:
    """Random weights in w-plus-adapter's layout."""
    generator = torch.Generator().manual_seed(3)
    projection = {
        f"proj_{group}.weight": torch.randn(width, (stop - start) * dim, generator=generator)
        for group, (start, stop) in enumerate(GROUPS)
    }
    projection |= {"norm.weight": torch.ones(width), "norm.bias": torch.full((width,), 0.5)}
    blocks = {}
    for site in backbone.cross_sites:  # type: ignore[attr-defined]
        for part, inputs in (("q", site.width), ("k", width), ("v", width)):
            shape = site.width, inputs
            blocks[f"{site.index}.to_{part}_wplus.weight"] = torch.randn(shape, generator=generator)
    return {"w_proj": projection, "wplus_adapter": blocks}


def test_wplus_adapters_projection_splits_into_rows() -> None:
    """W_g [w_a; ...; w_b] = sum_r (W_r (w_r - wbar_r) + e_r): the group's token before its norm."""
    backbone = tiny_backbone("sd1")
    checkpoint = wplus_checkpoint(backbone, 32, 8)
    flat = {
        f"{part}.{name}": value for part, tensors in checkpoint.items() for name, value in tensors.items()
    }
    adapter = StyleAdapter.from_backbone(backbone.denoiser, rows=18, dim=8)
    average, codes = torch.randn(18, 8), torch.randn(18, 8)
    initialise_from_wplus(adapter, flat, average, "test")
    rows = torch.einsum("rd,rcd->rc", codes - average, adapter.w_proj.weight) + adapter.w_proj.level
    for group, (start, stop) in enumerate(GROUPS):
        expected = checkpoint["w_proj"][f"proj_{group}.weight"] @ codes[start:stop].flatten()
        torch.testing.assert_close(rows[start:stop].sum(0), expected, rtol=1e-4, atol=1e-4)
    site = backbone.cross_sites[1]
    public = checkpoint["wplus_adapter"][f"{site.index}.to_k_wplus.weight"]
    assert torch.equal(adapter.at(site).to_k_wplus.weight, public)
    assert (adapter.at(site).gate == 1).all() and (adapter.w_proj.norm.bias == 0.5).all()


def test_public_wplus_file_loads_with_its_encoder(tmp_path: Path) -> None:
    backbone = tiny_backbone("sd1")
    torch.save(wplus_checkpoint(backbone, 32, 8), tmp_path / "wplus.bin")
    with pytest.raises(MissingWeightsError, match="e4e"):
        PIDiff.load(tmp_path / "wplus.bin", backbone)
    shape = StyleShape(64, 18, 8, (4, 6, 8, 12), (1, 1, 1, 1))
    save_style_space(tmp_path / "style", random_style_space(shape))
    config = Config(style_encoder=str(tmp_path / "style"))
    method = PIDiff.load(tmp_path / "wplus.bin", backbone, config)
    [result] = sample(backbone, [job(steps=2)], method)
    assert result.status == "ok"
    with pytest.raises(WeightsError, match="width 32, this backbone has 64"):
        PIDiff.load(tmp_path / "wplus.bin", tiny_backbone("sdxl"), config)


def test_an_adapter_knows_its_encoder_and_its_backbone(tmp_path: Path) -> None:
    sd1 = tiny_backbone("sd1")
    method = PIDiff.untrained(sd1, seed=1)
    method.save(tmp_path / "own")
    assert PIDiff.load(tmp_path / "own", sd1).weights_fingerprint() == method.weights_fingerprint()
    save_style_space(tmp_path / "another", random_style_space(seed=9))
    with pytest.raises(WeightsError, match="another style encoder"):
        PIDiff.load(tmp_path / "own", sd1, Config(style_encoder=str(tmp_path / "another")))
    with pytest.raises(WeightsError, match="trained for sd1"):
        PIDiff.load(tmp_path / "own", tiny_backbone("sd2"))
    with pytest.raises(MissingWeightsError) as missing:
        PIDiff.load(None, sd1)
    assert "spid train --method pidiff" in str(missing.value.hint)


def test_an_embedding_alone_is_refused() -> None:
    backbone = tiny_backbone("sd1")
    from methods.hooks import Identity

    method = PIDiff.untrained(backbone)
    with pytest.raises(UsageError, match="no face"):
        method.tokens(Identity("numbers", SOMEBODY.embedding), backbone)
    with pytest.raises(UsageError, match="no picture"):
        method.tokens(Identity("numbers", face=SOMEBODY.face), backbone)
