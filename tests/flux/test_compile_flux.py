"""Blocks compiled with the hooks of methods inside: no graph break, the right hooks, the same latents."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_equals_flux_pipeline import job_of
from test_uniform_on_flux import somebody
from tiny import Hooked
from tiny_flux import flux_adapter_state, flux_backbone, flux_folder

from methods.backbone.load import load_backbone
from methods.hooks import Attachment
from methods.sampling import sample
from methods.uniform.method import Uniform


class AfterSomeBlocks(Attachment):
    """Attends to a few tokens of its own after every second block, as PuLID does."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        self.tokens = {place: torch.randn(1, 4, 32, generator=generator) for place in range(0, 8, 2)}

    def on_step(self, step):
        self.weight = torch.full((1, 1, 1), 1.0 - step.index / step.count)

    def after_block(self, site, step, hidden):
        own = self.tokens.get(site.index)
        return None if own is None else self.weight * F.scaled_dot_product_attention(hidden, own, own)


@pytest.fixture
def compiled():
    """A backbone with compiled blocks; by the tracer alone, which makes graphs and runs them as they are."""
    torch._dynamo.reset()
    backbone = load_backbone(flux_folder("dev"), device="cpu", text_length=32)
    backbone.denoiser.compile(backend="eager")  # fullgraph: a graph break is an error
    yield backbone
    torch._dynamo.reset()


def test_hooks_inside(compiled):
    plain = load_backbone(flux_folder("dev"), device="cpu", text_length=32)
    jobs = [job_of("dev", steps=3, identity=somebody())]
    state = flux_adapter_state()
    methods = {
        "none": lambda backbone: None,
        "uniform": lambda backbone: Uniform.from_state(state, backbone),
        "after": lambda backbone: Hooked(AfterSomeBlocks()),
    }
    order = ("none", "after", "uniform", "none", "uniform", "after")  # each finds another's graphs
    wanted = {name: sample(plain, jobs, method(plain))[0].latents for name, method in methods.items()}
    assert not torch.equal(wanted["none"], wanted["after"])
    for name in order:
        [result] = sample(compiled, jobs, methods[name](compiled))
        torch.testing.assert_close(result.latents, wanted[name])
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for name in order:  # nothing is compiled again: neither another step nor another attachment
        sample(compiled, jobs, methods[name](compiled))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def test_load_compiles():
    backbone = load_backbone(flux_folder("dev"), device="cpu", compile=True)
    blocks = backbone.denoiser.transformer.transformer_blocks
    assert all(block._compiled_call_impl is not None for block in blocks)
    assert flux_backbone("dev").denoiser.transformer.transformer_blocks[0]._compiled_call_impl is None
