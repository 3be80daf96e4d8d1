"""What the page of `spid ui` does: pictures by `methods.generate`, saved as by `spid generate`, and numbers.

Nothing here is decided anew: the command that is shown makes the same files, and a test runs it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.errors import UsageError
from methods.request import Request
from methods.shipped import is_pocket
from spatialid_cli.outputs import Gallery
from spatialid_cli.prompt_file import PromptLine
from spatialid_cli.sampling import rows_of

if TYPE_CHECKING:
    from benchmarks.metrics.base import MetricInfo, Score
    from methods.backbone.backbone import Backbone
    from methods.generate import Generated

METRICS = ("id_sim", "clip_t", "face_found")
"""What is measured of a picture that a page shows; see `spid metrics`."""

Progress = Callable[[float, str], object]


@dataclass(frozen=True)
class Wish:
    """What the page asks for. reference: None where no method needs somebody."""

    prompts: tuple[str, ...]
    methods: tuple[str, ...]
    reference: Path | None
    seed: int = 0
    num_images: int = 1
    id_weight: float = 1.0
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str = ""
    save_masks: bool = True


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture with its place. scores: metric -> Score; masks: file, where the method has any."""

    made: Generated
    file: Path | None
    masks: Path | None
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answer:
    """Pictures row by row in the order of methods, the command that makes them, where they lie; the cards of
    the page's metrics, and which of them cannot be measured and why."""

    shown: Sequence[Shown]
    command: str
    folder: Path
    cards: Mapping[str, MetricInfo]
    unavailable: Mapping[str, str]


class Studio:
    """Backbone and metrics, loaded when they are needed first and kept.

    backbone: arguments of `load_backbone`, and `face_encoder`, as `collect_backbone` gives them
    words:    the flags that say so on a command line
    """

    def __init__(self, backbone: Mapping[str, Any], words: Sequence[str] = ()) -> None:
        options = dict(backbone)
        self.name = str(options.pop("name_or_path"))
        self.face_encoder = options.pop("face_encoder", None)
        self.options, self.words = options, list(words)
        self._backbone: Backbone | None = None
        self._evaluator: Any = None

    def backbone(self) -> Backbone:
        if self._backbone is None:
            from methods.backbone.load import load_backbone

            self._backbone = load_backbone(self.name, **self.options)
        return self._backbone

    def evaluator(self) -> Any:
        if self._evaluator is None:
            from benchmarks.metrics.evaluate import Evaluator

            backbone = self.backbone()
            models = {} if self.face_encoder is None else {"face-conditioning": self.face_encoder}
            self._evaluator = Evaluator(
                METRICS, backbone_family=backbone.family, models=models, device=str(backbone.device)
            )
        return self._evaluator

    def methods(self) -> tuple[list[str], list[str]]:
        """Names of methods that run on this backbone, and those among them that learn a person first."""
        from methods.errors import MissingDependencyError, WeightsError
        from methods.registry import check_backbone, method_info, method_names

        able, slow = [], []
        for name in method_names():
            info = method_info(name)
            try:
                check_backbone(info, self.backbone())
            except (UsageError, WeightsError, MissingDependencyError):
                continue
            able.append(name)
            slow += [name] if info.kind == "fit" else []
        return able, slow

    def make(self, wish: Wish, folder: Path, progress: Progress = lambda share, text: None) -> Answer:
        """Make what is wished for, write it into `folder`, measure it.

        Raises what `methods.generate` raises: nothing is sampled for a wish that cannot be.
        """
        from methods.generate import generate

        name = "person" if wish.reference is None else wish.reference.stem
        references: dict[str, tuple[str, ...]] = {}
        if wish.reference is not None:
            references[name] = (str(wish.reference),)
        request = Request(
            prompts=wish.prompts,
            methods=wish.methods,
            references=references,
            negative_prompt=wish.negative_prompt,
            seed=wish.seed,
            num_images=wish.num_images,
            steps=wish.steps,
            guidance=wish.guidance,
            id_weight=wish.id_weight,
            face_encoder=self.face_encoder,
            keep_masks=wish.save_masks,
            backbone=self.name,
            backbone_options=self.options,
        )
        lines = [PromptLine(text) for text in wish.prompts]
        rows = rows_of(lines, list(references), wish.seed, wish.num_images)
        paths = {who: [Path(file) for file in files] for who, files in references.items()}
        gallery = Gallery(folder, rows, wish.methods, paths)
        progress(0.0, "loading")
        made = generate(
            request,
            backbone=self.backbone(),
            progress=lambda done, total: progress(done / total, "sampling"),
            fit_progress=lambda what, done, total: progress(done / total, f"fitting {what}"),
            on_picture=lambda one: gallery.add(one, wish.prompts.index(one.prompt)),
        )
        gallery.finish()
        progress(1.0, "measuring")
        scores = self._scores(made, wish)
        shown = [
            Shown(one, *self._files(gallery, record), score)
            for one, record, score in zip(made, gallery.records, scores, strict=True)
        ]
        evaluator = self.evaluator()
        cards = {info.name: info for info in evaluator.infos}
        return Answer(shown, self.command(wish), folder, cards, dict(evaluator.unavailable))

    def command(self, wish: Wish) -> str:
        """The `spid generate` that makes the same pictures."""
        words = ["spid", "generate", *self.words]
        if wish.reference is not None:
            words += ["--reference", str(wish.reference)]
        for text in wish.prompts:
            words += ["--prompt", text]
        words += ["--method", wish.methods[-1]]  # the command shows it after those it is compared with
        if len(wish.methods) > 1:
            words += ["--compare", ",".join(wish.methods[:-1])]
        words += ["--seed", str(wish.seed), "--num-images", str(wish.num_images)]
        words += ["--id-weight", str(wish.id_weight)] if wish.id_weight != 1 else []
        words += ["--steps", str(wish.steps)] if wish.steps is not None else []
        words += ["--guidance", str(wish.guidance)] if wish.guidance is not None else []
        words += ["--negative-prompt", wish.negative_prompt] if wish.negative_prompt else []
        words += ["--save-masks"] if wish.save_masks else []
        return shlex.join(words)

    def _scores(self, made: Sequence[Generated], wish: Wish) -> list[dict[str, Score]]:
        """Of every picture; {} of one that is not there."""
        from benchmarks.metrics.base import SampleView
        from methods.images import load_picture

        reference = None if wish.reference is None else load_picture(wish.reference)
        rendered = is_pocket(self.backbone().family)
        views = {
            number: SampleView(
                id=str(number),
                method=one.method,
                identity=one.identity or "",
                prompt=one.job["prompt_expanded"],
                category="",
                picture=one.picture,
                reference=reference,
                reference_id=None if wish.reference is None else str(wish.reference),
                rendered=rendered,
            )
            for number, one in enumerate(made)
            if one.picture is not None and one.status == "ok"
        }
        found = dict(zip(views, self.evaluator().score(list(views.values())), strict=True))
        return [found.get(number, {}) for number in range(len(made))]

    def _files(self, gallery: Gallery, record: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
        if record["file"] is None:
            return None, None
        file = gallery.folder / record["file"]
        masks = gallery.folder / "masks" / file.name
        return file, masks if masks.is_file() else None


def lines_of(text: str) -> tuple[str, ...]:
    """The prompts of a text field, one a line."""
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
