"""What every registered method must do, on every backbone: the contract, executed.

A new method is covered by being registered. Weights come from `Method.untrained`; on the pocket backbone
from what is shipped, where something is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from people import somebody
from tiny import FAMILIES, tiny_backbone
from tiny_flux import flux_backbone

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.contract import Method, MethodInfo
from methods.hooks import Attachment, Conditioning, Job, RowLayout, StepInfo
from methods.paths import pocket_dir
from methods.registry import get_method, method_info, method_names
from methods.sampling import sample

METHODS = method_names()
BACKBONES = [*FAMILIES, "flux", "pocket"]
SOMEBODY, ANYBODY = somebody(1), somebody(2, "anybody")


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    if request.param == "flux":
        return flux_backbone("dev")
    if request.param != "pocket":
        return tiny_backbone(request.param)
    return request.getfixturevalue("pocket_backbone")


@pytest.fixture(scope="session")
def pocket_backbone(pocket_weights: object) -> Backbone:
    return load_backbone("pocket", device="cpu")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, backbone: Backbone) -> Method:
    chosen = get_method(request.param)
    if chosen.info.missing(backbone.offers):
        pytest.skip(f"{request.param} needs hooks that {backbone.family} does not offer")
    return ready(chosen, backbone)


def ready(chosen: type[Method], backbone: Backbone) -> Method:
    """With the shipped weights where there are some, else untrained."""
    shipped = chosen.info.kind not in ("train", "fit") or (pocket_dir() / chosen.info.name).is_dir()
    if backbone.family == "pocket" and shipped:
        return chosen.load(None, backbone)
    return chosen.untrained(backbone)


def job(backbone: Backbone, **changes: object) -> Job:
    width, height = (64, 64) if backbone.family == "flux" else backbone.default_size
    base = {"prompt": "photo of the person", "guidance": 4.0, "steps": 3, "seed": 5, "identity": SOMEBODY}
    return Job(**{"width": width, "height": height, **base, **changes})


def network(backbone: Backbone) -> Any:
    """The U-Net or the transformer."""
    (module,) = backbone.denoiser.modules()
    return module


def network_state(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network(backbone).state_dict().items()}


def test_describes_itself(method: Method) -> None:
    info = method.info
    assert isinstance(info, MethodInfo)
    assert method_info(info.name) is info
    assert info.title and info.paper and info.licence and info.summary and info.equations
    assert method.config == type(method).Config()


def test_leaves_no_trace(method: Method, backbone: Backbone) -> None:
    """Weights, processors and pictures are bit for bit what they were."""
    [before] = sample(backbone, [job(backbone, identity=None)])
    weights, processors = network_state(backbone), dict(network(backbone).attn_processors)
    sample(backbone, [job(backbone, guidance=g) for g in (4.0, 1.0)], method)
    assert all(torch.equal(weights[name], tensor) for name, tensor in network(backbone).state_dict().items())
    assert all(network(backbone).attn_processors[name] is one for name, one in processors.items())
    [after] = sample(backbone, [job(backbone, identity=None)])
    assert torch.equal(before.latents, after.latents)
    assert before.picture is not None and after.picture is not None
    assert before.picture.tobytes() == after.picture.tobytes()


def test_does_not_depend_on_company(method: Method, backbone: Backbone) -> None:
    one, two = job(backbone), job(backbone, identity=ANYBODY, seed=6, prompt="the red beach")
    alone = sample(backbone, [one, two], method)
    swapped = sample(backbone, [two, one], method)[::-1]
    batched = sample(backbone, [two, one], method, batch_size=2)[::-1]
    for first, second, third in zip(alone, swapped, batched, strict=True):
        assert torch.equal(first.latents, second.latents)
        torch.testing.assert_close(first.latents, third.latents, rtol=1e-3, atol=1e-3)
        assert first.status == "ok"


def test_without_weight_it_is_none(method: Method, backbone: Backbone) -> None:
    plain = sample(backbone, [job(backbone), job(backbone, guidance=1.0)])
    absent = [
        [job(backbone, id_weight=0.0), job(backbone, id_weight=0.0, guidance=1.0)],
        [job(backbone, identity=None), job(backbone, identity=None, guidance=1.0)],
        [job(backbone, id_start=1.0), job(backbone, id_end=0.0, guidance=1.0)],
    ]
    for jobs in absent:
        for result, expected in zip(sample(backbone, jobs, method), plain, strict=True):
            assert torch.equal(result.latents, expected.latents)


def test_an_identity_matters(method: Method, backbone: Backbone) -> None:
    if not method.info.identity:
        pytest.skip("a baseline without identity")
    jobs = [job(backbone), job(backbone, identity=ANYBODY), job(backbone, identity=None)]
    one, other, nobody = (result.latents for result in sample(backbone, jobs, method))
    assert not torch.equal(one, other) and not torch.equal(one, nobody)


def test_saves_and_loads(method: Method, backbone: Backbone, tmp_path) -> None:
    method.save(tmp_path)
    loaded = type(method).load(tmp_path, backbone)
    assert loaded.weights_fingerprint() == method.weights_fingerprint()
    one, two = (sample(backbone, [job(backbone)], which)[0] for which in (method, loaded))
    assert torch.equal(one.latents, two.latents)


def test_tokens_are_made_once(method: Method, backbone: Backbone) -> None:
    tokens = method.tokens(SOMEBODY, backbone)
    assert method.tokens(SOMEBODY, backbone) is tokens
    assert all(torch.isfinite(tensor).all() for tensor in tokens.values())


@pytest.mark.parametrize("guided", [True, False])
def test_hooks_keep_shapes(method: Method, backbone: Backbone, guided: bool) -> None:
    """Every hook at every site, called by hand on a picture that is not square."""
    jobs = [
        job(backbone, width=72, height=40, guidance=4.0 if guided else 1.0),
        job(backbone, width=72, height=40, guidance=4.0 if guided else 1.0, identity=None),
    ]
    with torch.inference_mode(), method.attach(backbone, jobs) as hooks:
        assert isinstance(hooks, Attachment)
        rows = RowLayout(len(jobs), guided, hooks.streams)
        text = backbone.text.conditioning(jobs, rows)
        for index in range(2):
            step = StepInfo(
                rows, (5, 9), index=index, count=2, time=0.5 - 0.4 * index, noise_level=0.6 - 0.5 * index
            )
            hooks.on_step(step)
            conditioning = hooks.conditioning(step, text)
            assert isinstance(conditioning, Conditioning)
            assert (
                conditioning.key.shape[::2]
                == conditioning.value.shape[::2]
                == (rows.total, text.key.shape[2])
            )
            for site in backbone.sites:
                check_site(hooks, site, step)


def check_site(hooks: Attachment, site, step: StepInfo) -> None:
    h, w = site.grid(*step.latent_size)
    query = torch.randn(step.rows.total, site.heads, h * w, site.head_dim)
    if site.kind == "cross":
        output = torch.randn(step.rows.total, h * w, site.width)
        untouched = output.clone()
        added = hooks.image_attention(site, step, query, output)
        assert added is None or (added.shape == output.shape and added.dtype == output.dtype)
        assert torch.equal(output, untouched)
    else:
        if site.kind == "joint":
            check_added(hooks, site, step, h * w)
        key, value = hooks.keys_values(site, step, query, query.clone(), query.clone())
        assert key.shape == value.shape
        assert (key.shape[0], key.shape[1], key.shape[3]) == (query.shape[0], query.shape[1], query.shape[3])


def check_added(hooks: Attachment, site, step: StepInfo, tokens: int) -> None:
    """What a joint block's image tokens get: where text features are read, and after the block."""
    hidden = torch.randn(step.rows.total, tokens, site.width)
    untouched, query = hidden.clone(), torch.randn(step.rows.total, site.heads, tokens, site.head_dim)
    found = [hooks.after_block(site, step, hidden)]
    if site.context_width is not None:
        found.append(hooks.image_attention(site, step, query, hidden))
    assert all(one is None or (one.shape == hidden.shape and one.dtype == hidden.dtype) for one in found)
    assert torch.equal(hidden, untouched)


