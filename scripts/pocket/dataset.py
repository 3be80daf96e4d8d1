"""The rendered training set of the pocket models: pictures, ground truth and captions, on disk once.

Folder layout: `pictures.npy` uint8 `[N,128,128,3]`; `meta.npz` with `person` int32 `[N]` (0..399 are the
named people, others `PERSON_OFFSET + seed`), one int16 array per factor, `nuisance` int64, `landmarks`
float32 `[N,5,2]` and `box` float32 `[N,4]` in pixels; `captions.json` and `canonical.json`, one string each.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from methods.pocket.world import (
    FACTORS,
    Context,
    Person,
    caption,
    render,
    sample_context,
    sample_person,
)
from methods.pocket.world.looks import described_caption
from methods.pocket.world.names import NAMED

PERSON_OFFSET = 1000
NAMES = tuple(NAMED)
NAMED_SHARE = 0.85
PICKED_NAMED = 0.4


def person_of(number: int) -> Person:
    """The person behind an identity number of the data set."""
    return NAMED[NAMES[number]] if number < len(NAMES) else sample_person(number - PERSON_OFFSET)


def caption_of(number: int, context: Context, rng: np.random.Generator) -> str:
    """A random caption, half of them described; named people are named in `NAMED_SHARE` of theirs."""
    named = number < len(NAMES) and rng.random() < NAMED_SHARE
    return described_caption(person_of(number), context, rng, name=NAMES[number] if named else None)


def pick(person: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` picture numbers out of the identity numbers `[N]`, `PICKED_NAMED` of them of named people.

    In random order: noise levels are stratified over a batch, and none must be one kind's.
    """
    known = person < PERSON_OFFSET
    share = PICKED_NAMED if known.any() and not known.all() else float(known.all())
    named = rng.binomial(count, share)
    pools = ((known, named), (~known, count - named))
    chosen = [rng.choice(np.flatnonzero(pool), size) for pool, size in pools if size]
    return rng.permutation(np.concatenate(chosen))


def _numbers(per_name: int, people: int, per_person: int, seed: int) -> np.ndarray:
    numbers = np.concatenate(
        [
            np.repeat(np.arange(len(NAMES)), per_name),
            np.repeat(np.arange(people) + PERSON_OFFSET, per_person),
        ]
    ).astype(np.int32)
    np.random.default_rng(seed).shuffle(numbers)
    return numbers


def _render_part(folder: Path, start: int, numbers: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    pictures = np.load(folder / "pictures.npy", mmap_mode="r+")
    meta: dict[str, list] = {name: [] for name in (*FACTORS, "nuisance", "landmarks", "box")}
    for offset, number in enumerate(numbers):
        rng = np.random.default_rng([seed, start + offset])
        portrait = render(person_of(int(number)), sample_context(rng))
        pictures[start + offset] = portrait.pixels
        for factor, values in FACTORS.items():
            meta[factor].append(values.index(getattr(portrait.context, factor)))
        meta["nuisance"].append(portrait.context.nuisance)
        meta["landmarks"].append(portrait.landmarks)
        meta["box"].append(portrait.box)
    kinds = {"nuisance": np.int64, "landmarks": np.float32, "box": np.float32}
    return {name: np.asarray(column, dtype=kinds.get(name, np.int16)) for name, column in meta.items()}


def build(folder: Path, *, per_name: int, people: int, per_person: int, seed: int, workers: int) -> None:
    """Render the whole set into `folder` with `workers` processes; the same arguments give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = _numbers(per_name, people, per_person, seed)
    shape = (len(numbers), 128, 128, 3)
    np.lib.format.open_memmap(folder / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    starts = range(0, len(numbers), 1000)
    with ProcessPoolExecutor(workers) as pool:
        parts = list(
            pool.map(
                _render_part,
                [folder] * len(starts),
                starts,
                [numbers[s : s + 1000] for s in starts],
                [seed] * len(starts),
            )
        )
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    np.savez(folder / "meta.npz", person=numbers, **columns)
    dataset = Dataset(folder)
    rng = np.random.default_rng(seed + 1)
    texts = [caption_of(int(numbers[i]), dataset.context(i), rng) for i in range(len(numbers))]
    (folder / "captions.json").write_text(json.dumps(texts))
    canonical = [caption(person_of(int(numbers[i])), dataset.context(i)) for i in range(len(numbers))]
    (folder / "canonical.json").write_text(json.dumps(canonical))


@dataclass(frozen=True)
class Dataset:
    """Read access to a built folder; arrays are memory-mapped or loaded on first use."""

    folder: Path

    @cached_property
    def pictures(self) -> np.ndarray:
        """uint8 `[N,128,128,3]`, memory-mapped."""
        return np.load(self.folder / "pictures.npy", mmap_mode="r")

    @cached_property
    def meta(self) -> dict[str, np.ndarray]:
        """The arrays of `meta.npz` by name."""
        with np.load(self.folder / "meta.npz") as stored:
            return {name: stored[name] for name in stored.files}

    def __len__(self) -> int:
        return len(self.meta["person"])

    def context(self, index: int) -> Context:
        """The context of one picture, rebuilt from its factor indices."""
        values = {factor: names[int(self.meta[factor][index])] for factor, names in FACTORS.items()}
        return Context(**values, nuisance=int(self.meta["nuisance"][index]))

    def random_caption(self, index: int, rng: np.random.Generator) -> str:
        """A fresh random caption of one picture."""
        return caption_of(int(self.meta["person"][index]), self.context(index), rng)
