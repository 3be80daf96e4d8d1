"""Mixed attention and AdaIN-mean: the properties that the paper's equations imply, with known answers."""

from __future__ import annotations

import torch
from people import somebody
from tiny import tiny_backbone

from methods.backbone.attention import attend
from methods.hooks import Job
from methods.infinite_id.attention import adain, adain_mean, mix
from methods.infinite_id.method import InfiniteID
from methods.sampling import sample


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_streams_mix_to_plain_self_attention():
    query, key, value = (normal(2, 3, 5, 4, seed=seed) for seed in range(3))
    plain = attend(query, key, value)
    for shift in ("off", "mean", "full"):
        mixed = attend(query, mix(key, key, shift), mix(value, value, shift))
        torch.testing.assert_close(mixed, plain, rtol=1e-4, atol=1e-4)


def test_mixed_attention_by_hand():
    """One token, one channel: own key 1, text key 0, so the weights are e : 1."""
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    value_id, value_text = 3 * one, 5 * one
    mixed = attend(one, mix(one, zero, "off"), mix(value_id, value_text, "off"))
    e = torch.e
    torch.testing.assert_close(mixed, torch.full((1, 1, 1), (3 * e + 5) / (e + 1)))
    # a single token is its own mean: shifted, it becomes the text's
    torch.testing.assert_close(
        attend(one, mix(one, zero, "mean"), mix(value_id, value_text, "mean")), torch.full((1, 1, 1), 5.0)
    )


def test_adain_mean_moves_the_mean_and_nothing_else():
    x, y = normal(2, 3, 7, 4), 2 + 3 * normal(2, 3, 7, 4, seed=1)
    torch.testing.assert_close(adain_mean(x, x), x)
    shifted = adain_mean(x, y)
    torch.testing.assert_close(shifted.mean(dim=2), y.mean(dim=2))
    torch.testing.assert_close(shifted - shifted.mean(dim=2, keepdim=True), x - x.mean(dim=2, keepdim=True))
    full = adain(x, y)
    torch.testing.assert_close(full.mean(dim=2), y.mean(dim=2))
    torch.testing.assert_close(full.std(dim=2), y.std(dim=2), rtol=1e-4, atol=1e-4)


def test_without_image_attention_both_streams_coincide():
    """Identity values of zero and one noise: the identity stream is the text stream, at any weight."""
    backbone = tiny_backbone("sdxl")
    method = InfiniteID.untrained(backbone)
    for own in method.adapter.image_attention.values():
        own.to_v_id.weight.zero_()
    job = Job("photo of the person", 64, 64, guidance=4.0, seed=3, steps=3, identity=somebody(1))
    [plain], [made] = sample(backbone, [job]), sample(backbone, [job], method)
    torch.testing.assert_close(made.latents, plain.latents, rtol=1e-4, atol=1e-4)
