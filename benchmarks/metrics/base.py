"""What a metric says about itself, what it is given and what it returns. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image

Direction = Literal["higher", "lower", "none"]
Level = Literal["sample", "set"]
Status = Literal["ok", "no_face_ref", "no_face_gen", "multi_face", "unavailable", "error"]


@dataclass(frozen=True)
class MetricInfo:
    """The card of a metric.

    name: key in results and tables. title: a few words. direction: which way is better; 'none' where neither
    is. range: least and greatest possible value (infinities where unbounded). model: tags of the models that
    produce it, empty for none. preprocessing: what happens to the picture before the model. definition: what
    the number is, in one sentence. source: paper or code. licence: of the models, not of the pictures.
    level: 'sample' has one value per picture, 'set' one per method. compat: name of the published protocol
    whose definition, bugs included, it reproduces (`ibench`), else None. weights: digest of the contents of
    the models' files, None for models that come with a package or by a tag.
    package: name and version of the package of a plug-in, None for what is built in.
    photographs: what becomes of several photographs of a person; None for what compares with none.
    """

    name: str
    title: str
    direction: Direction
    range: tuple[float, float]
    model: str
    preprocessing: str
    definition: str
    source: str
    licence: str
    level: Level = "sample"
    compat: str | None = None
    weights: str | None = None
    package: str | None = None
    photographs: Literal["mean", "first"] | None = None


@dataclass(frozen=True, eq=False)
class SampleView:
    """One sample as metrics see it.

    id: its fingerprint. prompt: as the backbone read it. category: of the prompt. picture, reference and
    baseline: RGB; the picture made, the identity's reference picture, and the picture of the plain backbone
    for the same prompt and seed (the *without-ID* picture). reference_id and baseline_id identify those
    pictures, so that their features are computed once; equal ids mean equal pixels. truth: factor -> value
    that the prompt asks for (factors it leaves open are absent); reference_truth: factor -> value that the
    reference picture shows. Both are empty outside the pocket world. target: the asked-for picture of this
    very person, or what makes it when a metric asks; target_id identifies it. rendered: the pocket backbone
    made picture and baseline, so that models of the pocket world may judge them however they came out; of
    other pictures they are asked whether they may. people: photographs of everybody, a tuple each, where
    the picture shall show several; reference is None then. further: more photographs of the person of
    `reference`; reference_truth speaks of the first alone. Those of both come with what identifies each.
    """

    id: str
    method: str
    identity: str
    prompt: str
    category: str
    picture: Image.Image
    reference: Image.Image | None = None
    baseline: Image.Image | None = None
    baseline_id: str | None = None
    reference_id: str | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    reference_truth: Mapping[str, str] = field(default_factory=dict)
    target: Image.Image | Callable[[], Image.Image] | None = None
    target_id: str | None = None
    rendered: bool = False
    people: tuple[tuple[tuple[str, Image.Image], ...], ...] = ()
    further: tuple[tuple[str, Image.Image], ...] = ()


@dataclass(frozen=True)
class Score:
    """A value, or why there is none.

    `ok` without a value means that the metric does not apply to this sample (say, drift to a prompt about a
    person); `reason` then says why, as it does for every other status.
    """

    value: float | None
    status: Status = "ok"
    reason: str = ""
