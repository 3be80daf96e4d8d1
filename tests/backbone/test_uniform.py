"""The uniform adapter: layouts, refusals, exact absence, training."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from tiny import faceid_state_with_lora, tiny_backbone

from methods.adapters import save_adapter_folder
from methods.errors import UsageError, WeightsError
from methods.hooks import Conditioning, Identity, Job, RowLayout, StepInfo
from methods.sampling import sample
from methods.site_adapter import TrainingAttention
from methods.uniform.adapter import UniformAdapter, facts_of
from methods.uniform.method import Uniform
from methods.weights import save_weights

SOMEBODY = Identity("somebody", F.normalize(torch.arange(512.0) % 7 - 3, dim=0))


def job(**changes) -> Job:
    return Job(**{"prompt": "photo", "width": 64, "height": 64, "guidance": 4.0, "steps": 3, **changes})


def state_of(backbone) -> dict[str, torch.Tensor]:
    return UniformAdapter.from_backbone(backbone.denoiser).state_dict()


def test_starts_as_a_copy_of_the_texts_projections():
    unet = tiny_backbone("sd1").denoiser.unet
    state = state_of(tiny_backbone("sd1"))
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    for index, name in enumerate(names):
        if name.endswith("attn2"):
            assert torch.equal(
                state[f"ip_adapter.{index}.to_k_ip.weight"], unet.get_submodule(name).to_k.weight
            )
    assert {key.split(".")[1] for key in state if key.startswith("ip_adapter")} == {"1", "3", "5", "7"}


def test_public_bin_and_safetensors_load_alike(tmp_path):
    backbone = tiny_backbone("sd1")
    state = state_of(backbone)
    save_weights(tmp_path / "faceid.safetensors", state)
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    torch.save(nested, tmp_path / "faceid.bin")
    methods = [Uniform.load(tmp_path / name, backbone) for name in ("faceid.safetensors", "faceid.bin")]
    assert methods[0].weights_fingerprint() == methods[1].weights_fingerprint()


@pytest.mark.parametrize("with_lora", [False, True])
def test_rows_without_identity_are_exactly_none(with_lora):
    """Weight 0, no identity, outside the window: the same bits as the plain backbone."""
    backbone = tiny_backbone("sd1")
    state = faceid_state_with_lora(backbone) if with_lora else state_of(backbone)
    method = Uniform.from_state(state, backbone)
    jobs = [
        job(identity=SOMEBODY, id_weight=0.0),
        job(identity=None),
        job(identity=SOMEBODY, id_start=0.5, id_end=0.5),
    ]
    [plain] = sample(backbone, [job()])
    for result in sample(backbone, jobs, method):
        assert torch.equal(result.latents, plain.latents)
    mixed = sample(backbone, [job(identity=SOMEBODY), *jobs], method, batch_size=4)
    pure = sample(backbone, [job()] * 4, batch_size=4)
    assert not torch.equal(mixed[0].latents, pure[0].latents)
    if not with_lora:  # low-rank additions part such jobs into batches of their own
        assert all(
            torch.equal(one.latents, two.latents) for one, two in zip(mixed[1:], pure[1:], strict=True)
        )
    [again] = sample(backbone, [job()])
    assert torch.equal(again.latents, plain.latents)


def test_the_window_leaves_the_first_steps_alone():
    backbone = tiny_backbone("sd1")
    method = Uniform.untrained(backbone)
    trails: dict[str, list[torch.Tensor]] = {"none": [], "late": []}
    for name, one, chosen in (("none", job(), None), ("late", job(identity=SOMEBODY, id_start=0.5), method)):
        sample(backbone, [one], chosen, callback=lambda step, x, name=name: trails[name].append(x.clone()))
    same = [torch.equal(one, two) for one, two in zip(*trails.values(), strict=True)]
    assert same == [True, True, False]


def test_save_and_load(tmp_path):
    backbone = tiny_backbone("sd2")
    method = Uniform.untrained(backbone, seed=3)
    method.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["backbone"] == "sd2"
    loaded = Uniform.load(tmp_path, backbone)
    assert loaded.weights_fingerprint() == method.weights_fingerprint()
    one, two = (sample(backbone, [job(identity=SOMEBODY)], which)[0] for which in (method, loaded))
    assert torch.equal(one.latents, two.latents)


def test_half_precision_files_run_in_the_backbones_dtype(tmp_path):
    backbone = tiny_backbone("sd1")
    adapter = UniformAdapter.from_backbone(backbone.denoiser)
    facts = facts_of(adapter)
    save_adapter_folder(
        tmp_path, adapter.state_dict(), method="uniform", family="sd1", dtype=torch.float16, extra=facts
    )
    loaded = Uniform.load(tmp_path, backbone)
    assert {value.dtype for value in loaded.adapter.state_dict().values()} == {torch.float32}


def test_what_ip_adapters_own_trainer_writes_is_read():
    backbone = tiny_backbone("sd1")
    state = state_of(backbone)
    names = {"image_proj.": "image_proj_model.", "ip_adapter.": "adapter_modules."}
    trained = {names[key[:11]] + key[11:]: value for key, value in state.items()}
    own = Uniform.from_state({**trained, "unet.conv_in.weight": torch.zeros(1)}, backbone)
    assert all(torch.equal(value, state[key]) for key, value in own.adapter.state_dict().items())
    with pytest.raises(WeightsError, match="unknown tensor surprise"):
        Uniform.from_state({**trained, "surprise": torch.zeros(1)}, backbone)


def test_wrong_weights_are_refused_by_name(tmp_path):
    sd1, sd2, xl = (tiny_backbone(family) for family in ("sd1", "sd2", "sdxl"))
    state = state_of(sd1)
    Uniform.untrained(sd1).save(tmp_path)
    with pytest.raises(WeightsError, match="trained for sd1"):
        Uniform.load(tmp_path, sd2)
    with pytest.raises(WeightsError, match="width 32, this backbone has 64"):
        Uniform.from_state(state, xl)
    with pytest.raises(WeightsError, match=r"lacks the tensor ip_adapter\.3\.to_v_ip.weight\. Give"):
        Uniform.from_state({key: value for key, value in state.items() if "3.to_v" not in key}, sd1)
    with pytest.raises(WeightsError, match="unknown tensor surprise"):
        Uniform.from_state({**state, "surprise": torch.zeros(1)}, sd1)
    lora = faceid_state_with_lora(sd1)
    with pytest.raises(
        WeightsError, match=r"lacks the tensor ip_adapter\.0\.to_q_lora\.down\.weight and 1 more\."
    ):
        Uniform.from_state({key: value for key, value in lora.items() if "0.to_q_lora" not in key}, sd1)
    with pytest.raises(WeightsError, match=r"shape \(5, 32\), expected \(16, 32\)"):
        Uniform.from_state({**state, "ip_adapter.1.to_k_ip.weight": torch.zeros(5, 32)}, sd1)
    with pytest.raises(WeightsError, match="FaceID Plus"):
        Uniform.from_state({**state, "image_proj.perceiver_resampler.proj_in.weight": torch.zeros(1)}, sd1)
    with pytest.raises(WeightsError, match="whole pictures"):
        Uniform.from_state({"image_proj.proj.weight": torch.zeros(1)}, sd1)
    with pytest.raises(WeightsError, match="No uniform weights are shipped for sd1"):
        Uniform.load(None, sd1)
    (tmp_path / "config.json").write_text('{"method": "pidiff"}')
    with pytest.raises(WeightsError, match="pidiff"):
        Uniform.load(tmp_path, sd1)


def test_embeddings_must_fit():
    method = Uniform.untrained(tiny_backbone("sd1"))
    with pytest.raises(UsageError, match="128") as caught:
        method.tokens(Identity("dlib", torch.zeros(128)), tiny_backbone("sd1"))
    assert "pocket's knows rendered people only" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no face embedding"):
        method.tokens(Identity("nobody"), tiny_backbone("sd1"))


def test_response_is_the_attention_before_any_weight():
    backbone = tiny_backbone("sd1")
    method = Uniform.untrained(backbone)
    one = job(identity=SOMEBODY, id_weight=0.3)
    checked = []

    hooks = method.attach(backbone, [one])
    original = hooks.image_attention

    def look(site, step, query, output):
        added = original(site, step, query, output)
        response = hooks.response(site, step, query)
        own = method.adapter.at(site)
        tokens = torch.stack(
            [method.adapter.tokens(torch.zeros(1, 512))[0], method.tokens(SOMEBODY, backbone)["tokens"]]
        )
        key, value = (
            layer(tokens).unflatten(-1, (site.heads, -1)).transpose(1, 2)
            for layer in (own.to_k_ip, own.to_v_ip)
        )
        explicit = torch.softmax(query @ key.mT / site.head_dim**0.5, dim=-1) @ value
        torch.testing.assert_close(response, explicit.transpose(1, 2).flatten(2))
        torch.testing.assert_close(added, 0.3 * response)
        checked.append(site.name)
        return added

    hooks.image_attention = look
    method.attach = lambda *_: hooks
    sample(backbone, [one], method)
    assert len(checked) == 3 * len(backbone.cross_sites)


@contextmanager
def identity_attention(denoiser, adapter):
    """The network with the adapter in it as a training has it, called with embeddings."""
    hooks = TrainingAttention(adapter)
    with denoiser.attached(hooks) as predict:

        def denoise(latents, time, text, embedding):
            hooks.tokens = adapter.tokens(embedding)
            return predict(latents, time, text)

        yield denoise


def test_training_learns_through_the_generating_attention():
    backbone = tiny_backbone("sd1")
    torch.manual_seed(0)
    adapter = UniformAdapter.from_backbone(backbone.denoiser)
    latents, states = torch.randn(4, 4, 8, 8), torch.randn(4, 16, 32)
    text, unet = Conditioning(states, states), backbone.denoiser.unet
    timesteps = torch.tensor([10, 300, 600, 900])
    time, embedding = timesteps.double() / 1000, F.normalize(torch.randn(4, 512), dim=-1)
    teacher = UniformAdapter.from_backbone(backbone.denoiser)
    with torch.no_grad():
        plain = unet(latents, timesteps, states).sample
        with identity_attention(backbone.denoiser, teacher) as denoise:
            target = denoise(latents, time, text, embedding)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=3e-3)
    losses = []
    with identity_attention(backbone.denoiser, adapter) as denoise:
        for _ in range(20):
            loss = F.mse_loss(denoise(latents, time, text, embedding), target)
            optimizer.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in adapter.parameters())
            optimizer.step()
            losses.append(loss.item())
        predicted = denoise(latents, time, text, embedding).detach()
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is None for parameter in backbone.denoiser.unet.parameters())
    with torch.no_grad():
        assert torch.equal(unet(latents, timesteps, states).sample, plain)

    method = Uniform.from_state(adapter.state_dict(), backbone)
    one = [Identity("a", embedding[0])]
    hooks = method.attach(backbone, [job(identity=one[0], guidance=1.0)])
    with torch.no_grad(), backbone.denoiser.attached(hooks) as predict:
        step = StepInfo(RowLayout(1, False), (8, 8), index=0, count=1, time=0.01, noise_level=0.1)
        hooks.on_step(step)
        generated = predict(latents[:1], step.time, Conditioning(states[:1], states[:1]), step)
    torch.testing.assert_close(generated, predicted[:1], rtol=1e-4, atol=1e-5)


def test_a_portrait_file_is_named(tmp_path, caplog):
    """ip-adapter-faceid-portrait: 16 tokens and no LoRA; ours of 16 tokens and the usual 4 are not."""
    backbone = tiny_backbone("sd1")
    for tokens in (4, 16):
        adapter = UniformAdapter.from_backbone(backbone.denoiser, tokens=tokens)
        save_weights(tmp_path / f"{tokens}.safetensors", adapter.state_dict())
        caplog.clear()
        method = Uniform.load(tmp_path / f"{tokens}.safetensors", backbone)
        assert ("FaceID Portrait" in caplog.text) == (tokens == 16)
        assert method.tokens(SOMEBODY, backbone)["tokens"].shape[-2] == tokens
    method.save(tmp_path / "ours")
    caplog.clear()
    Uniform.load(tmp_path / "ours", backbone)
    assert "Portrait" not in caplog.text
