"""`pulid` at work on a tiny FLUX: what it adds where, for whom, and that nothing of it stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from people import somebody
from tiny import Hooked
from tiny_flux import flux_backbone
from torch import Tensor

from methods.backbone.backbone import Backbone
from methods.errors import MissingWeightsError, UsageError, WeightsError
from methods.hooks import Attachment, Identity, Job
from methods.pulid.attention import PulidAttention
from methods.pulid.config import Config
from methods.pulid.method import Pulid
from methods.regions import Region
from methods.sampling import sample
from methods.weights import save_weights

ONE, TWO = somebody(1), somebody(2, "anybody")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return flux_backbone("dev")


@pytest.fixture(scope="module")
def method(backbone: Backbone) -> Pulid:
    return loud(Pulid.untrained(backbone))


def loud(method: Pulid) -> Pulid:
    """What it adds is as large as what it is added to, so that every difference shows."""
    with torch.no_grad():
        for attention in method.adapter.pulid_ca:
            attention.to_out.weight *= 50
    return method


def job(**changes: object) -> Job:
    settings = {"prompt": "photo of the person", "width": 64, "height": 48, "guidance": 3.5}
    settings |= {"steps": 4, "seed": 5, "identity": ONE}
    return Job(**{**settings, **changes})


def latents(backbone: Backbone, method, *jobs: Job, **options: object) -> list[Tensor]:
    return [result.latents for result in sample(backbone, list(jobs), method, **options)]


class Added(Attachment):
    """Another attachment's additions, remembered."""

    def __init__(self, inner: Attachment) -> None:
        self.inner, self.seen = inner, []

    def on_step(self, step):
        self.inner.on_step(step)

    def on_pass(self, step):
        self.inner.on_pass(step)

    def after_block(self, site, step, hidden):
        added = self.inner.after_block(site, step, hidden)
        self.seen.append((site.name, hidden, added))
        return added


def test_sites_and_what_is_added_there(backbone: Backbone, method: Pulid) -> None:
    """After double 0, 2 and single 0, 4, in this order, alpha times diffusers' own attention."""
    hooks = Added(method.attach(backbone, [job(id_weight=0.7)]))
    sample(backbone, [job(id_weight=0.7, steps=1)], Hooked(hooks))
    assert len(hooks.seen) == 8
    found = [(name, hidden, added) for name, hidden, added in hooks.seen if added is not None]
    blocks = ["transformer_blocks.0", "transformer_blocks.2"]
    blocks += ["single_transformer_blocks.0", "single_transformer_blocks.4"]
    assert [name for name, _, _ in found] == [f"{block}.attn" for block in blocks]
    tokens = method.tokens(ONE, backbone)["tokens"][None]
    for number, (_, hidden, added) in enumerate(found):
        with torch.no_grad():
            expected = 0.7 * method.adapter.pulid_ca[number](tokens, hidden)
        torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)


def test_it_reaches_the_next_block(backbone: Backbone, method: Pulid) -> None:
    """What leaves one block, with what was added, enters the next one."""
    entered, hooks = {}, Added(method.attach(backbone, [job()]))

    def note(block, inputs, named):
        entered["hidden"] = named["hidden_states"] if "hidden_states" in named else inputs[0]

    block = backbone.denoiser.transformer.transformer_blocks[1]
    watch = block.register_forward_pre_hook(note, with_kwargs=True)
    try:
        sample(backbone, [job(steps=1)], Hooked(hooks))
    finally:
        watch.remove()
    _, hidden, added = hooks.seen[0]
    assert torch.equal(entered["hidden"], hidden + added)


def test_bits_are_restored(backbone: Backbone, method: Pulid) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.denoiser.transformer.state_dict().items()}
    [plain] = latents(backbone, None, job(identity=None))
    [own] = latents(backbone, method, job())
    [again] = latents(backbone, None, job(identity=None))
    assert torch.equal(plain, again) and (own - plain).abs().max() > 0.1
    network = backbone.denoiser.transformer
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_two_attachments_do_not_see_each_other(backbone: Backbone, method: Pulid) -> None:
    """Two adapters, one inside the other's batch: each picture is that of its own."""
    other = loud(Pulid.untrained(backbone, seed=7))
    alone = [latents(backbone, one, job())[0] for one in (method, other)]
    assert not torch.equal(*alone)
    first = method.attach(backbone, [job()])
    inside: list[Tensor] = []

    class Nested(Added):
        def on_step(self, step):
            super().on_step(step)
            if step.index == 1:
                inside.extend(latents(backbone, other, job()))

    [outside] = latents(backbone, Hooked(Nested(first)), job())
    assert torch.equal(outside, alone[0]) and torch.equal(inside[0], alone[1])


@pytest.mark.parametrize("true_cfg", [1.0, 3.0])
def test_a_batch_of_people_is_each_of_them_alone(backbone: Backbone, method: Pulid, true_cfg: float) -> None:
    jobs = [
        job(true_cfg=true_cfg),
        job(identity=TWO, id_weight=0.5, seed=6, true_cfg=true_cfg),
        job(identity=None, true_cfg=true_cfg),
        job(identity=TWO, id_start=0.5, true_cfg=true_cfg),
    ]
    together = latents(backbone, method, *jobs, batch_size=4)
    for one, found in zip(jobs, together, strict=True):
        [alone] = latents(backbone, method, one)
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-3)
    assert not torch.equal(together[0], together[3])


