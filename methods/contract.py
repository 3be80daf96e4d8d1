"""What a personalization method is: its card, and the one contract that every method fulfils.

The sampling loop (`methods.sampling`) runs a batch of `Job`s like this, and knows no method by name:

    with method.attach(backbone, jobs) as hooks:            # Attachment; the backbone is untouched afterwards
        hooks.prepare(run)                                  # Run: may sample trajectories of its own
        for step in steps:                                  # StepInfo
            hooks.on_step(step)
            text = hooks.conditioning(step, text_of_jobs)   # Conditioning of every row
            predicted = predict(latents, step.time, text, step)
            # inside, wherever text is read:
            #     output += hooks.image_attention(site, step, query, output)
            # wherever the picture attends to itself, before it does:
            #     key, value = hooks.keys_values(site, step, query, key, value)

`methods.hooks` has the words of a batch and all hooks. Nothing here imports torch: `spid methods` prints
every method's card without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from methods.errors import UsageError
from methods.hooks import Attachment, Identity, Job

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from methods.backbone.backbone import Backbone
    from methods.learning.task import TrainingTask


@dataclass(frozen=True)
class MethodInfo:
    """The card of a method, as `spid methods NAME` prints it."""

    name: str
    title: str
    paper: str
    kind: Literal["baseline", "training-free", "fit", "train"]
    status: Literal["official", "second-hand", "reconstruction"]
    licence: str
    summary: str
    equations: str
    needs: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    """What it needs of a backbone (`Backbone.offers`), all of it; `a|b` is either."""
    arxiv: str | None = None
    identity: bool = True
    """Whether the method needs somebody; only baselines do without."""
    regions: bool = False
    """Whether a person can be confined to a region, and several shown in one picture (`methods.together`):
    what it adds at a site or block can then be masked and summed, and it runs no streams of its own."""

    def missing(self, offers: frozenset[str]) -> list[str]:
        """The needs of `hooks` that a backbone does not offer; [] where the method runs."""
        return [need for need in self.hooks if offers.isdisjoint(need.split("|"))]


class Method(ABC):
    """A personalization method: describes itself, encodes identities, attaches to a backbone."""

    info: ClassVar[MethodInfo]
    Config: ClassVar[type]
    """Frozen dataclass of the method's options; defaults cite the paper."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config
        self._tokens: dict[int, tuple[Identity, Mapping[str, Tensor]]] = {}

    @classmethod
    def load(cls, folder: str | Path | None, backbone: Backbone, config: Any = None) -> Self:
        """Make the method ready for a backbone; `folder` None means the weights shipped for it, if any.

        Raises WeightsError when weights are missing, corrupt or made for another backbone.
        """
        return cls(config)

    @classmethod
    def untrained(cls, backbone: Backbone, config: Any = None, *, seed: int = 0) -> Self:
        """The method with freshly initialised weights: where training starts, and what tests attach."""
        return cls(config)

    @classmethod
    def training_task(cls, backbone: Backbone, options: Mapping[str, Any]) -> TrainingTask:
        """What `spid train` trains, with the options of the configuration's `options` section.

        Raises UsageError for an unknown option, and for a method that learns nothing in advance.
        """
        raise UsageError(
            f"The method {cls.info.name} has nothing to train.",
            hint="Methods of the kind `train` have; see spid methods.",
        )

    def word(self, identity: Identity) -> str:
        """What `{person}` in a prompt becomes; methods that learn a word for an identity return that."""
        return "person"

    def save(self, folder: str | Path) -> None:
        """Write trained weights (safetensors + config.json); methods without any have nothing to write."""
        return None

    def weights_fingerprint(self) -> str | None:
        """SHA-256 over the method's own weights, None without any."""
        return None

    def encode(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """Derive a method's identity tokens from an identity; called once per identity (see `tokens`)."""
        return {}

    def tokens(self, identity: Identity, backbone: Backbone) -> Mapping[str, Tensor]:
        """`encode`, remembered per `Identity` object for the life of this method.

        A group has no tokens of its own: those of its members are made, and {} is returned.
        """
        if identity.members:
            for one in identity.members:
                self.tokens(one, backbone)
            return {}
        known = self._tokens.get(id(identity))
        if known is None:
            known = self._tokens[id(identity)] = (identity, self.encode(identity, backbone))
        return known[1]

    def record(self) -> dict[str, Any]:
        """What else than options and weights decides its pictures, JSON-able; {} for nothing.

        Every file that an option names belongs here by its content: name -> `provenance.named_file(path)`.
        """
        return {}

    def check_prompt(self, prompt: str, backbone: Backbone) -> None:
        """Raise UsageError for an expanded prompt that the method cannot put an identity into."""
        return None

    def identity_fingerprint(self, identity: Identity, backbone: Backbone) -> str | None:
        """SHA-256 over what was learned about one identity; None for methods that learn nothing of it."""
        return None

    def batch_key(self, job: Job) -> Hashable:
        """Jobs with different keys never share a batch; the base class lets all jobs mix."""
        return None

    def affinity(self, job: Job) -> Hashable:
        """Jobs of equal affinity are made one after the other, and in one batch where they fit: a method
        that computes something for several jobs at once says here for which. The base class has no wish."""
        return None

    @abstractmethod
    def attach(self, backbone: Backbone, jobs: Sequence[Job]) -> Attachment:
        """Hooks for one batch of jobs, to be entered as a context manager."""
