"""`uniform` in the FLUX IP-Adapter layout: diffusers makes the same latents of the same file."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_equals_flux_pipeline import job_of, pipeline_of, reference
from tiny import Hooked, tiny_backbone
from tiny_flux import DOUBLE, KINDS, flux_adapter_state, flux_backbone, flux_folder, flux_pipeline

from methods.backbone.load import load_backbone
from methods.errors import MissingWeightsError, WeightsError
from methods.hooks import Attachment, Identity
from methods.sampling import sample
from methods.uniform.method import Uniform
from methods.weights import save_weights


def somebody(seed: int = 1, length: int = 512) -> Identity:
    generator = torch.Generator().manual_seed(seed)
    return Identity(f"person {seed}", F.normalize(torch.randn(length, generator=generator), dim=0))


def with_adapter(kind, state, dtype=torch.float32):
    """diffusers' pipeline with its own FLUX IP-Adapter; a new one, as it never comes off whole."""
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    pipeline = flux_pipeline(kind, dtype)
    pipeline.load_ip_adapter(
        nested, weight_name="", subfolder="", image_encoder_pretrained_model_name_or_path=None
    )
    return pipeline


@pytest.mark.parametrize("kind", KINDS)
def test_equals_diffusers(kind):
    backbone = flux_backbone(kind)
    state = flux_adapter_state()
    method = Uniform.from_state(state, backbone)
    pipeline = with_adapter(kind, state)
    jobs = [
        job_of(kind, identity=somebody(1)),
        job_of(kind, "the beach", width=96, seed=4, identity=somebody(2), id_weight=0.6),
    ]
    plain = sample(backbone, jobs)
    for result, job, without in zip(sample(backbone, jobs, method), jobs, plain, strict=True):
        pipeline.set_ip_adapter_scale(job.id_weight)
        embeddings = {
            "ip_adapter_image_embeds": [job.identity.embedding[None, None]],
            "negative_ip_adapter_image_embeds": [torch.zeros(1, 1, 512)],  # or it wants an image encoder
        }
        assert torch.equal(result.latents, reference(pipeline, backbone, [job], **embeddings)[0])
        assert (result.latents - without.latents).abs().max() > 1e-2


def test_equals_diffusers_in_half_precision():
    backbone = load_backbone(flux_folder("dev"), device="cpu", dtype="bfloat16")
    state = flux_adapter_state()
    job = job_of("dev", identity=somebody())
    [result] = sample(backbone, [job], Uniform.from_state(state, backbone))
    embeddings = {
        "ip_adapter_image_embeds": [job.identity.embedding[None, None]],
        "negative_ip_adapter_image_embeds": [torch.zeros(1, 1, 512)],
    }
    pipeline = with_adapter("dev", state, torch.bfloat16)
    assert torch.equal(result.latents, reference(pipeline, backbone, [job], **embeddings)[0].float())


def test_the_negative_pass_sees_nobody():
    backbone = flux_backbone("dev")
    state = flux_adapter_state()
    job = job_of("dev", identity=somebody(), negative_prompt="the beach", true_cfg=2.0)
    wanted = reference(
        with_adapter("dev", state),
        backbone,
        [job],
        negative_prompt=job.negative_prompt,
        true_cfg_scale=2.0,
        ip_adapter_image_embeds=[job.identity.embedding[None, None]],
        negative_ip_adapter_image_embeds=[torch.zeros(1, 1, 512)],
    )[0]
    [result] = sample(backbone, [job], Uniform.from_state(state, backbone))
    assert torch.equal(result.latents, wanted)


def test_people_in_a_batch_do_not_see_each_other():
    backbone = flux_backbone("dev")
    method = Uniform.from_state(flux_adapter_state(), backbone)
    jobs = [job_of("dev", identity=who, seed=3) for who in (somebody(1), None, somebody(2))]
    together = sample(backbone, jobs, method, batch_size=3)
    for result, job in zip(together, jobs, strict=True):
        torch.testing.assert_close(result.latents, sample(backbone, [job], method)[0].latents)
    [plain] = sample(backbone, [jobs[1]])
    assert torch.equal(sample(backbone, [jobs[1]], method)[0].latents, plain.latents)


