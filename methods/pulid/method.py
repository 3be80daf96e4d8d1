"""`pulid`: PuLID-FLUX (arXiv 2404.16022), the host that SpatialID was built on.

    z = IDFormer(face),    h <- h + alpha * CA_n(z, h) after chosen blocks

A person's face goes through the recogniser and the image tower once, and so do the keys and values of all
attentions: they depend on the identity alone. Under true guidance the unconditional rows read the identity of
all-zero inputs (the same network, not zero tokens), as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from methods.adapters import AdapterMethod
from methods.config import build
from methods.errors import UsageError, WeightsError
from methods.hooks import Attachment, Identity, Job
from methods.pulid.adapter import PulidAdapter
from methods.pulid.attention import KeysValues, PulidAttention, keys_values_of
from methods.pulid.config import Config
from methods.pulid.folder import Looks, facts_of, load_adapter
from methods.pulid.identity import FaceReader, Inputs
from methods.pulid.info import INFO
from methods.pulid.parser import find_parser, load_parser
from methods.pulid.tower import load_tower

if TYPE_CHECKING:
    from typing import Self

    from methods.backbone.backbone import Backbone
    from methods.learning.task import TrainingTask

PUBLIC_ENCODER = "antelope"
"""Part of the name of the face encoder whose embeddings the public files read: insightface's antelopev2."""
PUBLIC_ID_DIM = 512 + 768


class Pulid(AdapterMethod[PulidAdapter]):
    """PuLID on FLUX."""

    info = INFO
    Config = Config

    def __init__(self, config: Any = None, adapter: PulidAdapter | None = None) -> None:
        super().__init__(config, adapter)
        self._looks = Looks()
        self._reader: FaceReader | None = None
        self._nobody: KeysValues | None = None

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """Load an adapter: a public PuLID-FLUX file, or our folder (adapter.safetensors + config.json).

        `folder` None means the adapter shipped for the backbone, if any.
        """
        adapter, looks, stored = load_adapter(folder, backbone)
        method = cls.ready(adapter, backbone, config, looks=looks)
        method._training = stored.training
        return method

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        """A small adapter over the tower of `config.clip`; without one over pocket's, on any backbone."""
        from methods.pulid.config import TaskConfig
        from methods.pulid.task import new_adapter

        clip = getattr(config, "clip", None) or TaskConfig().clip
        tower = load_tower(clip, backbone.device)
        adapter = new_adapter(backbone, TaskConfig(clip=clip, seed=seed), tower)
        looks = Looks(clip, tower.encoder.fingerprint, tower.layers, grey=False)
        return cls.ready(adapter, backbone, config, looks=looks)

    @classmethod
    def ready(cls, adapter: PulidAdapter, backbone: Backbone, config: Any = None, *, looks: Looks) -> Self:
        """The method around an adapter at hand (it is moved, not copied).

        Raises WeightsError for an image tower that the adapter was not trained with.
        """
        method = cls._ready(adapter, backbone, config)
        method._looks = looks
        method._reader = method._eyes(backbone)
        return method

    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        """What `spid train --method pulid` learns; options as `methods.pulid.config.TaskConfig`."""
        from methods.pulid.config import TaskConfig
        from methods.pulid.task import PulidTask

        return PulidTask(backbone, build(TaskConfig, options, where=f"the training of {INFO.name}"))

    def facts(self, folder: Path) -> Mapping[str, Any]:
        return facts_of(self.adapter, self._looks)

    @property
    def reader(self) -> FaceReader:
        """How faces are looked at."""
        assert self._reader is not None, "made by load, untrained or ready"
        return self._reader

    def record(self) -> dict[str, Any]:
        """Which image tower looked, and what became of the background."""
        parser = self.reader.parser
        background = "kept: no face parser" if parser is None else f"white: parser {parser.fingerprint[:12]}"
        return {
            **super().record(),
            "image_tower": self.reader.tower.encoder.fingerprint,
            "face_background": background,
        }

    @torch.no_grad()
    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """`tokens` z [n, output]; `keys` and `values` of every attention [S, heads, n, d].

        Raises UsageError for an identity without a face to look at, or another recogniser than trained with.
        """
        self._check_encoder(identity)
        inputs = self.reader.read(identity)
        found, wanted = inputs.embeddings.shape[-1], self.adapter.sizes.id_dim
        if found != wanted:
            vector = self.reader.tower.shapes[1]
            raise UsageError(
                f"The face encoder gives embeddings of length {found - vector}, "
                f"the adapter reads {wanted - vector}.",
                hint="Choose the face encoder that the adapter was trained with.",
            )
        return self._encoded(inputs, backbone)

    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        start, guided = self.config.start_step, self.config.true_cfg_start
        return PulidAttention(*self.identities_of(backbone, jobs), start, guided)

    def identities_of(
        self, backbone: Backbone, jobs: Sequence[Job]
    ) -> tuple[PulidAdapter, Sequence[Job], list[KeysValues | None], KeysValues]:
        """What a `PulidAttention` (or a subclass of it) is made of, for a batch of jobs."""
        identities = [
            None if job.identity is None else keys_values_of(self.tokens(job.identity, backbone))
            for job in jobs
        ]
        return self.adapter, jobs, identities, self._unconditional(backbone)

    def _unconditional(self, backbone: Backbone) -> KeysValues:
        """K and V of the identity of all-zero inputs, made once."""
        if self._nobody is None:
            nobody = self.reader.nobody(self.adapter.sizes.id_dim, backbone.device)
            self._nobody = keys_values_of(self._encoded(nobody, backbone))
        return self._nobody

    @torch.no_grad()
    def _encoded(self, inputs: Inputs, backbone: Backbone) -> dict[str, Tensor]:
        where = (backbone.device, backbone.dtype)
        tokens = self.adapter.tokens(
            inputs.embeddings.to(*where), [states.to(*where) for states in inputs.states]
        )
        keys, values = self.adapter.keys_values(tokens)
        return {"tokens": tokens[0], "keys": keys[:, 0], "values": values[:, 0]}

    def _eyes(self, backbone: Backbone) -> FaceReader:
        """The tower and the parser that the options and the adapter name."""
        tower = load_tower(self.config.clip or self._looks.clip, backbone.device, self._looks.layers)
        known, found = self._looks.fingerprint, tower.encoder.fingerprint
        if known is not None and known != found:
            raise WeightsError(
                f"The image tower {tower.encoder.name} is not the one that the adapter was trained with.",
                hint=f"Name by clip where {self._looks.clip} lies now.",
            )
        widths = tuple(width for _, width in tower.shapes[0])
        if widths != self.adapter.sizes.scales:
            raise WeightsError(
                f"The image tower {tower.encoder.name} has depths of width {list(widths)}, "
                f"the adapter reads {list(self.adapter.sizes.scales)}.",
                hint="Name by clip the tower that it was trained with; public files read EVA02-CLIP-L-336.",
            )
        file = find_parser(self.config.parser)
        parser = None if file is None else load_parser(file, backbone.device)
        return FaceReader(tower, parser, self._looks.grey, self.config.antialias)

    def _check_encoder(self, identity: Identity) -> None:
        """Other recognisers give 512 numbers too, and public files would make somebody else of them."""
        public = self._looks.fingerprint is None and self.adapter.sizes.id_dim == PUBLIC_ID_DIM
        if public and identity.encoder is not None and PUBLIC_ENCODER not in identity.encoder.name:
            raise UsageError(
                f"Public PuLID files read antelopev2, and {identity.name} was embedded by "
                f"{identity.encoder.name}.",
                hint="Give --face-encoder insightface:antelopev2 (a pack in a folder of that name).",
            )
