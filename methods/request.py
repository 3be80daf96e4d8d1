"""What is asked of `generate`: one frozen list of settings, from flags, from Python or from a picture.

Everything is checked here, before torch is imported or a file is read: numbers are finite and bounded,
prompts have no placeholder but ours, and no more pictures are asked for than a run can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from os import PathLike
from typing import Annotated, Any

from pydantic import Field

from methods.aliases import dtype_name, scheduler_name
from methods.config import Batch, Guidance, Share, Side, Steps, TrueCfg, build, options
from methods.errors import UsageError, unknown_name
from methods.paths import user_path
from methods.photographs import people
from methods.prompts import expand, named

MAX_PICTURES = 100_000
"""Of one request."""

_Images = Annotated[int, Field(ge=1, le=MAX_PICTURES)]
_FirstSeed = Annotated[int, Field(ge=0, le=2**63 - 1 - MAX_PICTURES)]
_IdWeight = Annotated[float, Field(ge=0, le=10)]


@options
class Request:
    """Every picture of method x identity x prompt x seed.

    prompts:        may contain {person} or {id}; one that calls people by name, `{anna} and {ben}`, shows
                    them together, each in a region
    methods:        names, in the order of the columns of a sheet
    references:     identity -> picture files, one or several of the same person; {} only for baselines
    together:       a prompt that calls nobody by name shows everybody in one picture
    regions:        person -> x0, y0, x1, y1 as fractions of the picture: where they may be
    masks:          person -> picture file, white where they may be, instead of a region
    negative_prompt: what to avoid; only text
    seed:           of the first of `num_images` pictures; the others count up. The same noise for all
                    methods, identities and prompts, so that pictures can be compared
    steps, guidance, width, height, scheduler: None for the backbone's defaults
    true_cfg:       above 1, FLUX takes a second pass with the negative prompt, beside its own guidance
    id_weight:      strength of the identity, 1 is full
    id_start, id_end: fractions of the steps between which the identity is injected
    face_select:    which of several faces, see `methods.faces.analyse`
    face_encoder:   name for `methods.faces.load_encoder`; None is the backbone's own
    method_options: method -> options of its `Config`
    adapter:        weights for every method that has some, or method -> weights; None for the shipped ones
    refit:          fit again although the cache knows the identity
    keep_masks:     let methods keep what they can show
    batch_size:     jobs per call of the denoiser; more is faster on an accelerator, but rounding then depends
                    on the company, and a picture can be reproduced to rounding only instead of bit for bit
    backbone, backbone_options: arguments of `load_backbone`
    """

    prompts: tuple[str, ...]
    methods: tuple[str, ...] = ("spatialid",)
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    together: bool = False
    regions: dict[str, tuple[Share, Share, Share, Share]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    negative_prompt: str = ""
    seed: _FirstSeed = 0
    num_images: _Images = 1
    steps: Steps | None = None
    guidance: Guidance | None = None
    true_cfg: TrueCfg = 1.0
    width: Side | None = None
    height: Side | None = None
    id_weight: _IdWeight = 1.0
    id_start: Share = 0.0
    id_end: Share = 1.0
    scheduler: str | None = None
    face_select: str = "largest"
    face_encoder: str | None = None
    method_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    adapter: dict[str, str] | str | None = None
    refit: bool = False
    keep_masks: bool = False
    batch_size: Batch = 1
    backbone: str = "pocket"
    backbone_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UsageError("There is no prompt.", hint="Give --prompt or --prompt-file.")
        if not self.methods:
            raise UsageError("There is no method.", hint="Give --method; spid methods lists them.")
        for text in self.prompts:
            expand(text, names=self.references)
        self._check_regions()
        if self.id_start > self.id_end:
            raise UsageError(
                f"The identity cannot be active from {self.id_start} to {self.id_end} of the steps.",
                hint="Give 0 <= id-start <= id-end <= 1.",
            )
        if self.pictures > MAX_PICTURES:
            raise UsageError(
                f"{self.pictures} pictures are too many for one run.",
                hint=f"At most {MAX_PICTURES}: fewer --num-images, prompts, identities or methods.",
            )

    def _check_regions(self) -> None:
        """Raise UsageError for a region that is nobody's, empty, given twice, or lacking."""
        for name in [*self.regions, *self.masks]:
            if name not in self.references:
                raise unknown_name("person with a region", name, self.references)
        for name, (x0, y0, x1, y1) in self.regions.items():
            if x0 >= x1 or y0 >= y1:
                raise UsageError(f"The region of {name} is empty.", hint=f"For example: {name}=0,0,.5,1")
            if name in self.masks:
                raise UsageError(f"{name} has a region and a mask.", hint="Give one of the two.")
        for text in self.prompts:
            called = self.called(text)
            for name in called if len(called) > 1 else ():
                if name not in self.regions and name not in self.masks:
                    raise UsageError(
                        f"{name} shares a picture and has no region.",
                        hint=f"Give --region {name}=0,0,.5,1 or --mask {name}=left.png.",
                    )

    def called(self, text: str) -> tuple[str, ...]:
        """Whom a prompt shows in one picture; () for everybody, one after the other.

        Raises UsageError, see `methods.prompts.named`.
        """
        return named(text, self.references) or (tuple(self.references) if self.together else ())

    @property
    def pictures(self) -> int:
        """How many are asked for at most, where every method makes one for everybody."""
        return len(self.methods) * len(self.prompts) * max(len(self.references), 1) * self.num_images


