"""pulid and spatialid inside compiled blocks: no graph break, and the same latents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from people import somebody
from tiny_flux import flux_folder

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.hooks import Job
from methods.pulid.method import Pulid
from methods.sampling import sample
from methods.spatialid.method import SpatialID


@pytest.fixture
def compiled() -> Iterator[Backbone]:
    """A backbone whose blocks are compiled by the tracer alone; a graph break is an error."""
    torch._dynamo.reset()
    backbone = load_backbone(flux_folder("dev"), device="cpu", text_length=32)
    backbone.denoiser.compile(backend="eager")
    yield backbone
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
def test_the_hooks_have_no_graph_break(compiled: Backbone) -> None:
    plain = load_backbone(flux_folder("dev"), device="cpu", text_length=32)
    jobs = [Job("photo", 64, 48, 3.5, steps=6, identity=somebody(1), true_cfg=2.0)]
    for method in (Pulid, SpatialID, Pulid):
        [expected], [found] = (sample(one, jobs, method.untrained(one)) for one in (plain, compiled))
        torch.testing.assert_close(found.latents, expected.latents)