def test_records_only_when_asked(method: Method, backbone: Backbone) -> None:
    [quiet] = sample(backbone, [job(backbone)], method)
    [asked] = sample(backbone, [job(backbone)], method, record=True)
    assert quiet.records == {}
    assert torch.equal(quiet.latents, asked.latents)


def test_works_in_bfloat16(method: Method, backbone: Backbone, half: Callable[[Backbone], Backbone]) -> None:
    low = half(backbone)
    [result] = sample(low, [job(low)], ready(type(method), low))
    assert result.status == "ok" and result.latents.dtype == torch.float32


@pytest.fixture(scope="session")
def half() -> Callable[[Backbone], Backbone]:
    """The same backbone in bfloat16, loaded once."""
    loaded: dict[str, Backbone] = {}

    def convert(backbone: Backbone) -> Backbone:
        if backbone.name not in loaded:
            loaded[backbone.name] = load_backbone(backbone.name, device="cpu", dtype="bfloat16")
        return loaded[backbone.name]

    return convert


def test_session_needs_nothing_but_hooks(backbone: Backbone) -> None:
    """Entering and leaving without a step: an error before the first one leaves no processors behind."""
    before = dict(network(backbone).attn_processors)
    with backbone.denoiser.attached(Attachment()):
        at_work = network(backbone).attn_processors
        own = backbone.family == "flux"  # which runs diffusers' own code as long as nothing is overridden
        assert all((one is before[name]) == own for name, one in at_work.items())
    assert all(one is before[name] for name, one in network(backbone).attn_processors.items())