FIELDS = tuple(one.name for one in fields(Request))


def request_of(given: Mapping[str, Any], *, where: str = "the request") -> Request:
    """A request from plain values: one prompt, method or reference may stand for a list of them, and a
    folder for the photographs in it.

    Names that people type for schedulers and dtypes become ours. Raises UsageError that names `where`.
    """
    wanted = dict(given)
    for name in ("references", "adapter", "backbone_options", "method_options", "regions", "masks"):
        _check_shape(wanted.get(name), name, where)
    for name in ("prompts", "methods"):
        if isinstance(wanted.get(name), str):
            wanted[name] = [wanted[name]]
    if isinstance(wanted.get("methods"), list | tuple):
        wanted["methods"] = list(dict.fromkeys(map(str, wanted["methods"])))
    references = wanted.pop("references", None)
    if references is not None:
        wanted["references"] = people(references)
    wanted["regions"] = {name: tuple(box) for name, box in (wanted.get("regions") or {}).items()}
    wanted["masks"] = {name: str(user_path(file)) for name, file in (wanted.get("masks") or {}).items()}
    adapter = wanted.get("adapter")
    if isinstance(adapter, Mapping):
        wanted["adapter"] = {name: str(user_path(path)) for name, path in adapter.items()}
    elif adapter is not None:
        wanted["adapter"] = str(user_path(adapter))
    if isinstance(wanted.get("scheduler"), str):
        wanted["scheduler"] = scheduler_name(wanted["scheduler"])
    backbone_options = dict(wanted.get("backbone_options") or {})
    if isinstance(backbone_options.get("dtype"), str):
        backbone_options["dtype"] = dtype_name(backbone_options["dtype"])
    wanted["backbone_options"] = backbone_options
    wanted["method_options"] = {name: dict(own) for name, own in (wanted.get("method_options") or {}).items()}
    return build(Request, wanted, where=where)


def _check_shape(value: Any, name: str, where: str) -> None:
    """Raise UsageError for a value that is neither nothing nor of the kinds that a setting may have."""

    def path(one: Any) -> bool:
        return isinstance(one, str | PathLike) or (
            name == "references" and isinstance(one, list | tuple) and bool(one) and all(map(path, one))
        )

    paths = name in ("references", "adapter")
    fits = value is None or isinstance(value, Mapping) or (paths and path(value))
    if fits and isinstance(value, Mapping):
        inner = value.values()
        kinds: dict[str, Any] = {"method_options": Mapping, "regions": list | tuple, "masks": str | PathLike}
        fits = (
            all(map(path, inner)) if paths else all(isinstance(one, kinds.get(name, object)) for one in inner)
        )
    if not fits:
        raise UsageError(f"{where}: {name} is {str(value)[:60]!r}.", hint="Give names with their values.")
