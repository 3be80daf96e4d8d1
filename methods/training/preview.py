"""The sample sheet of a training: the same people, prompts and noise every time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from methods.config import build
from methods.contract import Method
from methods.hooks import Identity, Job
from methods.images import contact_sheet, save_png
from methods.learning.task import Example, TrainingTask
from methods.sampling import sample

if TYPE_CHECKING:
    from methods.backbone.backbone import Backbone

PROMPTS = (
    "a photo of a person in a red sweater, on a beach",
    "a photo of a laughing person in a green suit, in a city",
    "a watercolor painting of a person in a forest",
)


def identity_of(example: Example) -> Identity:
    """The person of an example, as methods take it."""
    embedding = torch.from_numpy(example.face.embedding)
    return Identity(example.identity, embedding, face=example.face, image=example.picture)


def exported_sheet(
    backbone: Backbone, method: type[Method], task: TrainingTask, examples: Sequence[Example], path: Path
) -> None:
    """Write the sample sheet of what a task exports now, loaded as users load it."""
    if not examples:
        return
    with TemporaryDirectory(prefix="spid-preview-") as folder:
        task.export(Path(folder) / "adapter")
        options: Any = build(
            method.Config, task.method_options(), where=f"{type(task).__name__}.method_options"
        )
        made = method.load(Path(folder) / "adapter", backbone, options)
        sample_sheet(backbone, made, examples, path)


def sample_sheet(
    backbone: Backbone,
    method: Method,
    examples: Sequence[Example],
    path: Path,
    *,
    prompts: Sequence[str] = PROMPTS,
    steps: int | None = None,
) -> None:
    """Write a PNG with one row per person: the reference, then a picture per prompt.

    The noise of a column is the same in all rows, so that rows differ by the person alone.
    """
    width, height = backbone.default_size
    jobs = [
        Job(
            prompt,
            width,
            height,
            guidance=backbone.defaults.guidance,
            identity=identity,
            seed=column,
            steps=steps or backbone.defaults.steps,
        )
        for identity in map(identity_of, examples)
        for column, prompt in enumerate(prompts)
    ]
    made = [result.picture for result in sample(backbone, jobs, method)]
    rows = [
        [example.picture, *made[place * len(prompts) : (place + 1) * len(prompts)]]
        for place, example in enumerate(examples)
    ]
    titles = [example.identity for example in examples]
    save_png(path, contact_sheet(rows, ["reference", *prompts], titles, cell=max(width, 128)))
