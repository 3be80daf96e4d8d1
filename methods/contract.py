"""What a personalization method is: the words and the one contract that every method fulfils.

The sampling loop (`methods.backbone.sampling`) runs a batch of `Job`s like this, and knows no method by name:

    with method.attach(backbone, jobs) as hooks:            # Attachment; the backbone is untouched afterwards
        hooks.prepare(run)                                  # Run: may sample trajectories of its own
        for step in steps:                                  # StepInfo
            hooks.on_step(step)
            text = hooks.conditioning(step, text_of_jobs)   # Conditioning of every row
            # inside every cross-attention site, before its output projection:
            #     output += hooks.cross_attention(site, step, query, output)
            # inside every self-attention site, before attending:
            #     key, value = hooks.self_attention(site, step, query, key, value)

Nothing here imports torch: `spid methods` prints every method's card without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from methods.errors import UsageError

if TYPE_CHECKING:
    from typing import Self

    from PIL.Image import Image
    from torch import Tensor

    from methods.backbone.backbone import Backbone
    from methods.backbone.sites import Site
    from methods.faces import Face, FaceEncoder
    from methods.training.task import TrainingTask


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
    backbones: tuple[str, ...] = ("pocket", "sd1", "sd2", "sdxl")
    arxiv: str | None = None
    identity: bool = True
    """Whether the method needs somebody; only baselines do without."""


@dataclass(frozen=True, eq=False)
class Identity:
    """One person: reference pictures and what a face encoder says about them.

    embedding: float32 [D], L2-normalised; None for methods that look at pictures only
    pictures:  files of the references
    face:      the analysed face the embedding came from, and the encoder that made it
    image:     the reference itself, RGB, when it is no file
    """

    name: str
    embedding: Tensor | None = None
    pictures: tuple[str, ...] = ()
    face: Face | None = None
    encoder: FaceEncoder | None = None
    image: Image | None = None


@dataclass(frozen=True)
class Job:
    """One picture to make. Sizes in pixels; `id_start`, `id_end` are fractions of the steps in [0, 1]."""

    prompt: str
    width: int
    height: int
    guidance: float
    negative_prompt: str = ""
    identity: Identity | None = None
    seed: int = 0
    steps: int = 25
    id_weight: float = 1.0
    id_start: float = 0.0
    id_end: float = 1.0

    @property
    def guided(self) -> bool:
        """Whether classifier-free guidance runs an unconditional row for this job (guidance > 1)."""
        return self.guidance > 1.0

    def id_weight_at(self, step: StepInfo) -> float:
        """The identity's weight at one step: `id_weight` inside [id_start, id_end), else 0.

        Zero also for a job without identity. A job whose weight is zero must come out exactly as by `none`.
        """
        active = self.id_start <= step.index / step.count < self.id_end
        return self.id_weight if active and self.identity is not None else 0.0


@dataclass(frozen=True)
class Stream:
    """Latent trajectories of one kind; a stream may hold fewer of them than there are jobs, or more.

    jobs:  for each trajectory, the place of the job whose text, guidance and seed it follows
    noise: which noise of that seed it starts from: 0 the job's own, n the n-th draw after it
    """

    name: str
    jobs: tuple[int, ...]
    noise: int = 0


@dataclass(frozen=True)
class RowLayout:
    """Which row of the U-Net batch is which.

    Rows lie stream by stream; within a stream the unconditional rows of all its trajectories come first
    (only under guidance), then the conditional rows, both in the order of its trajectories:

        main uncond 0..J-1 | main cond 0..J-1 | second uncond 0..T-1 | second cond 0..T-1 | ...

    streams: a name alone means one trajectory per job, in order; the first stream, which becomes the
             pictures, is always like that
    """

    jobs: int
    guided: bool
    streams: tuple[str | Stream, ...] = ("main",)

    def __post_init__(self) -> None:
        if self.members[0].jobs != tuple(range(self.jobs)):
            raise ValueError("The first stream has one trajectory per job, in their order.")

    @cached_property
    def members(self) -> tuple[Stream, ...]:
        """The streams, each with its trajectories."""
        everybody = tuple(range(self.jobs))
        return tuple(Stream(one, everybody) if isinstance(one, str) else one for one in self.streams)

    @property
    def halves(self) -> int:
        """Rows per trajectory: 2 under guidance, else 1."""
        return 2 if self.guided else 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Trajectories of each stream."""
        return tuple(len(stream.jobs) for stream in self.members)

    @property
    def total(self) -> int:
        """Rows of the U-Net batch."""
        return self.halves * sum(self.counts)

    def uncond_of(self, stream: str) -> slice:
        """Unconditional rows of a stream, one per trajectory; empty without guidance."""
        place = [member.name for member in self.members].index(stream)
        start = self.halves * sum(self.counts[:place])
        return slice(start, start + (self.halves - 1) * self.counts[place])

    def cond_of(self, stream: str) -> slice:
        """Conditional rows of a stream, one per trajectory."""
        place = [member.name for member in self.members].index(stream)
        start = self.uncond_of(stream).stop
        return slice(start, start + self.counts[place])

    @property
    def uncond(self) -> slice:
        """Unconditional rows of the first stream."""
        return self.uncond_of(self.members[0].name)

    @property
    def cond(self) -> slice:
        """Conditional rows of the first stream."""
        return self.cond_of(self.members[0].name)

    def per_trajectory(self, per_job: Sequence[Any]) -> list[Any]:
        """One value per job -> one per trajectory of all streams."""
        return [per_job[place] for stream in self.members for place in stream.jobs]

    def per_row(self, per_job: Sequence[Any]) -> list[Any]:
        """One value per job -> one per row of the batch."""
        return [
            per_job[place] for stream in self.members for _ in range(self.halves) for place in stream.jobs
        ]


