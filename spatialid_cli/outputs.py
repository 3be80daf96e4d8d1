"""The folder a `generate` run leaves: pictures, a table as CSV and Markdown, a contact sheet, masks.

Every file appears whole or not at all, and pictures appear as they are made, so that an interrupted run
keeps what it had. File names hold a row number, the method and a hash of the job: no word of a prompt.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from methods.words import csv_cell, visible

if TYPE_CHECKING:
    from PIL.Image import Image

    from methods.generate import Generated

COLUMNS = (
    "file", "status", "method", "identity", "prompt", "seed",
    "width", "height", "steps", "guidance", "id_weight", "scheduler", "backbone",
)  # fmt: skip

_CUT = {"truncated": "prompt truncated", "negative_truncated": "negative prompt truncated"}
"""Fields of a record, in `--json` only, that quote what the text encoder left out."""


class Row(NamedTuple):
    """What the pictures of one row share; `line` is the prompt's number, as a prompt may occur twice."""

    identity: str | None
    line: int
    prompt: str
    seed: int


@dataclass
class Gallery:
    """Collects what a run made and writes it.

    folder:     where everything goes
    rows:       the sheet's rows in order, each the noise and words that its pictures share
    methods:    the sheet's columns, in order
    references: picture files of whom a row shows: of one person, or of several in one picture
    """

    folder: Path
    rows: Sequence[Row]
    methods: Sequence[str]
    references: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    _records: dict[tuple[int, str], dict[str, Any]] = field(default_factory=dict)
    _pictures: dict[tuple[int, str], Image] = field(default_factory=dict)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The table so far, row by row and in the order of methods, whatever order they were made in."""
        return [
            self._records[row, method]
            for row in range(len(self.rows))
            for method in self.methods
            if (row, method) in self._records
        ]

    def add(self, made: Generated, line: int = 0) -> None:
        """Write one picture of prompt number `line` with its metadata, and its masks if it has some."""
        from methods.images import save_png
        from methods.provenance import parameters_text

        place = self.rows.index(Row(made.identity, line, made.prompt, made.seed)), made.method
        record = {column: made.job.get(column) for column in COLUMNS}
        notes = made.job["notes"]
        record |= {
            name: notes[f"{what} truncated"] for name, what in _CUT.items() if f"{what} truncated" in notes
        }
        record |= {"status": made.status, "method": made.method, "identity": made.identity, "file": None}
        stem = f"{place[0]:03d}_{_safe(made.method)}_{job_hash(made.job)}"
        if made.picture is not None:
            record["file"] = f"{stem}.png"
            path = self.folder / f"{stem}.png"
            save_png(path, made.picture, parameters=parameters_text(made.job), job=made.job)
            self._pictures[place] = made.picture
        for name, masks in made.extras.items():
            if name.startswith("masks"):  # of a second person: masks 2
                from methods.spatialid.masks_io import save_masks

                own = "-".join([stem, *name.split()[1:]])
                save_masks(self.folder / "masks", masks, made.picture, stem=own)
        self._records[place] = record

    def say(self, **facts: Any) -> None:
        """Add facts to the record of every picture; they stand in `--json`, not in the tables."""
        for record in self._records.values():
            record |= facts

    def finish(self) -> dict[str, str]:
        """Write the tables, and the sheet when there is something to compare; returns name -> file."""
        from methods.files import write_bytes

        files = {"table": "table.csv", "markdown": "table.md"}
        write_bytes(self.folder / "table.csv", csv_table(self.records).encode())
        write_bytes(self.folder / "table.md", markdown_table(self.records).encode())
        if len(self._pictures) > 1:
            self._write_sheet(self.folder / "sheet.png")
            files["sheet"] = "sheet.png"
        if (self.folder / "masks").is_dir():
            files["masks"] = "masks"
        return {kind: str(self.folder / name) for kind, name in files.items()}

    def _write_sheet(self, path: Path) -> None:
        from methods.images import contact_sheet, load_picture, save_png

        references = {name: _beside(map(load_picture, files)) for name, files in self.references.items()}
        several_seeds = len({(row.identity, row.line) for row in self.rows}) < len(self.rows)
        cells, titles = [], []
        for number, row in enumerate(self.rows):
            made = [self._pictures.get((number, method)) for method in self.methods]
            cells.append([references.get(row.identity or ""), *made] if references else made)
            who = f"{row.identity}: " if len(references) > 1 else ""
            titles.append(f"{who}{row.prompt}" + (f" (seed {row.seed})" if several_seeds else ""))
        columns = ["reference", *self.methods] if references else list(self.methods)
        widest = max(picture.width for picture in self._pictures.values())
        save_png(path, contact_sheet(cells, columns, titles, cell=256 if widest <= 256 else 384))


def _beside(pictures: Iterable[Image]) -> Image:
    """Pictures side by side, as high as the first."""
    import PIL.Image

    first, *others = pictures
    if not others:
        return first
    scaled = [first, *(one.resize((one.width * first.height // one.height, first.height)) for one in others)]
    joined = PIL.Image.new("RGB", (sum(one.width for one in scaled), first.height))
    left = 0
    for one in scaled:
        joined.paste(one, (left, 0))
        left += one.width
    return joined


def job_hash(job: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for everything in a job."""
    canonical = json.dumps(job, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def csv_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The table as CSV, one line a picture."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in record.items()} for record in records)
    return text.getvalue()


def markdown_table(records: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown with the pictures linked; columns without any value are left out."""
    shown = [column for column in COLUMNS if any(record.get(column) is not None for record in records)]
    lines = [" | ".join(shown), " | ".join("---" for _ in shown)]
    lines += [
        " | ".join(_markdown_cell(column, record.get(column)) for column in shown) for record in records
    ]
    return "".join(f"| {line} |\n" for line in lines)


def _markdown_cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    text = re.sub(r"([\\`*\[\]<>|])", r"\\\1", visible(" ".join(str(value).split())))
    return f"[{text}]({value})" if column == "file" else text


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.") or "method"
