"""The words of one batch: who is in a picture, which row is which, where the loop stands, what hooks see.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing import Self

    from PIL.Image import Image
    from torch import Tensor

    from methods.faces import Face, FaceEncoder
    from methods.regions import Region


@dataclass(frozen=True, eq=False)
class Identity:
    """One person: reference pictures and what a face encoder says about them.

    embedding: float32 [D], L2-normalised; None for methods that look at pictures only
    pictures:  files of the references
    face:      the analysed face of the first picture, and the encoder that made it
    image:     the reference itself, RGB, when it is no file
    faces:     of several pictures: the face of each, in their order (see `methods.identify`)
    region:    where in a picture the person may act; None for everywhere
    members:   several people of one picture, each with a region; a group has nothing else but its name
    """

    name: str
    embedding: Tensor | None = None
    pictures: tuple[str, ...] = ()
    face: Face | None = None
    encoder: FaceEncoder | None = None
    image: Image | None = None
    faces: tuple[Face, ...] = ()
    region: Region | None = None
    members: tuple[Identity, ...] = ()

    @property
    def people(self) -> tuple[Identity, ...]:
        """The members of a group; of anybody else, itself."""
        return self.members or (self,)


@dataclass(frozen=True)
class Job:
    """One picture to make. Sizes in pixels; `id_start`, `id_end` are fractions of the steps in [0, 1].

    guidance: classifier-free guidance; where the network reads a scale (FLUX.1 dev), that scale
    true_cfg: classifier-free guidance beside it, with the negative prompt in a pass of its own; 1 for none
    """

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
    true_cfg: float = 1.0

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


@dataclass(frozen=True, kw_only=True)
class Site:
    """One attention layer of a denoiser.

    name:          module path in the network, such as `down_blocks.0.attentions.0.transformer_blocks.0.attn2`
    index:         its place among the network's attention layers: the i of public keys `ip_adapter.{i}.*`
    kind:          `self`: the picture attends to itself; `cross`: to the text, the same at every step;
                   `joint`: picture and text attend to both, and the text changes from site to site
    cell:          latent cells per side of an image token: 1, 2, 4, 8 by level of a U-Net, 2 in a DiT
                   that packs 2 x 2
    text:          leading text tokens of a joint site, else 0
    width:         channels of query and output = heads * head_dim
    context_width: channels of the text features, at sites where identities may be attended to beside them:
                   all `cross` sites and FLUX's double blocks; None elsewhere
    """

    name: str
    index: int
    kind: Literal["self", "cross", "joint"]
    cell: int
    width: int
    heads: int
    head_dim: int
    context_width: int | None = None
    text: int = 0

    def grid(self, latent_height: int, latent_width: int) -> tuple[int, int]:
        """Grid (h, w) of image tokens for a latent size; a side that does not divide rounds up."""
        return -(-latent_height // self.cell), -(-latent_width // self.cell)


@dataclass(frozen=True)
class RowLayout:
    """Which row of the batch is which.

    Rows lie stream by stream; within a stream the unconditional rows of all its trajectories come first
    (only under guidance), then the conditional rows, both in the order of its trajectories:

        main uncond 0..J-1 | main cond 0..J-1 | second uncond 0..T-1 | second cond 0..T-1 | ...

    guided:  whether rows come in two halves; False also where guidance is an input of the network
    streams: a name alone means one trajectory per job, in order; the first stream, which becomes the
             pictures, is always like that
    half:    where a network takes guidance in two passes, which rows are in this one; None for all
    """

    jobs: int
    guided: bool
    streams: tuple[str | Stream, ...] = ("main",)
    half: Literal["uncond", "cond"] | None = None

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
        return 2 if self.guided and self.half is None else 1

    @property
    def has_uncond(self) -> bool:
        """Whether there are unconditional rows."""
        return self.guided and self.half != "cond"

    def cut(self, batch: Tensor, dim: int = 0) -> Tensor:
        """What this pass has of a tensor with all rows of the batch along `dim`."""
        if self.half is None:
            return batch
        whole = replace(self, half=None)
        of = whole.uncond_of if self.half == "uncond" else whole.cond_of
        places = [of(stream.name) for stream in self.members]
        parts = [batch.narrow(dim, place.start, place.stop - place.start) for place in places]
        if len(parts) == 1:
            return parts[0]
        import torch

        return torch.cat(parts, dim)

    @property
    def counts(self) -> tuple[int, ...]:
        """Trajectories of each stream."""
        return tuple(len(stream.jobs) for stream in self.members)

    @property
    def total(self) -> int:
        """Rows of the batch."""
        return self.halves * sum(self.counts)

    def uncond_of(self, stream: str) -> slice:
        """Unconditional rows of a stream, one per trajectory; empty without guidance."""
        place = [member.name for member in self.members].index(stream)
        start = self.halves * sum(self.counts[:place])
        return slice(start, start + (self.counts[place] if self.has_uncond else 0))

    def cond_of(self, stream: str) -> slice:
        """Conditional rows of a stream, one per trajectory."""
        place = [member.name for member in self.members].index(stream)
        start = self.uncond_of(stream).stop
        return slice(start, start + (self.counts[place] if self.half != "uncond" else 0))

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

    def per_row(self, per_job: Sequence[Any], uncond: Any = None) -> list[Any]:
        """One value per job -> one per row of the batch.

        uncond: what every unconditional row has instead; None for its job's own
        """
        values: list[Any] = []
        for stream in self.members:
            own = [per_job[place] for place in stream.jobs]
            if self.has_uncond:
                values += own if uncond is None else [uncond] * len(own)
            if self.half != "uncond":
                values += own
        return values


@dataclass(frozen=True)
class Pass:
    """One pass of a batch through the network: all that trainings and fits can say of it.

    latent_size: (height, width) of the latent grid; `site.grid(*latent_size)` is a site's token grid
    guidance:    for networks that take guidance as an input: its scale for every row; () elsewhere
    """

    rows: RowLayout
    latent_size: tuple[int, int]
    guidance: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepInfo(Pass):
    """Where the loop stands: the pass of one step.

    index:       0 .. count-1, in the order of denoising
    time:        how far into the noise, as a share of the training time in [0, 1]: timestep / 1000
                 for diffusion models, t itself for flows
    noise_level: time of equal signal-to-noise ratio of a rectified flow, in [0, 1]: t itself for a flow,
                 sigma / (1 + sigma) with sigma = sqrt((1 - abar) / abar) for diffusion models
    """

    index: int
    count: int
    time: float
    noise_level: float

    def weights(self, jobs: Sequence[Job]) -> list[float]:
        """The identity's weight alpha of every row at this step (see `Job.id_weight_at`)."""
        return self.rows.per_row([job.id_weight_at(self) for job in jobs])


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Text features of every row of the batch; cross-attention keys and values may see different ones.

    Compared and cached by identity: cross-attention sites project one object once, so a method that
    changes the conditioning by stage keeps one object per stage and hands the same one out again.

    key, value: [R, T, C] each; the same tensor unless a method separates them (a joint stream reads `key`)
    pooled:     [R, P] of the text encoder that is pooled (SDXL, FLUX), else None
    """

    key: Tensor
    value: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """What the loop offers before the first step.

    scheduler: the sampler by name; with the backbone it decides every step
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
    """False switches text attention off: a cross-attention is then only what `image_attention` adds.
    Joint sites cannot: their text and picture attend in one."""

    record: bool = False
    """Set by the loop before the first step: keep what `records` shall return (masks, maps)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    guided_from: int = 0
    """The first step, counted from 0, at which classifier-free guidance acts; before it the conditional
    prediction stands alone."""

    def prepare(self, run: Run) -> None:
        """Called once before the first step; may still change `streams`."""

    def on_step(self, step: StepInfo) -> None:
        """Called once at the beginning of every step."""

    def on_pass(self, step: Pass) -> None:
        """Called before each pass where a network (FLUX) takes guidance in two: hooks see its rows alone.

        What was made for the rows of the whole batch is to be cut by `step.rows.cut`.
        """

    def conditioning(self, step: StepInfo, text: Conditioning) -> Conditioning:
        """Conditioning of all rows at this step; `text` holds the encoded prompts of the jobs."""
        return text

    def text_keys_values(
        self, site: Site, text: Conditioning, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At `cross` sites: keys and values of the text, [R, heads, T, head_dim] each.

        Called when a conditioning is projected: once per object and site, so a hook that depends on the
        step must hand out another `Conditioning` when its answer changes. Do not write to the arguments.
        """
        return key, value

    def image_attention(self, site: Site, step: Pass, query: Tensor, output: Tensor) -> Tensor | None:
        """At sites with a `context_width`: what the image tokens get beside what they read; None for nothing.

        Added where the family's own image adapters add: in a U-Net before the output projection, in FLUX
        after the block's feed-forward residual, ungated.

        step:   the loop's `StepInfo`; in trainings a `Pass` without a time (see `on_step` for the time)
        query:  [R, heads, N, head_dim] before any rotary embedding, N = h * w image tokens of
                `site.grid(*step.latent_size)`, row-major
        output: [R, N, width], what they read, heads concatenated; do not write to it
        returns [R, N, width] or None
        """
        return None

    def keys_values(
        self, site: Site, step: Pass, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At `self` and `joint` sites: keys and values to attend to, [R, heads, M, head_dim]; M may grow.

        At a joint site the first `site.text` tokens are the text's, in query, key and value alike, and all
        have their rotary embedding.
        """
        return key, value

    def after_block(self, site: Site, step: Pass, hidden: Tensor) -> Tensor | None:
        """After a transformer block: what to add to its image stream; None for nothing.

        site:   the attention of that block
        hidden: [R, N, C], the image tokens that leave the block; do not write to it
        """
        return None

    def records(self, job: int) -> dict[str, Any]:
        """What was kept for one job of the batch while `record` was set, by name."""
        return {}