@dataclass(frozen=True)
class StepInfo:
    """Where the loop stands.

    index:       0 .. count-1, in the order of denoising
    timestep:    the model's own timestep, in [0, 1000) for all backbones here
    sigma:       k-diffusion noise level sqrt((1 - abar) / abar); inf at zero terminal signal
    noise_level: sigma / (1 + sigma) in [0, 1]: the flow-matching time of equal signal-to-noise ratio
    latent_size: (height, width) of the latent grid; `site.grid(*latent_size)` is a site's token grid
    """

    index: int
    count: int
    timestep: float
    sigma: float
    noise_level: float
    rows: RowLayout
    latent_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Text features of every row of the batch; cross-attention keys and values may see different ones.

    Compared and cached by identity: the attention sites project one object once, so a method that
    changes the conditioning by stage keeps one object per stage and hands the same one out again.

    key, value: [R, T, C] each; the same tensor unless a method separates them
    pooled:     [R, P] of the second text encoder (SDXL), else None
    """

    key: Tensor
    value: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """What the loop offers before the first step.

    scheduler: the sampler's class by name; with the backbone it decides every step
    sample:    trajectories of other jobs by the same sampler, under hooks of their own:
               (jobs, hooks) -> latents float32 [J, C, h, w]
    """

    scheduler: str
    sample: Callable[[Sequence[Job], Attachment], Tensor]


class Attachment:
    """A method at work on one batch. The base class changes nothing; methods override what they need.

    A context manager: what `__enter__` changes on the backbone, `__exit__` restores bit for bit.
    """

    streams: tuple[str | Stream, ...] = ("main",)
    """Latent trajectories that are denoised together; the first stream becomes the pictures."""

    reads_text: bool = True
    """False switches text attention off: a cross-attention is then only what `cross_attention` adds."""

    record: bool = False
    """Set by the loop before the first step: keep what `records` shall return (masks, maps)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def prepare(self, run: Run) -> None:
        """Called once before the first step; may still change `streams`."""

    def on_step(self, step: StepInfo) -> None:
        """Called once at the beginning of every step."""

    def conditioning(self, step: StepInfo, text: Conditioning) -> Conditioning:
        """Conditioning of all rows at this step; `text` holds the encoded prompts of the jobs."""
        return text

    def text_keys_values(
        self, site: Site, text: Conditioning, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of the text at a cross-attention site, [R, heads, T, head_dim] each.

        Called when a conditioning is projected: once per object and site, so a hook that depends on the
        step must hand out another `Conditioning` when its answer changes. Do not write to the arguments.
        """
        return key, value

    def cross_attention(self, site: Site, step: StepInfo, query: Tensor, output: Tensor) -> Tensor | None:
        """What to add to a cross-attention's output before its output projection; None for nothing.

        query:  [R, heads, N, head_dim], N = h * w tokens of `site.grid(*step.latent_size)`, row-major
        output: [R, N, width], the text attention's output, heads concatenated; do not write to it
        returns [R, N, width] or None
        """
        return None

    def self_attention(
        self, site: Site, step: StepInfo, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values that a self-attention attends to, [R, heads, M, head_dim] each (M may grow)."""
        return key, value

    def records(self, job: int) -> dict[str, Any]:
        """What was kept for one job of the batch while `record` was set, by name."""
        return {}


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
        """`encode`, remembered per `Identity` object for the life of this method."""
        known = self._tokens.get(id(identity))
        if known is None:
            known = self._tokens[id(identity)] = (identity, self.encode(identity, backbone))
        return known[1]

    def record(self) -> dict[str, Any]:
        """What else decides its pictures, for the record of a job: JSON-able, {} for nothing.

        Options and weights stand there anyway; a picture that an option names belongs here by its content.
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