@pytest.mark.parametrize("kind", KINDS)
def test_detached_the_bits_are_as_before(kind):
    """After hooks everywhere, and after an exception in one: the same processors, hooks, tensors, latents."""
    backbone = flux_backbone(kind)
    transformer = backbone.denoiser.transformer

    def state():
        hooks = [len(module._forward_hooks) for module in transformer.modules()]
        tensors = {name: value.clone() for name, value in transformer.state_dict().items()}
        return dict(transformer.attn_processors), hooks, tensors

    processors, hooks, tensors = state()
    [before] = sample(backbone, [job_of(kind)])

    class Everywhere(Attachment):
        def image_attention(self, site, step, query, output):
            assert query.shape == (1, site.heads, 16, site.head_dim) and output.shape == (1, 16, site.width)
            return 0.1 * output

        def keys_values(self, site, step, query, key, value):
            assert key.shape == (1, site.heads, site.text + 16, site.head_dim)
            return torch.cat([key, key], dim=2), torch.cat([value, 2 * value], dim=2)

        def after_block(self, site, step, hidden):
            if failing and site.index == DOUBLE + 1:
                raise RuntimeError("in the middle of it")
            return 0.1 * hidden

    method, failing = Hooked(Everywhere()), False
    [changed] = sample(backbone, [job_of(kind)], method)
    assert (changed.latents - before.latents).abs().max() > 1e-2
    failing = True
    with pytest.raises(RuntimeError, match="in the middle"):
        sample(backbone, [job_of(kind)], method)
    after = state()
    assert after[:2] == (processors, hooks)
    assert all(torch.equal(after[2][name], value) for name, value in tensors.items())
    [again] = sample(backbone, [job_of(kind)])
    assert torch.equal(again.latents, before.latents)


def test_files_of_either_naming_load(tmp_path):
    backbone = flux_backbone("dev")
    state = flux_adapter_state()
    theirs = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "image_proj":
            theirs[f"ip_adapter_proj_model.{rest}"] = value
        else:
            block, which, kind = rest.split(".")
            role = which.removeprefix("to_").removesuffix("_ip")
            theirs[f"double_blocks.{block}.processor.ip_adapter_double_stream_{role}_proj.{kind}"] = value
    save_weights(tmp_path / "ours.safetensors", state)
    save_weights(tmp_path / "theirs.safetensors", theirs)
    ours, other = (Uniform.load(tmp_path / f"{name}.safetensors", backbone) for name in ("ours", "theirs"))
    assert ours.weights_fingerprint() == other.weights_fingerprint()
    ours.save(tmp_path / "saved")
    assert Uniform.load(tmp_path / "saved", backbone).weights_fingerprint() == ours.weights_fingerprint()
    assert set(ours.adapter.state_dict()) == set(state)


def test_wrong_adapters_are_refused_by_name():
    backbone, sd1 = flux_backbone("dev"), tiny_backbone("sd1")
    state = flux_adapter_state()
    with pytest.raises(WeightsError, match="is a FLUX IP-Adapter, and the backbone is a U-Net"):
        Uniform.from_state(state, sd1)
    faceid = Uniform.untrained(sd1).adapter.state_dict()
    with pytest.raises(WeightsError, match="FaceID checkpoint of a U-Net, and the backbone is FLUX"):
        Uniform.from_state(faceid, backbone)
    more = state | {
        key.replace("ip_adapter.2.", "ip_adapter.3."): value
        for key, value in state.items()
        if key.startswith("ip_adapter.2.")
    }
    with pytest.raises(WeightsError, match=r"unknown tensor ip_adapter\.3\.to_k_ip\.bias and 3 more"):
        Uniform.from_state(more, backbone)
    fewer = {key: value for key, value in state.items() if not key.startswith("ip_adapter.2.")}
    with pytest.raises(WeightsError, match=r"lacks the tensor ip_adapter\.2\.to_k_ip\.bias and 3 more"):
        Uniform.from_state(fewer, backbone)
    wide = {
        "image_proj.proj.weight": torch.zeros(4 * 64, 512),
        "image_proj.proj.bias": torch.zeros(4 * 64),
        "image_proj.norm.weight": torch.zeros(64),
        "image_proj.norm.bias": torch.zeros(64),
        "ip_adapter.0.to_k_ip.bias": torch.zeros(32),
    }
    with pytest.raises(WeightsError, match="width 64, this backbone has 32"):
        Uniform.from_state(wide, backbone)


def test_missing_weights_name_no_file_of_a_u_net():
    with pytest.raises(MissingWeightsError) as caught:
        Uniform.load(None, flux_backbone("dev"))
    assert "--adapter" in str(caught.value.hint) and "sd15" not in str(caught.value.hint)


def test_an_untrained_adapter_acts():
    backbone = flux_backbone("schnell")
    job = job_of("schnell", identity=somebody())
    [result] = sample(backbone, [job], Uniform.untrained(backbone, seed=2))
    assert not torch.equal(result.latents, sample(backbone, [job])[0].latents)


def test_the_pipeline_of_the_tests_is_the_plain_one():
    """`with_adapter` must not have changed the one that other tests compare with."""
    backbone = flux_backbone("dev")
    assert torch.equal(
        sample(backbone, [job_of("dev")])[0].latents,
        reference(pipeline_of("dev"), backbone, [job_of("dev")])[0],
    )
