"""The text stream: the plain backbone's trajectory, and its self-attention keys and values.

It depends on prompt, negative prompt, seed and settings, never on an identity. So it is denoised once and
read by all identities: as rows of the same batch, or ahead of them, kept in memory or on disk. Kept streams
are denoised one at a time, so that their bits depend on no company.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from methods.backbone.attention import KeyValue
from methods.errors import SpidError, WeightsError
from methods.hooks import Attachment, Job, Pass, Run, Site, StepInfo, Stream
from methods.provenance import library_versions, machine
from methods.weights import load_weights, save_weights

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone


def text_key(job: Job) -> Hashable:
    """What the text stream of a job depends on: jobs of equal keys share one."""
    return (
        job.prompt,
        job.negative_prompt if job.guided else "",
        job.guidance if job.guided else 1.0,
        job.seed,
        job.steps,
        job.width,
        job.height,
    )


def stream_bytes(backbone: Backbone, job: Job) -> int:
    """Bytes of the keys and values of a whole text stream."""
    factor, size = backbone.latent_factor, torch.empty((), dtype=backbone.dtype).element_size()
    grid = (job.height // factor, job.width // factor)
    numbers = 0
    for site in backbone.sites:
        if site.kind == "self":
            h, w = site.grid(*grid)
            numbers += 2 * h * w * site.width
    return numbers * size * job.steps * (2 if job.guided else 1)


class TextStream(Protocol):
    """Keys and values of one finished text stream."""

    def read(self, step: int, site: Site) -> KeyValue:
        """[H, heads, N, head_dim] each: the unconditional row (under guidance), then the conditional one."""
        ...


class StreamInMemory(Attachment):
    """Keeps what self-attention sees while a trajectory is denoised."""

    def __init__(self, noise: int) -> None:
        self.streams = (Stream("main", (0,), noise),)
        self._steps: list[dict[int, KeyValue]] = []

    def on_step(self, step: StepInfo) -> None:
        self._steps.append({})

    def keys_values(self, site: Site, step: Pass, query: Tensor, key: Tensor, value: Tensor) -> KeyValue:
        self._steps[-1][site.index] = (key.contiguous(), value.contiguous())  # as they come from a file
        return key, value

    def read(self, step: int, site: Site) -> KeyValue:
        return self._steps[step][site.index]


class StreamOnDisk(Attachment):
    """The same in a folder, a file per step; at most one step in memory."""

    def __init__(self, folder: Path, device: torch.device, noise: int) -> None:
        self.folder = folder
        self.device = device
        self.streams = (Stream("main", (0,), noise),)
        self._index = -1
        self._held: dict[str, Tensor] = {}

    def on_step(self, step: StepInfo) -> None:
        self.flush()
        self._index = step.index

    def keys_values(self, site: Site, step: Pass, query: Tensor, key: Tensor, value: Tensor) -> KeyValue:
        self._held |= {f"{site.index}.key": key, f"{site.index}.value": value}
        return key, value

    def flush(self) -> None:
        """Write the step at hand."""
        if self._held:
            save_weights(self._file(self._index), self._held)
            self._held = {}

    def read(self, step: int, site: Site) -> KeyValue:
        if step != self._index:
            try:
                self._held = load_weights(self._file(step), self.device)
            except WeightsError as error:
                raise SpidError(
                    f"The kept text stream {self.folder} is damaged: {error.message}",
                    hint="Delete that folder; it is made again.",
                ) from error
            self._index = step
        return self._held[f"{site.index}.key"], self._held[f"{site.index}.value"]

    def _file(self, step: int) -> Path:
        return self.folder / f"step_{step:04d}.safetensors"


class TextStreams:
    """Kept text streams of one backbone.

    mebibytes: of all streams kept in memory. A new one takes the place of the one before it: whether people
               come prompt by prompt or prompts person by person, as many as fit are found again
    folder:    keep them here instead
    noise:     which noise of the job's seed a text stream starts from (see `Stream.noise`)
    """

    def __init__(
        self, backbone: Backbone, *, mebibytes: int, folder: Path | None = None, noise: int = 0
    ) -> None:
        self._backbone = backbone
        self._limit = mebibytes * 2**20
        self._folder = folder
        self._noise = noise
        self._kept: dict[tuple[Hashable, str], tuple[StreamInMemory, int]] = {}

    def fits(self, jobs: Sequence[Job]) -> bool:
        """Whether the streams of these jobs fit into memory together."""
        return sum(stream_bytes(self._backbone, job) for job in jobs) <= self._limit

    def get(self, job: Job, run: Run) -> TextStream:
        """The text stream of a job, denoised now unless it is kept."""
        return self._in_memory(job, run) if self._folder is None else self._on_disk(job, run, self._folder)

    def _in_memory(self, job: Job, run: Run) -> TextStream:
        key = (text_key(job), run.scheduler)
        if key not in self._kept:
            stream = StreamInMemory(self._noise)
            run.sample([job], stream)
            self._kept[key] = (stream, stream_bytes(self._backbone, job))
            while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > self._limit:
                del self._kept[list(self._kept)[-2]]
        return self._kept[key][0]

    def _on_disk(self, job: Job, run: Run, root: Path) -> TextStream:
        folder = root / self._name(job, run)
        if not folder.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(dir=root, prefix="unfinished-"))
            try:
                stream = StreamOnDisk(unfinished, self._backbone.device, self._noise)
                run.sample([job], stream)
                stream.flush()
                if not folder.is_dir():
                    os.replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return StreamOnDisk(folder, self._backbone.device, self._noise)

    def _name(self, job: Job, run: Run) -> str:
        """Everything that decides the bits of a text stream, as the name of its folder."""
        backbone = self._backbone
        facts = {
            "text": text_key(job),
            "scheduler": run.scheduler,
            "noise": self._noise,
            "backbone": backbone.fingerprint,
            "dtype": str(backbone.dtype),
            "device": str(backbone.device),
            "kernel": str(backbone.sdpa),
            "machine": machine(backbone),
            "versions": library_versions(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
