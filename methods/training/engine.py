"""`spid train`, from its configuration to an adapter that `spid generate` loads.

    OUTPUT/
        adapter/                the averaged weights as users load them; training.json: how they came about
        checkpoints/step-N/     what --resume continues from
        log.jsonl               one line per step: loss terms, gradient norm, rate, seconds
        previews/step_N.png     sample sheets
        skipped.jsonl           pictures that could not be used, and why

Everything that can be refused is refused before anything is written, cheapest first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from methods.backbone.backbone import Backbone
from methods.backbone.device import seeded
from methods.backbone.load import load_backbone
from methods.backbone.source import own_face_encoder
from methods.errors import UsageError
from methods.faces import FaceEncoder, load_encoder
from methods.files import save_json, write_bytes
from methods.provenance import library_versions
from methods.registry import check_backbone, get_method
from methods.training.captions import Cut, cut_captions
from methods.training.checkpoints import Checkpoints
from methods.training.config import TrainConfig, describe
from methods.training.features import FeatureStore, Skipped, check_skipped
from methods.training.loop import Loop
from methods.training.optimizer import check_optimizer
from methods.training.pairs import Pairs
from methods.training.preview import exported_sheet
from methods.training.processes import Processes
from methods.training.sources import Source, open_source

Progress = Callable[[str, int, int, dict[str, float]], object]
"""Takes what is being done (`pictures` or `training`), how much of it, out of how much, and loss terms.

Called in the first process only."""


@dataclass(frozen=True)
class Trained:
    """What a training left.

    adapter: folder of the trained weights; terms: the last step's loss terms
    resumed: checkpoint it continued from, None for a training from the start
    broken:  checkpoints that were passed over because they are damaged
    cut:     pictures whose captions are longer than the text encoder reads
    """

    adapter: Path
    steps: int
    terms: dict[str, float]
    skipped: tuple[Skipped, ...]
    resumed: Path | None
    broken: tuple[Path, ...]
    cut: tuple[Cut, ...]


def train(
    method: str,
    config: TrainConfig,
    options: Mapping[str, Any],
    *,
    output: Path,
    resume: bool = False,
    progress: Progress | None = None,
    on_cut: Callable[[tuple[Cut, ...]], object] | None = None,
    backbone: Backbone | None = None,
) -> Trained:
    """Train a method's adapter and write it to `output / "adapter"`.

    options:  of the method's own training task
    resume:   continue the training in `output`; one that has no whole checkpoint yet starts anew
    on_cut:   is told, before the first step and in the first process only, which captions are cut
    backbone: an already loaded one, instead of `config.backbone`

    Raises UsageError or WeightsError before anything is written; NonFiniteError when a loss leaves the finite
    numbers; SpidError when the disk is full. The last good checkpoint stays in both cases.
    """
    chosen = get_method(method)
    _check_output(output, resume, config.keep)
    check_optimizer(config)
    encoder = _encoder(config, backbone)
    source = open_source(
        config.data.source, encoder, people=config.data.people, pictures=config.data.pictures
    )
    processes = Processes(config.device)
    if config.precision == "float16" and processes.device.type != "cuda":
        raise UsageError(f"precision: float16 needs CUDA, not {processes.device}.", hint="Take bfloat16.")
    model = backbone or load_backbone(
        config.backbone,
        dtype=config.backbone_dtype,
        device=processes.device,
        lora=config.lora,
        lora_scale=config.lora_scale,
    )
    check_backbone(chosen.info, model)
    with seeded(config.seed):
        task = chosen.training_task(model, options)
    source.size = _size(config, model)

    store = FeatureStore(source, task, method)
    skipped = _prepare(store, processes, progress)
    check_skipped(skipped, len(source), config.data.max_skipped)
    unusable = {one.number for one in skipped}
    usable = [number for number in range(len(source)) if number not in unusable]
    pairs = Pairs(source, usable, task.same_share, config.seed)
    processes.share(task.module)
    cut = cut_captions(source, pairs.targets, model.text, config.seed) if processes.main else ()
    if cut and on_cut is not None:
        on_cut(cut)

    described = describe(config, options)
    facts = {
        "method": method,
        "backbone": model.fingerprint,
        "face_encoder": encoder.fingerprint,
        "pictures": _digest([source.name(number) for number in usable]),
    }
    shown = source.shown(config.preview_people) if processes.main and config.preview_every else []
    examples = [source.example(number) for number in shown if number not in unusable]

    def show(path: Path) -> None:
        exported_sheet(model, chosen, task, examples, path)

    loop = Loop(task, config, pairs, store, processes, output, described, facts, show)
    found = loop.resume() if resume else None
    if processes.main:
        loop.checkpoints.sweep()
        lines = [json.dumps({"file_name": one.name, "reason": one.reason}) + "\n" for one in skipped]
        write_bytes(output / "skipped.jsonl", "".join(lines).encode())

    def tell(done: int, total: int, terms: dict[str, float]) -> None:
        if progress is not None and processes.main:
            progress("training", done, total, terms)

    loop.run(tell)
    adapter = output / "adapter"
    loop.export(adapter)
    if processes.main:
        save_json(adapter / "training.json", _recipe(loop, model, encoder, source, len(skipped)))
    processes.wait()
    return Trained(
        adapter=adapter,
        steps=loop.at.total,
        terms=loop.terms,
        skipped=tuple(skipped),
        resumed=None if found is None else found.folder,
        broken=tuple(folder for folder, _ in loop.checkpoints.broken),
        cut=cut,
    )


def _check_output(output: Path, resume: bool, keep: int) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file.", hint="Name a folder; it is made when missing.")
    if not resume and (found := Checkpoints(output / "checkpoints", keep).latest()) is not None:
        raise UsageError(
            f"{output} holds a training already ({found.folder.name}).",
            hint="Continue it with --resume, or choose another --output.",
        )


def _encoder(config: TrainConfig, backbone: Backbone | None) -> FaceEncoder:
    hint = "Set face_encoder, for instance to insightface:buffalo_l."
    return load_encoder(config.face_encoder or own_face_encoder(backbone or config.backbone, hint=hint))


def _size(config: TrainConfig, backbone: Backbone) -> int:
    size = min(backbone.default_size) if config.data.size is None else config.data.size
    cell = backbone.latent_factor
    if size < 2 * cell or size % cell:
        raise UsageError(f"data.size is {size}.", hint=f"Give a multiple of {cell} pixels.")
    return size


def _prepare(store: FeatureStore, processes: Processes, progress: Progress | None) -> list[Skipped]:
    """Every process computes the features of its share; all learn what was skipped, in order."""
    numbers = range(processes.index, len(store.source), processes.count)

    def tell(done: int, total: int) -> None:
        if progress is not None and processes.main:
            progress("pictures", done, total, {})

    store.prepare(numbers, tell)
    return sorted(processes.gather(store.skipped), key=lambda one: one.number)


def _recipe(
    loop: Loop, backbone: Backbone, encoder: FaceEncoder, source: Source, skipped: int
) -> dict[str, Any]:
    """How an adapter came about."""
    return {
        "method": loop.facts["method"],
        "steps": loop.at.total,
        "samples_per_step": loop.samples,
        "stages": [asdict(stage) for stage in loop.task.stages],
        "pictures": len(source) - skipped,
        "skipped": skipped,
        "backbone": {
            "name": backbone.name,
            "family": backbone.family,
            "fingerprint": backbone.fingerprint,
        },
        "face_encoder": {"name": encoder.name, "fingerprint": encoder.fingerprint},
        "config": loop.described,
        "versions": library_versions(),
    }


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()
