"""From blocks of the plan to pictures, scores and rows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.album import Album
from benchmarks.clock import Clock
from benchmarks.ladder import Ladder, is_out_of_memory
from benchmarks.made import Made, Sampled, Scored, StoppedError, Trouble
from benchmarks.metrics.base import SampleView, Score
from benchmarks.plan import Block, Plan, Sample
from benchmarks.schema import Row
from benchmarks.store import RunFolder
from benchmarks.targets import target_of
from benchmarks.troupe import Troupe, in_folder
from benchmarks.verdict import judge
from methods.contract import Method
from methods.errors import PictureError, SpidError, UsageError
from methods.hooks import Identity, Job
from methods.images import load_picture, read_metadata, save_png
from methods.prompts import literal
from methods.provenance import RunDescription, describe_picture, describe_run, parameters_text
from methods.sampling import Result, iterate_samples
from methods.shipped import is_pocket
from methods.together import check_people

if TYPE_CHECKING:
    from PIL.Image import Image

    from benchmarks.live import Observer
    from benchmarks.metrics.evaluate import Evaluator
    from methods.backbone.backbone import Backbone


class Executor:
    """Makes what is missing of a plan's blocks and records it.

    people:   what became of every reference, by its content
    settings: width, height, steps, guidance, negative_prompt, scheduler, face_select, true_cfg if any
    adapters: name of a method -> its weights, where they are not the shipped ones
    """

    def __init__(
        self,
        folder: RunFolder,
        plan: Plan,
        backbone: Backbone,
        methods: Mapping[str, Method],
        people: Mapping[str, Identity | Trouble],
        evaluator: Evaluator,
        settings: Mapping[str, Any],
        observer: Observer,
        *,
        keep_going: bool = False,
        adapters: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.plan, self.backbone = folder, plan, backbone
        self.methods, self.evaluator = methods, evaluator
        self.troupe = Troupe(folder.path, people)
        self.settings, self.adapters = settings, adapters or {}
        self.observer, self.keep_going = observer, keep_going
        self.ladder = Ladder(backbone, plan.batch_size, self._on_fall)
        self.seconds = {"denoise": 0.0, "decode": 0.0, "metrics": 0.0, "encode": 0.0}
        self._names = [info.name for info in evaluator.infos if info.level == "sample"]
        self._pictures = Album(folder.path)
        self._timings: list[dict[str, Any]] = []
        self._warm: set[str] = set()
        self._encoded: set[tuple[str, ...]] = set()
        self._stopped: str | None = None
        self.beside = False  # metrics are computed meanwhile: seconds are not those of the sampling alone
        self._about: dict[str, RunDescription] = {}

    def sample(self, block: Block) -> Sampled:
        """Make a block's pictures, and those that they are measured against."""
        made = self._make(block.samples)
        views = self._views(block, made)
        sampled = Sampled(block, made, views, self._timings, self._stopped)
        self._timings, self._stopped = [], None
        return sampled

    def score(self, sampled: Sampled) -> Scored:
        """Measure a block; touches the metrics alone, so that the next block may be sampled meanwhile."""
        if not sampled.views:
            return Scored({})
        started = time.perf_counter()
        results = self.evaluator.score(sampled.views)
        scores = {view.id: result for view, result in zip(sampled.views, results, strict=True)}
        return Scored(scores, time.perf_counter() - started)

    def record(self, sampled: Sampled, scored: Scored, *, beside: bool = False) -> list[Row]:
        """Write a block's rows; beside: it may have been measured while another was sampled.

        Raises StoppedError after recording a sample that failed.
        """
        block, timings = sampled.block, list(sampled.timings)
        rows = [
            self._row(sample, sampled.made[sample.id], scored.scores.get(sample.id))
            for sample in block.samples
        ]
        if scored.scores:
            self.seconds["metrics"] += scored.seconds
            timings.append(
                {
                    "phase": "metrics",
                    "method": block.method,
                    "samples": len(scored.scores),
                    "seconds": round(scored.seconds, 6),
                    "valid": self.ladder.valid and not beside,
                }
            )
        self.folder.append(rows, timings)
        self.observer.recorded(rows)
        if sampled.stopped is not None and not self.keep_going:
            raise StoppedError(
                sampled.stopped, hint="Mend the cause and run it again, or give --keep-going to skip it."
            )
        return rows

    def prepare(self, sample: Sample) -> None:
        """Derive the tokens of a sample's person, by a fit where there is none; its row tells what fails."""
        stopped = self._stopped
        self._trouble(sample)
        self._stopped = stopped
        self.folder.append((), self._timings)  # others may make all rows that need it
        self._timings = []

    def let_encoders_go(self, left: Sequence[Block]) -> None:
        """Encode what the blocks that are left say, and free the text encoders, unless a method needs them.

        Those that put learned words among the tokens of a prompt do, to the last of their blocks.
        """
        text = self.backbone.text
        needs = {need for block in left for need in self.methods[block.method].info.hooks}
        if not text.loaded or any("insert_tokens" in need.split("|") for need in needs):
            return
        prompts = {sample.prompt_text: None for block in left for sample in block.samples}
        if self.settings["guidance"] > 1 or self.settings.get("true_cfg", 1.0) > 1:
            prompts[self.settings["negative_prompt"]] = None
        started = time.perf_counter()
        try:
            text.let_go(prompts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise  # the ladder has more to give than this
        self.seconds["encode"] += time.perf_counter() - started

    # ------------------------------------------------------------- pictures
    def _make(self, samples: Sequence[Sample]) -> dict[str, Made | Trouble]:
        """Every sample's picture: from the disk when its whole batch is there, else sampled."""
        made: dict[str, Made | Trouble] = {}
        for sample in samples:
            if sample.picture not in made:
                made |= self._make_batch(self.plan.batches[sample.picture])
        return {sample.id: made[sample.picture] for sample in samples}

    def _make_batch(self, batch: Sequence[Sample]) -> dict[str, Made | Trouble]:
        found: dict[str, Made | Trouble] = {}
        able: list[Sample] = []
        for sample in batch:
            trouble = self._trouble(sample)
            if trouble is None:
                able.append(sample)
            else:
                found[sample.id] = trouble
        stored = {sample.id: self._stored(sample) for sample in able}
        if all(stored.values()):
            return found | {name: one for name, one in stored.items() if one is not None}
        return found | self._sample(able)

    def _trouble(self, sample: Sample) -> Trouble | None:
        """What keeps a sample from being made at all; derives the identity's tokens on the way."""
        who = self.troupe.of(sample)
        if who is None or isinstance(who, Trouble):
            return who
        try:
            check_people(self.methods[sample.method.label], self._job(sample))
        except UsageError as error:
            return Trouble("not_confined", error.message)
        if sample.method.job.get("id_weight", 1.0):
            try:
                self.methods[sample.method.label].check_prompt(sample.prompt_text, self.backbone)
            except UsageError as error:
                return Trouble("nobody_named", error.message)
        key = (sample.method.label, *(one.content for one in sample.people))
        started = time.perf_counter()
        try:
            self.methods[sample.method.label].tokens(who, self.backbone)
        except Exception as error:
            return self._failed(sample, error)
        if key not in self._encoded:
            self._encoded.add(key)
            seconds = time.perf_counter() - started
            self.seconds["encode"] += seconds
            self._timings.append(
                {
                    "phase": "encode",
                    "method": key[0],
                    "identity": sample.names,
                    "seconds": round(seconds, 6),
                    "device": str(self.backbone.device),
                    "valid": self.ladder.valid,
                }
            )
        return None

    def _stored(self, sample: Sample) -> Made | None:
        """A picture that an interrupted run left without its row."""
        path = self.folder.path / self.folder.picture(sample.id)
        try:
            if not path.is_file():
                return None
            job = read_metadata(path)["spid"] or {}
            if job.get("fingerprint") != sample.id:
                return None
            return self._kept(load_picture(path), job, path.read_bytes())
        except (PictureError, OSError):
            return None

    def _sample(self, samples: Sequence[Sample]) -> dict[str, Made | Trouble]:
        method = self.methods[samples[0].method.label]
        jobs = [self._job(sample) for sample in samples]
        clock = Clock(self.backbone)

        def make(batch: Sequence[Job]) -> list[Result]:
            clock.begin()
            placed: dict[int, Result] = {}
            for place, result in iterate_samples(
                self.backbone,
                batch,
                method,
                scheduler=self.settings["scheduler"],
                batch_size=len(batch),
                callback=clock,
            ):
                clock.yielded()
                placed[place] = result
            return [placed[place] for place in range(len(batch))]

        try:
            results = self.ladder.run(jobs, make)
        except Exception as error:
            return {sample.id: self._failed(sample, error) for sample in samples}
        self._record_times(samples, clock, len(jobs))
        return {
            sample.id: self._keep(sample, method, result)
            for sample, result in zip(samples, results, strict=True)
        }

    def _job(self, sample: Sample) -> Job:
        identity = self.troupe.of(sample)
        assert not isinstance(identity, Trouble)
        names = ("width", "height", "guidance", "negative_prompt", "steps")
        weights: dict[str, Any] = dict(sample.method.job)
        return Job(
            sample.prompt_text,
            identity=identity,
            seed=sample.seed,
            **{name: self.settings[name] for name in names},
            true_cfg=self.settings.get("true_cfg", 1.0),
            **weights,
        )

    def _keep(self, sample: Sample, method: Method, result: Result) -> Made | Trouble:
        """Write a picture with the description that reproduces it."""
        if result.picture is None:
            return Trouble(result.status, "the latents left the finite numbers")
        plain = literal(sample.prompt_text)
        described = describe_picture(self._described(sample.method.label), result, plain)
        job = in_folder(described, sample) | {"fingerprint": sample.id}
        if self.ladder.falls:
            job["notes"] = {**job["notes"], "out of memory": "; ".join(self.ladder.falls)}
        path = self.folder.path / self.folder.picture(sample.id)
        save_png(path, result.picture, parameters=parameters_text(job), job=job)
        return self._kept(result.picture, job, path.read_bytes())

    def _described(self, label: str) -> RunDescription:
        """What the descriptions of a method's pictures share."""
        if label not in self._about:
            method = self.methods[label]
            self._about[label] = describe_run(
                self.backbone,
                method,
                scheduler=self.settings["scheduler"],
                face_select=self.settings["face_select"],
                batch_size=self.plan.batch_size,
                adapter=self.adapters.get(method.info.name),
            )
        return self._about[label]

    def _kept(self, picture: Image, job: Mapping[str, Any], data: bytes) -> Made:
        detail = "; ".join(f"{name}: {text}" for name, text in job["notes"].items())
        return Made(picture, job["status"], detail, len(data), hashlib.sha256(data).hexdigest())

    def _failed(self, sample: Sample, error: Exception) -> Trouble:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        detail = text if isinstance(error, SpidError) else f"{type(error).__name__}: {text}"
        if self._stopped is None:
            self._stopped = f"{sample.method.label}: {detail}"
        return Trouble("error", detail)

    # ------------------------------------------------------------- scores
    def _views(self, block: Block, made: Mapping[str, Made | Trouble]) -> list[SampleView]:
        """What metrics shall see of a block."""
        if not self._names:
            return []
        scored = [
            (s, one) for s in block.samples if isinstance(one := made[s.id], Made) and one.status == "ok"
        ]
        for sample, one in scored:
            if not sample.people:
                self._pictures[sample.id] = one.picture
        return [self.view(sample, one.picture) for sample, one in scored]

    def view(self, sample: Sample, picture: Image | None = None) -> SampleView:
        """A sample as metrics see it; its picture from the disk unless it is given."""
        person, baseline = sample.person, None
        if sample.baseline is not None:
            baseline = self._baseline(sample.baseline)
        if picture is None:
            picture = load_picture(self.folder.path / self.folder.picture(sample.picture))
        return SampleView(
            id=sample.id,
            method=sample.method.label,
            identity=sample.names,
            prompt=sample.text,
            category=sample.prompt.category or sample.prompt.kind,
            picture=picture,
            reference=None
            if person is None or person.reference is None
            else self._pictures.photo(person.reference),
            baseline=baseline,
            baseline_id=None if baseline is None else sample.baseline,
            reference_id=None if person is None or person.reference is None else Path(person.reference).stem,
            further=self._photographs(*(person.more if person else ())),
            truth=sample.prompt.truth,
            reference_truth={} if person is None else person.entry.truth,
            people=tuple(self._photographs(one.reference, *one.more) for one in sample.people)
            if person is None
            else (),
            rendered=is_pocket(self.backbone.family),
            **({} if person is None else target_of(person.entry.person, sample.prompt.truth, picture.width)),
        )

    def _photographs(self, *files: str | None) -> tuple[tuple[str, Image], ...]:
        """Photographs in the folder, each with its content."""
        return tuple((Path(one).stem, self._pictures.photo(one)) for one in files if one is not None)

    def _baseline(self, identifier: str) -> Image | None:
        """The plain backbone's picture, made here when nobody has made it yet; None when it is not `ok`."""
        if identifier not in self._pictures:
            sample = self.plan.samples[self.plan.samples[identifier].picture]
            found = self._stored(sample) or self._make_batch(self.plan.batches[sample.id])[sample.id]
            usable = isinstance(found, Made) and found.status == "ok"
            self._pictures[identifier] = found.picture if usable and isinstance(found, Made) else None
        return self._pictures[identifier]

    def _row(self, sample: Sample, made: Made | Trouble, scores: Mapping[str, Score] | None) -> Row:
        verdict = judge(self._names, scores, made.status, made.detail)._asdict()
        if isinstance(made, Trouble):
            return sample.row(**verdict)
        return sample.row(
            picture=self.folder.picture(sample.picture), size=made.size, sha256=made.sha256, **verdict
        )

    # ------------------------------------------------------------- times
    def _record_times(self, samples: Sequence[Sample], clock: Clock, batch: int) -> None:
        label = samples[0].method.label
        self.seconds["denoise"] += clock.denoise
        self.seconds["decode"] += clock.decode
        self.observer.sampled(label, len(samples), clock.denoise + clock.decode)
        for sample in samples:
            self._timings.append(
                {
                    "phase": "sample",
                    "id": sample.id,
                    "method": label,
                    "denoise": round(clock.denoise / batch, 6),
                    "decode": round(clock.decode / batch, 6),
                    "batch": min(batch, self.ladder.batch_size),
                    "device": str(self.backbone.device),
                    "warm": label in self._warm,
                    "valid": self.ladder.valid and not self.beside,
                }
            )
        self._warm.add(label)

    def _on_fall(self, fall: str) -> None:
        self._timings.append(
            {"phase": "fall", "to": fall, "device": str(self.backbone.device), "valid": False}
        )
        self.observer.note(f"out of memory: {fall}; timings from here on are not valid")
