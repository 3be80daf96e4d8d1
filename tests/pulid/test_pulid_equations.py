"""Encoder and attentions against slow transcriptions: loops over heads and tokens, float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pulid_parts import SITES, SIZES, flux_sites, random_adapter
from torch import Tensor

from methods.hooks import Identity, Job, RowLayout, StepInfo
from methods.pulid.adapter import injection_sites
from methods.pulid.attention import KeysValues, PulidAttention
from methods.pulid.config import id_start, start_step
from methods.pulid.encoder import identity_tokens, make_encoder

State = dict[str, Tensor]


def layer_norm(x: Tensor, state: State, name: str) -> Tensor:
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    bias = state.get(f"{name}.bias")
    return x @ state[f"{name}.weight"].T + (0 if bias is None else bias)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Query by query and head by head: q [N, h * d], k and v [M, h * d] -> [N, h * d]."""
    d = q.shape[-1] // heads
    out = torch.zeros_like(q)
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        for token in range(len(q)):
            scores = torch.stack([(q[token, part] * d**-0.25) @ (key[part] * d**-0.25) for key in k])
            weights = torch.exp(scores - scores.max())
            out[token, part] = (weights / weights.sum()) @ v[:, part]
    return out


def mlp(x: Tensor, state: State, name: str) -> Tensor:
    for step in range(7):
        if step in (2, 5):
            x = torch.where(x > 0, x, 0.01 * x)
        elif step in (1, 4):
            x = layer_norm(x, state, f"{name}.{step}")
        else:
            x = linear(x, state, f"{name}.{step}")
    return x


def encode(state: State, embeddings: Tensor, states: list[Tensor]) -> Tensor:
    """One person: embeddings [n, id_dim], states [T, V] per scale -> [queries, output]."""
    own = mlp(embeddings, state, "pulid_encoder.id_embedding_mapping").reshape(-1, SIZES.width)
    latents = torch.cat([state["pulid_encoder.latents"][0], own])
    layers = SIZES.depth // len(states)
    for scale, seen in enumerate(states):
        context = torch.cat([own, mlp(seen, state, f"pulid_encoder.mapping_{scale}")])
        for layer in range(scale * layers, (scale + 1) * layers):
            name = f"pulid_encoder.layers.{layer}"
            normed = layer_norm(latents, state, f"{name}.0.norm2")
            both = torch.cat([layer_norm(context, state, f"{name}.0.norm1"), normed])
            k, v = linear(both, state, f"{name}.0.to_kv").chunk(2, dim=-1)
            read = attention(linear(normed, state, f"{name}.0.to_q"), k, v, SIZES.heads)
            latents = latents + linear(read, state, f"{name}.0.to_out")
            wide = linear(layer_norm(latents, state, f"{name}.1.0"), state, f"{name}.1.1")
            wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
            latents = latents + linear(wide, state, f"{name}.1.3")
    return latents[: SIZES.queries] @ state["pulid_encoder.proj_out"]


def cross(state: State, number: int, tokens: Tensor, hidden: Tensor) -> Tensor:
    """CA(z, h) for one row: tokens [n, output], hidden [N, C]."""
    name = f"pulid_ca.{number}"
    k, v = linear(layer_norm(tokens, state, f"{name}.norm1"), state, f"{name}.to_kv").chunk(2, dim=-1)
    q = linear(layer_norm(hidden, state, f"{name}.norm2"), state, f"{name}.to_q")
    return linear(attention(q, k, v, SIZES.ca_heads), state, f"{name}.to_out")


def double_state() -> State:
    return {name: tensor.double() for name, tensor in random_adapter().state_dict().items()}


@pytest.mark.parametrize("photographs", [1, 3])
@torch.no_grad()
def test_encoder(photographs: int) -> None:
    adapter = random_adapter().double()
    people = 2
    embeddings = torch.randn(people, photographs, SIZES.id_dim, dtype=torch.float64)
    states = [torch.randn(people, 4 * photographs, width, dtype=torch.float64) for width in SIZES.scales]
    found = adapter.tokens(embeddings, states)
    assert found.shape == (people, SIZES.queries, SIZES.output)
    for person in range(people):
        expected = encode(double_state(), embeddings[person], [one[person] for one in states])
        torch.testing.assert_close(found[person], expected, rtol=1e-4, atol=1e-5)  # its softmax is float32


