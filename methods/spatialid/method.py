"""`spatialid`: the identity attention of a host, gated by a mask of where the identity matters.

    h <- h + alpha * M_t (.) CA(z, h)

"Inject Where It Matters" (arXiv 2602.13994), training-free: it has no weights and takes its host's.
On FLUX the host is `pulid`, and everything is as in the official code. On U-Nets the host is `uniform`: the
equations of M_t are the same, their place in a U-Net is a reconstruction.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from methods.contract import Method
from methods.hooks import Attachment, Identity, Job
from methods.spatialid.config import Config
from methods.spatialid.info import INFO

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.pulid.method import Pulid
    from methods.uniform.method import Uniform


class SpatialID(Method):
    """SpatialID over a host: the same weights, tokens and files."""

    info = INFO
    Config = Config
    host: Uniform | Pulid

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """With the host's adapter: what `uniform` loads on U-Nets and `pulid` on FLUX."""
        method = cls(config)
        method.host = _host(backbone).load(folder, backbone, method.config)
        return method

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        method = cls(config)
        method.host = _host(backbone).untrained(backbone, method.config, seed=seed)
        return method

    @property
    def adapter(self) -> nn.Module:
        """The host's weights."""
        return self.host.adapter

    def save(self, folder: str | Path) -> None:
        self.host.save(folder)

    def weights_fingerprint(self) -> str | None:
        return self.host.weights_fingerprint()

    def record(self) -> dict[str, Any]:
        return self.host.record()

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        return self.host.tokens(identity, backbone)

    def batch_key(self, job: Job) -> Hashable:
        return self.host.batch_key(job)

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        from methods.pulid.method import Pulid
        from methods.spatialid.attention import SpatialAttention, SpatialBlocks

        if isinstance(self.host, Pulid):
            return SpatialBlocks(*self.host.identities_of(backbone, jobs), config=self.config)
        return SpatialAttention(config=self.config, **self.host.identity_of(backbone, jobs))


def _host(backbone: Backbone) -> type[Uniform] | type[Pulid]:
    """The method that SpatialID gates: PuLID where blocks can be followed, `uniform` elsewhere."""
    if "after_block" in backbone.denoiser.hooks:
        from methods.pulid.method import Pulid

        return Pulid
    from methods.uniform.method import Uniform

    return Uniform