def test_the_negative_pass_reads_the_identity_of_zero_inputs(backbone: Backbone, method: Pulid) -> None:
    """The same network on zeros, not zero tokens; and it is not the person."""
    hooks = Added(method.attach(backbone, [job(true_cfg=3.0)]))
    sample(backbone, [job(true_cfg=3.0, steps=1)], Hooked(hooks))
    half = len(hooks.seen) // 2  # two passes, the unconditional one first
    (_, hidden, added), (_, own_hidden, own_added) = hooks.seen[0], hooks.seen[half]
    assert [len(seen) for _, seen, _ in hooks.seen] == [1] * 2 * half
    shapes, vector = method.reader.tower.shapes
    zeros = torch.zeros(1, 1, 512 + vector), [torch.zeros(1, *shape) for shape in shapes]
    with torch.no_grad():
        nobody = method.adapter.tokens(*zeros)
        expected = method.adapter.pulid_ca[0](nobody, hidden)
    assert nobody.abs().max() > 0.01
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)
    person = method.tokens(ONE, backbone)["tokens"][None]
    assert not torch.allclose(own_added, method.adapter.pulid_ca[0](nobody, own_hidden), atol=1e-3)
    torch.testing.assert_close(
        own_added, method.adapter.pulid_ca[0](person, own_hidden), rtol=1e-4, atol=1e-5
    )


def test_keys_and_values_are_made_once(backbone: Backbone, method: Pulid, monkeypatch) -> None:
    person = replace(ONE, name="new")
    calls = []
    made = type(method.adapter).keys_values

    def counted(self, tokens):
        calls.append(len(tokens))
        return made(self, tokens)

    monkeypatch.setattr(type(method.adapter), "keys_values", counted)
    latents(backbone, method, job(identity=person), job(identity=person, seed=6), batch_size=1)
    assert calls == [1]


def test_no_face_is_an_error_before_sampling(backbone: Backbone, method: Pulid) -> None:
    with pytest.raises(UsageError, match="stranger has no picture with a face"):
        method.tokens(Identity("stranger", torch.ones(512)), backbone)
    short = replace(ONE.face, embedding=ONE.face.embedding[:128])
    with pytest.raises(UsageError, match="length 128, the adapter reads 512"):
        method.tokens(replace(ONE, face=short), backbone)


def test_start_step(backbone: Backbone, method: Pulid) -> None:
    late = Pulid.ready(method.adapter, backbone, Config(start_step=2), looks=method._looks)
    [by_step], [by_share] = (latents(backbone, late, job()), latents(backbone, method, job(id_start=0.5)))
    assert torch.equal(by_step, by_share)
    [never] = latents(
        backbone, Pulid.ready(method.adapter, backbone, Config(start_step=4), looks=method._looks), job()
    )
    [none] = latents(backbone, None, job(identity=None))
    assert torch.equal(never, none)


def test_true_guidance_may_start_late(backbone: Backbone, method: Pulid) -> None:
    """PuLID's sampler has its first step without: the conditional prediction stands alone."""

    def by(start: int, scale: float) -> Tensor:
        own = Pulid.ready(method.adapter, backbone, Config(true_cfg_start=start), looks=method._looks)
        return latents(backbone, own, job(true_cfg=scale, negative_prompt="the beach" if scale > 1 else ""))[
            0
        ]

    never = by(4, 3.0)
    assert torch.equal(never, by(0, 1.0))
    assert not torch.equal(by(1, 3.0), by(0, 3.0)) and not torch.equal(by(1, 3.0), never)


def test_folder_and_record(backbone: Backbone, method: Pulid, tmp_path: Path) -> None:
    method.save(tmp_path / "own")
    again = Pulid.load(tmp_path / "own", backbone)
    assert torch.equal(*(latents(backbone, one, job())[0] for one in (method, again)))
    assert again.weights_fingerprint() == method.weights_fingerprint()
    assert again.record()["face_background"] == "kept: no face parser"
    assert len(again.record()["image_tower"]) == 64
    assert isinstance(again.attach(backbone, [job()]), PulidAttention)
    config = tmp_path / "own" / "config.json"
    config.write_text(config.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(WeightsError, match="not the one that the adapter was trained with"):
        Pulid.load(tmp_path / "own", backbone)


def test_what_is_no_file_for_it(backbone: Backbone, tmp_path: Path) -> None:
    sdxl = tmp_path / "pulid_v1.1.safetensors"
    save_weights(sdxl, {"id_adapter.proj_out": torch.zeros(2, 2)})
    with pytest.raises(WeightsError, match=r"pulid_v1.1.safetensors is PuLID for SDXL"):
        Pulid.load(sdxl, backbone)
    with pytest.raises(MissingWeightsError, match="none.safetensors"):
        Pulid.load(tmp_path / "none.safetensors", backbone)
    with pytest.raises(MissingWeightsError, match="No pulid weights are shipped for flux"):
        Pulid.load(None, backbone)


def test_two_people_under_true_guidance(backbone: Backbone, method: Pulid) -> None:
    """Each inside a region, in both passes; a region of the whole picture confines nobody."""
    left, right = (
        replace(who, region=Region(box)) for who, box in ((ONE, (0, 0, 0.5, 1)), (TWO, (0.5, 0, 1, 1)))
    )
    both = Identity("both", members=(left, right))
    options = {"true_cfg": 2.0, "negative_prompt": "the beach"}
    [pair], [one] = (latents(backbone, method, job(identity=who, **options)) for who in (both, left))
    assert pair.isfinite().all() and not torch.equal(pair, one)
    everywhere = replace(ONE, region=Region((0, 0, 1, 1)))
    [whole], [plain] = (latents(backbone, method, job(identity=who, **options)) for who in (everywhere, ONE))
    assert torch.equal(whole, plain)