@torch.no_grad()
def test_one_photograph_is_diffusers_own_forward() -> None:
    """The same modules called as they ship; widths must agree for that."""
    encoder = make_encoder(replace(SIZES, scales=(SIZES.width,) * 2))
    embedding, states = torch.randn(2, SIZES.id_dim), [torch.randn(2, 5, SIZES.width) for _ in range(2)]
    assert torch.equal(identity_tokens(encoder, embedding[:, None], states), encoder(embedding, states))


@torch.no_grad()
def test_attention_with_keys_made_once_is_the_attention() -> None:
    """K and V made once: as in a transcription, and as in diffusers' module, which makes them every time."""
    adapter = random_adapter()
    tokens, hidden = torch.randn(2, 6, SIZES.output), torch.randn(2, 9, SIZES.hidden)
    keys, values = adapter.keys_values(tokens)
    hooks = PulidAttention(adapter, [], [], (keys[:, 0], values[:, 0]))
    hooks.keys, hooks.values = keys, values
    for number, module in enumerate(adapter.pulid_ca):
        found = hooks.read(number, hidden)
        torch.testing.assert_close(found, module(tokens, hidden), rtol=1e-4, atol=1e-5)
        expected = cross(double_state(), number, tokens[1].double(), hidden[1].double())
        torch.testing.assert_close(found[1].double(), expected, rtol=1e-4, atol=1e-4)


def test_sites_of_the_real_flux() -> None:
    """19 double blocks, 38 single ones: 0 to 9 after double 0, 2, ..., 18; 10 to 19 after single 0, 4, ..."""
    names = [site.name for site in injection_sites(flux_sites(19, 38), 2, 4)]
    assert names == [
        *(f"transformer_blocks.{i}.attn" for i in range(0, 19, 2)),
        *(f"single_transformer_blocks.{i}.attn" for i in range(0, 38, 4)),
    ]
    assert len(names) == 20


def job(**changes: object) -> Job:
    settings = {"prompt": "", "width": 8, "height": 8, "guidance": 4.0, "identity": Identity("a")}
    return Job(**{**settings, **changes})


def step(index: int, rows: RowLayout, count: int = 4) -> StepInfo:
    return StepInfo(rows=rows, latent_size=(6, 6), index=index, count=count, time=0.5, noise_level=0.5)


def people(adapter, count: int) -> tuple[Tensor, list[KeysValues]]:
    """Random tokens [count, n, output], and each one's keys and values."""
    tokens = torch.randn(count, 6, SIZES.output)
    keys, values = adapter.keys_values(tokens)
    return tokens, [(keys[:, place], values[:, place]) for place in range(count)]


@torch.no_grad()
def test_rows_read_their_own_identity_and_the_unconditional_ones_nobody() -> None:
    adapter, hidden = random_adapter(), torch.randn(4, 9, SIZES.hidden)
    tokens, known = people(adapter, 3)
    hooks = PulidAttention(adapter, [job(id_weight=0.5), job(id_weight=2.0)], known[:2], known[2])
    now = step(0, RowLayout(2, guided=True))
    hooks.on_step(now)
    added = {site.name: hooks.after_block(site, now, hidden) for site in SITES}
    added = {name: one for name, one in added.items() if one is not None}
    assert list(added) == [site.name for site in injection_sites(SITES, 2, 4)]
    for number, rows in enumerate(added.values()):
        for row, (person, weight) in enumerate([(2, 0.5), (2, 2.0), (0, 0.5), (1, 2.0)]):
            expected = weight * adapter.pulid_ca[number](tokens[person, None], hidden[row, None])[0]
            torch.testing.assert_close(rows[row], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_weight_nothing_is_added() -> None:
    adapter = random_adapter()
    _, [nobody] = people(adapter, 1)
    hooks = PulidAttention(adapter, [job(identity=None), job(id_weight=0.0)], [None, nobody], nobody)
    now = step(0, RowLayout(2, guided=False))
    hooks.on_step(now)
    assert hooks.after_block(SITES[0], now, torch.randn(2, 9, SIZES.hidden)) is None


@pytest.mark.parametrize("steps", [4, 25, 28])
@torch.no_grad()
def test_start_step_and_id_start_are_the_same(steps: int) -> None:
    adapter = random_adapter()
    _, [nobody] = people(adapter, 1)
    rows = RowLayout(1, guided=False)
    for start in range(steps + 1):
        assert start_step(id_start(start, steps), steps) == start
        by_step = PulidAttention(adapter, [job()], [nobody], nobody, start_step=start)
        by_share = PulidAttention(adapter, [job(id_start=id_start(start, steps))], [nobody], nobody)
        for index in range(steps):
            for hooks in (by_step, by_share):
                hooks.on_step(step(index, rows, steps))
                assert (hooks.weight is None) == (index < start)
