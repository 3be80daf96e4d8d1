"""`none`: the plain backbone, the baseline of all baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from methods.config import options
from methods.contract import Method, MethodInfo
from methods.hooks import Attachment, Job

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

INFO = MethodInfo(
    name="none",
    title="Plain backbone",
    paper="no identity is injected",
    kind="baseline",
    status="official",
    licence="Apache-2.0",
    summary="Classifier-free guided sampling of the backbone alone: what the prompt gives by itself.",
    identity=False,
    equations="eps = eps(z, t, c_0) + g (eps(z, t, c) - eps(z, t, c_0))",
)


@options
class Config:
    """The plain backbone has no options."""


class NoMethod(Method):
    """Attaches nothing; equal to diffusers' own pipelines within float32 rounding."""

    info = INFO
    Config = Config

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        return Attachment()
