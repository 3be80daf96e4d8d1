"""Runs what a `generate` command asked for, and what a picture made earlier says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from methods.prompts import cast, group_name, named
from spatialid_cli import console
from spatialid_cli.outputs import Gallery, Row
from spatialid_cli.prompt_file import PromptLine
from spatialid_cli.request import Asked

if TYPE_CHECKING:
    from methods.generate import Generated


def rows_of(lines: Sequence[PromptLine], identities: Sequence[str], seed: int, num_images: int) -> list[Row]:
    """The rows of the sheet: identity by identity, prompt by prompt, seed by seed; then people together."""
    casts: list[Sequence[str | None]] = [cast(line.prompt, identities) or [None] for line in lines]
    people = dict.fromkeys([*identities, *(name for names in casts for name in names)])
    return [
        Row(identity, number, line.prompt, (seed if line.seed is None else line.seed) + image)
        for identity in people
        for number, line in enumerate(lines)
        if identity in casts[number]
        for image in range(num_images)
    ]


def shown_references(
    lines: Sequence[PromptLine], references: Mapping[str, Sequence[str]]
) -> dict[str, list[Path]]:
    """Pictures of whom a row shows: the first of each person."""
    first = {name: Path(files[0]) for name, files in references.items()}
    shown = {name: [file] for name, file in first.items()}
    for called in (named(line.prompt, references) for line in lines):
        if len(called) > 1:
            shown[group_name(called)] = [first[name] for name in called]
    return shown


def run(asked: Asked, gallery: Gallery) -> None:
    """Make all pictures, each written as soon as it is there."""
    from methods.generate import check_sizes, generate

    backbone: Any = None
    if len(asked.parts) > 1:  # load it once for all of them, and let none be refused after others are made
        from methods.backbone.load import load_backbone

        backbone = load_backbone(asked.first.backbone, **asked.first.backbone_options)
        for request, _ in asked.parts:
            check_sizes(request, backbone)
    said: set[str] = set()
    for number, (request, lines_of) in enumerate(asked.parts, start=1):

        def keep(made: Generated, lines_of: Mapping[str, list[int]] = lines_of) -> None:
            _say_whose_face(made.job, said)
            _say_what_is_cut(made.job, said)
            for line in lines_of[made.prompt]:
                gallery.add(made, line)

        label = "sampling" if len(asked.parts) == 1 else f"sampling, part {number} of {len(asked.parts)}"
        with Display(label) as display:
            generate(
                replace(request, refit=request.refit and number == 1),
                backbone=backbone,
                progress=partial(display.show, label),
                fit_progress=display.show_fit,
                on_picture=keep,
                note=partial(_say_once, said),
            )


def _say_once(said: set[str], text: str) -> None:
    if text not in said:
        said.add(text)
        console.warn(text)


class Display:
    """One progress display at a time: a fit has its own, before the sampling goes on."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._advance: console.Progress
        self._stack = ExitStack()

    def __enter__(self) -> Display:
        self._advance = self._stack.enter_context(console.progress(self._label))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def show(self, label: str, done: int, total: int) -> None:
        """Steps done and steps in all of what the label names."""
        if label != self._label:
            self._stack.close()
            self._label = label
            self._advance = self._stack.enter_context(console.progress(label))
        self._advance(done, total)

    def show_fit(self, what: str, done: int, total: int) -> None:
        """The same of a fit: what names method and identity."""
        self.show(f"fitting {what}", done, total)


def _say_whose_face(job: Mapping[str, Any], said: set[str]) -> None:
    """Once per identity: how its face was found, by what, and where that ran."""
    for one in job.get("people") or ():
        _say_whose_face({**job, **one, "people": None}, said)
    face, encoder, name = job.get("face"), job.get("face_encoder"), job.get("identity")
    if face is None or encoder is None or name is None or name in said:
        return
    said.add(name)
    how = "" if face["rung"] == "as-is" else f", found {face['rung']}"
    which = "1 face" if face["count"] == 1 else f"one of {face['count']} faces ({job['face_select']})"
    several = job.get("references") or []
    of = f", the first of {len(several)} photographs" if several else ""
    console.log(f"{name}: {which}{of}{how}; {encoder['name']} on {encoder['provider']}")
    if odd := [one["path"] for one in several if one.get("stranger")]:
        console.warn(f"{name}: of {len(several)} photographs these look like somebody else: {', '.join(odd)}")


def _say_what_is_cut(job: Mapping[str, Any], said: set[str]) -> None:
    """Once per prompt: the words that the text encoder does not read."""
    for what in ("prompt", "negative prompt"):
        text, cut = job[what.replace(" ", "_")], job["notes"].get(f"{what} truncated")
        if cut and f"{what} {text}" not in said:
            said.add(f"{what} {text}")
            console.warn(f"the {what} is longer than the text encoder reads; left out: {cut!r}")


def use_deterministic_kernels() -> None:
    """Ask every library for kernels that give the same bits in every run, at some cost in speed."""
    import os

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
