"""Recorded masks: as numbers (.npz) and as a sheet of mask over picture (.png). No torch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from methods.errors import UsageError
from methods.files import write_bytes
from methods.images import save_png
from methods.spatialid.mask_sheet import mask_sheet


@dataclass(frozen=True, eq=False)
class MaskRecording:
    """The masks of one picture, over the S steps at which its identity was at work.

    steps:        int [S], index of each step
    noise_levels: float32 [S], flow-matching time t of each step
    phases:       `early`, `mid` or `late` of each step
    masks:        site name -> float16 [S, h, w] in [0, 1] (conditional half; the unconditional one reuses it)
    """

    steps: NDArray[np.int64]
    noise_levels: NDArray[np.float32]
    phases: tuple[str, ...]
    masks: Mapping[str, NDArray[np.float16]]


def save_masks(
    folder: str | Path, recording: MaskRecording, picture: Image.Image | None, *, stem: str = "masks"
) -> list[Path]:
    """Write `<stem>.npz` (see `load_masks`) and, where there is a picture, `<stem>.png`; return their paths.

    Raises SpidError when the folder cannot be written.
    """
    folder = Path(folder)
    numbers = folder / f"{stem}.npz"
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "steps": recording.steps,
        "noise_levels": recording.noise_levels,
        "phases": np.array(recording.phases),
        **recording.masks,
    }
    np.savez_compressed(buffer, **arrays)
    write_bytes(numbers, buffer.getvalue())
    if picture is None:
        return [numbers]
    sheet = folder / f"{stem}.png"
    save_png(sheet, recording_sheet(recording, picture))
    return [numbers, sheet]


def load_masks(path: str | Path) -> MaskRecording:
    """Read what `save_masks` wrote; nothing in the file is executed. Raises UsageError naming the file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return MaskRecording(
            steps=arrays.pop("steps"),
            noise_levels=arrays.pop("noise_levels"),
            phases=tuple(map(str, arrays.pop("phases"))),
            masks=arrays,
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UsageError(f"{path} holds no recorded masks.", hint="Give a file of --save-masks.") from error


def recording_sheet(recording: MaskRecording, picture: Image.Image, *, columns: int = 8) -> Image.Image:
    """Mask over picture: a column per step (at most `columns`, spread evenly), a row per token grid.

    A row shows the mean over the sites of its grid, finest first; with several grids, the mean over all
    sites comes on top. The means are for the eye only: the method averages nothing.
    """
    chosen = spread(len(recording.steps), columns)
    grids: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    for mask in recording.masks.values():
        grids.setdefault(mask.shape[1:], []).append(mask[chosen].astype(np.float32))
    rows: list[tuple[str, Sequence[NDArray[np.float32]]]] = []
    for (h, w), masks in sorted(grids.items(), reverse=True):
        sites = f"{len(masks)} site" + ("s" if len(masks) > 1 else "")
        rows.append((f"{h} x {w}\n{sites}", list(np.mean(masks, axis=0))))
    if len(rows) > 1:
        rows.insert(0, ("all sites\nmean", _mean_over_grids(list(grids.values()))))
    return mask_sheet(
        picture,
        rows,
        steps=[int(recording.steps[place]) + 1 for place in chosen],
        noise_levels=[float(recording.noise_levels[place]) for place in chosen],
        phases=[recording.phases[place] for place in chosen],
    )


def spread(count: int, most: int) -> list[int]:
    """At most `most` places of 0 .. count-1, evenly spread, first and last included."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def _mean_over_grids(grids: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Mean over sites of all grids, each site counting once, on the finest grid; one [h, w] per step."""
    finest = max((masks[0].shape[1:] for masks in grids), key=lambda shape: shape[0] * shape[1])
    sums, sites = np.zeros((len(grids[0][0]), *finest), np.float32), 0
    for masks in grids:
        sites += len(masks)
        for place, mask in enumerate(np.sum(masks, axis=0)):
            small = Image.fromarray(mask).resize(finest[::-1], Image.Resampling.BILINEAR)
            sums[place] += np.asarray(small)
    return list(sums / sites)
