"""SeFi-IDE: the generator, the loss, stages, and text encoded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fitted import fit_method, job, person
from tiny import tiny_backbone

from methods.errors import UsageError
from methods.facewise.config import Config
from methods.facewise.generator import TokenGenerator
from methods.facewise.loss import AttentionLoss, attention_map, map_loss
from methods.facewise.method import stages_of
from methods.fitting.attachment import stage_of
from methods.fitting.denoising import denoising
from methods.fitting.words import noun_embedding
from methods.sampling import sample


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPID_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("shared", [False, True])
def test_before_the_first_step_every_token_is_the_word(shared: bool) -> None:
    word = torch.randn(1, 32)
    generator = TokenGenerator(32, 5, shared=shared)
    tokens = generator(word)
    assert tokens.shape == (5, 2, 1, 32)
    assert torch.equal(tokens, word.expand(5, 2, 1, 32))
    torch.nn.init.normal_(generator.widen.weight)
    moved = generator.eval()(word)
    assert torch.equal(moved[:, 0], moved[:, 1]) == shared
    assert len({tuple(stage.flatten().tolist()) for stage in moved}) == 5


def test_stages_count_from_the_clean_end() -> None:
    times = torch.tensor([0, 199, 200, 599, 999]).double() / 1000
    assert stages_of(times, 5).tolist() == [0, 0, 1, 2, 4]
    assert [stage_of(float(t), 5) for t in times] == [0, 0, 1, 2, 4]
    assert stages_of(times, 1).tolist() == [0] * 5
    assert stage_of(1.0, 5) == 4


def test_reductions_of_the_loss() -> None:
    """Maps of 2 heads, 3 queries, 4 tokens that differ by .5 in tokens 0 and 1 everywhere."""
    target = torch.full((1, 2, 3, 4), 0.25)
    reference = target + torch.tensor([0.5, -0.5, 0.0, 0.0])
    values = {kind: map_loss(target, reference, kind).item() for kind in ("mean", "keys", "map", "sum")}
    assert values == {"mean": 0.125, "keys": 0.5, "map": 1.5, "sum": 3.0}
    columns = torch.tensor([[True, False, False, False]])
    assert map_loss(target, reference, "keys", columns).item() == 0.25
    assert map_loss(target, reference, "mean", columns).item() == 0.25


def test_the_maps_are_those_of_the_u_net(tmp_path: Path) -> None:
    """A column of softmax(Q K^T) by the loss equals what the sampler's own capture says."""
    from methods.backbone.attention import column_probabilities

    query, key = torch.randn(2, 4, 9, 8), torch.randn(2, 4, 16, 8)
    columns = torch.tensor([[3], [5]])
    expected = column_probabilities(query, key, columns)[..., 0]
    found = attention_map(query, key).mean(dim=1)
    torch.testing.assert_close(found[0, :, 3], expected[0])
    torch.testing.assert_close(found[1, :, 5], expected[1])


def test_only_keys_that_left_the_word_cost_anything() -> None:
    """Zero under the plain word, whatever the values; positive, with a gradient, for other keys."""
    backbone = tiny_backbone("sd1")
    reference = backbone.text.encode("photo of the person").hidden[None]
    watch = AttentionLoss(backbone, reference, reduction="map", layers="all")
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    time = torch.tensor([0.1, 0.9], dtype=torch.float64)
    plain = reference.expand(2, -1, -1)
    other = (
        plain + 0.5 * torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    ).requires_grad_()
    with denoising(backbone, watch) as denoise:
        watch.expect([0, 0], None)
        denoise(noise, time, plain, other, None)
        assert watch.take().item() < 1e-9
        watch.expect([0, 0], None)
        denoise(noise, time, other, plain, None)
        loss = watch.take()
    assert loss.item() > 1e-4
    loss.backward()
    assert other.grad is not None and other.grad.abs().max() > 0


def test_coarse_layers_leave_the_finest_out() -> None:
    backbone = tiny_backbone("sd2")
    reference = backbone.text.encode("photo of the person").hidden[None]
    every, coarse = (
        set(AttentionLoss(backbone, reference, reduction="keys", layers=layers).reference)
        for layers in ("all", "coarse")
    )
    levels = {site.index: site.cell for site in backbone.cross_sites}
    assert coarse == {index for index in every if levels[index] > 1} and every == set(levels)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pairs": 3, "shared": True, "reduction": "keys", "tokens": "word"},
        {"weight": 0.0},
        {"layers": "coarse", "reduction": "map"},
    ],
)
def test_every_option_fits(options: dict[str, object], tmp_path: Path) -> None:
    method = fit_method("facewise", tmp_path, family="sd2", **options)
    fitted = method.tokens(person(tmp_path), tiny_backbone("sd2"))
    assert fitted["tokens"].shape == (options.get("pairs", 5), 2, 1, 32)
    assert torch.equal(fitted["tokens"][:, 0], fitted["tokens"][:, 1]) == options.get("shared", False)
    assert ("log.attention" in fitted) == (options.get("weight", 1.0) != 0.0)


def test_without_the_loss_its_reduction_says_nothing(tmp_path: Path) -> None:
    anna, backbone = person(tmp_path), tiny_backbone("sd1")
    one, other = (
        fit_method("facewise", tmp_path, weight=0.0, reduction=how).tokens(anna, backbone)["tokens"]
        for how in ("sum", "map")
    )
    assert torch.equal(one, other)


def test_ten_encodings_of_a_prompt_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, backbone = person(tmp_path), tiny_backbone("sd1")
    method = fit_method("facewise", tmp_path)
    method.tokens(anna, backbone)
    rows: list[int] = []
    forward = backbone.text.forward

    def counting(ids):
        rows.append(len(ids[0]))
        return forward(ids)

    monkeypatch.setattr(backbone.text, "forward", counting)
    wanted = job(anna, prompt="person on the red beach", steps=5)
    sample(backbone, [wanted], method)
    assert rows.count(10) == 1
    rows.clear()
    sample(backbone, [wanted, job(anna, prompt=wanted.prompt, seed=9)], method)
    assert rows == []


def test_keys_and_values_hear_their_own_token_of_their_own_stage(tmp_path: Path) -> None:
    """All tokens at the plain word give the plain picture; any one that has its turn changes it."""
    anna, backbone = person(tmp_path), tiny_backbone("sd1")
    method = fit_method("facewise", tmp_path)
    wanted = job(anna, steps=3)  # at timesteps 667, 334 and 1: stages 3, 1 and 0
    word = noun_embedding(backbone.text).repeat(5, 2, 1, 1)

    def latents(tokens: torch.Tensor) -> torch.Tensor:
        method._tokens[id(anna)] = (anna, {"tokens": tokens})
        method._spoken.clear()
        return sample(backbone, [wanted], method)[0].latents

    before = latents(word)
    torch.testing.assert_close(before, sample(backbone, [wanted])[0].latents, rtol=1e-4, atol=1e-4)
    for kind in (0, 1):
        for stage in range(5):
            changed = word.clone()
            changed[stage, kind] += torch.randn(1, 32, generator=torch.Generator().manual_seed(stage))
            assert torch.equal(latents(changed), before) == (stage in (2, 4))


def test_options_that_do_not_exist() -> None:
    for options in (
        {"reduction": "max"},
        {"layers": "fine"},
        {"tokens": "some"},
        {"pairs": 0},
        {"rate": 0.0},
    ):
        with pytest.raises(UsageError):
            Config(**options)
