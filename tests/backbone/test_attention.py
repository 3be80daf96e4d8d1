"""The attention sites: enumeration, hooks, caching, capture, and leaving no trace."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import FAMILIES, Hooked, tiny_backbone

from methods.backbone.attention import attend, column_probabilities
from methods.hooks import Attachment, Conditioning, Job
from methods.none import NoMethod
from methods.sampling import sample

JOB = Job("photo of the person", 64, 64, guidance=4.0, seed=1, steps=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_describe_the_unet(family):
    backbone = tiny_backbone(family)
    assert [site.index for site in backbone.sites] == list(range(len(backbone.denoiser.unet.attn_processors)))
    seen: dict[str, tuple[int, int]] = {}

    class Look(Attachment):
        def image_attention(self, site, step, query, output):
            h, w = site.grid(*step.latent_size)
            assert query.shape == (step.rows.total, site.heads, h * w, site.head_dim)
            assert output.shape == (step.rows.total, h * w, site.width)
            seen[site.name] = h, w

        def keys_values(self, site, step, query, key, value):
            h, w = site.grid(*step.latent_size)
            assert query.shape == key.shape == value.shape
            assert query.shape == (step.rows.total, site.heads, h * w, site.head_dim)
            seen[site.name] = h, w
            return key, value

    sample(backbone, [Job("photo", 40, 72, guidance=4.0, steps=1)], Hooked(Look()))
    assert set(seen) == {site.name for site in backbone.sites}
    assert set(seen.values()) <= {(9, 5), (5, 3)}
    assert all(site.context_width == backbone.context_width for site in backbone.cross_sites)


def test_processors_come_back_after_an_error():
    unet = tiny_backbone("sd1").denoiser.unet
    before = dict(unet.attn_processors)

    class Failing(Attachment):
        def image_attention(self, site, step, query, output):
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        sample(tiny_backbone("sd1"), [JOB], Hooked(Failing()))
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_text_is_projected_once_per_conditioning():
    """One projection of keys and one of values per site and text, however many steps."""
    backbone = tiny_backbone("sd1")
    layers = [backbone.denoiser.unet.get_submodule(site.name) for site in backbone.cross_sites]
    calls = []
    handles = [layer.to_k.register_forward_hook(lambda *_: calls.append("k")) for layer in layers]
    handles += [layer.to_v.register_forward_hook(lambda *_: calls.append("v")) for layer in layers]

    class TwoStages(Attachment):
        def __init__(self):
            self.stages = []

        def conditioning(self, step, text):
            self.stages = self.stages or [text, Conditioning(text.key, text.value)]
            return self.stages[step.index // 2]

    try:
        sample(backbone, [Job("photo", 64, 64, guidance=4.0, steps=4)])
        assert len(calls) == 2 * len(layers)
        calls.clear()
        sample(backbone, [Job("photo", 64, 64, guidance=4.0, steps=4)], Hooked(TwoStages()))
        assert len(calls) == 2 * 2 * len(layers)
    finally:
        for handle in handles:
            handle.remove()


def test_keys_and_values_may_see_different_text():
    """With all keys equal, attention is the mean of the values, whatever the query."""
    backbone = tiny_backbone("sd1")
    outputs = {}

    class Split(Attachment):
        def conditioning(self, step, text):
            self.value = text.value
            return Conditioning(key=torch.zeros_like(text.key), value=text.value)

        def image_attention(self, site, step, query, output):
            outputs[site.name] = output, backbone.denoiser.unet.get_submodule(site.name).to_v(self.value)

    sample(backbone, [JOB], Hooked(Split()))
    for output, value in outputs.values():
        torch.testing.assert_close(output, value.mean(dim=1, keepdim=True).expand_as(output))


def test_duplicated_self_attention_keys_change_nothing():
    """softmax over every key twice renormalises: what mixed attention degenerates to for equal streams."""
    backbone = tiny_backbone("sdxl")

    class Twice(Attachment):
        def keys_values(self, site, step, query, key, value):
            return torch.cat([key, key], dim=2), torch.cat([value, value], dim=2)

    [plain], [twice] = sample(backbone, [JOB]), sample(backbone, [JOB], Hooked(Twice()))
    torch.testing.assert_close(twice.latents, plain.latents, rtol=1e-4, atol=1e-4)


def test_columns_equal_explicit_softmax():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 30, 8, generator=generator)
    key = torch.randn(2, 4, 11, 8, generator=generator)
    columns = torch.tensor([[0, 3, 10], [5, 5, 1]])
    probabilities = torch.softmax(query @ key.transpose(-1, -2) / 8**0.5, dim=-1).mean(dim=1)
    expected = torch.stack([probabilities[row][:, columns[row]] for row in range(2)])
    torch.testing.assert_close(column_probabilities(query, key, columns), expected)


def test_capture_is_the_mean_over_steps_of_the_conditional_rows():
    backbone = tiny_backbone("sd1")
    jobs = [JOB, Job("the red beach", 64, 64, guidance=4.0, seed=2, steps=3)]
    words = [
        backbone.text.token_positions(JOB.prompt, "person"),
        backbone.text.token_positions(jobs[1].prompt, "red"),
    ]
    assert words == [[4], [2]]
    maps: dict[str, list[torch.Tensor]] = {}

    class Explicit(Attachment):
        def conditioning(self, step, text):
            self.text = text
            return text

        def image_attention(self, site, step, query, output):
            layer = backbone.denoiser.unet.get_submodule(site.name)
            key = layer.to_k(self.text.key).unflatten(-1, (site.heads, -1)).transpose(1, 2)
            full = torch.softmax(query @ key.transpose(-1, -2) / site.head_dim**0.5, dim=-1).mean(dim=1)
            cond = full[step.rows.cond]
            maps.setdefault(site.name, []).append(torch.stack([cond[0][:, [4]], cond[1][:, [2]]]))

    results = sample(backbone, jobs, Hooked(Explicit()), batch_size=2, capture=words)
    assert set(maps) == set(results[0].attention) == {site.name for site in backbone.cross_sites}
    for name, steps in maps.items():
        assert len(steps) == 3
        for job, result in enumerate(results):
            torch.testing.assert_close(result.attention[name], torch.stack(steps).mean(0)[job])

    [coarse] = sample(backbone, [JOB], capture=words[:1], capture_max_tokens=16)
    assert {len(columns) for columns in coarse.attention.values()} == {16}


def test_the_processor_is_differentiable():
    backbone = tiny_backbone("sd1")
    gain = torch.ones((), requires_grad=True)

    class Gain(Attachment):
        def image_attention(self, site, step, query, output):
            return gain * output

    latents, text = torch.randn(1, 4, 8, 8), torch.randn(1, 16, 32)
    with backbone.denoiser.attached(Gain()) as predict:
        predict(latents, 0.005, Conditioning(text, text)).square().mean().backward()
    assert gain.grad is not None and gain.grad.abs() > 0


def test_attend_concatenates_heads():
    query, key, value = torch.randn(3, 2, 4, 5, 6).unbind(0)
    explicit = torch.softmax(query @ key.mT / 6**0.5, dim=-1) @ value
    torch.testing.assert_close(attend(query, key, value), explicit.transpose(1, 2).flatten(2))


def test_attention_with_gradients_is_the_same_and_so_are_its_gradients():
    """Plain products for passes that go backwards on a CPU, torch's kernel for all others."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, 3, tokens, 8, generator=generator, requires_grad=True) for tokens in (5, 7, 7)
    )
    wanted = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    with tiny_backbone("sd1").attention_backend(gradients=True):
        found = attend(query, key, value)
        with torch.no_grad():
            assert torch.equal(attend(query, key, value), found)  # a loss may compare the two
    torch.testing.assert_close(found, wanted)
    assert torch.equal(attend(query, key, value), wanted)
    weight = torch.randn(found.shape, generator=generator)
    grads = [torch.autograd.grad((out * weight).sum(), (query, key, value)) for out in (found, wanted)]
    torch.testing.assert_close(*grads)


def test_none_is_the_bare_loop():
    [default], [none] = sample(tiny_backbone("sd2"), [JOB]), sample(tiny_backbone("sd2"), [JOB], NoMethod())
    assert torch.equal(default.latents, none.latents)
