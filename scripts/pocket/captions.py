"""Captions of the pictures of a data set as tokens, drawn afresh at every visit or out of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.pocket.dataset import Dataset

DRAWN = 8


class Captions:
    """Random captions by picture number, in the tokens of one or several tokenizers.

    table: file of `DRAWN` tokenised captions of every picture, made by all cores when it is not there: an
    accelerator does not wait for grammar. None draws a fresh caption each time.
    """

    def __init__(self, data: Dataset, tokenizers: Sequence[Any], table: Path | None = None) -> None:
        self.data, self.tokenizers = data, tuple(tokenizers)
        self._empty = _ids(self.tokenizers, [""])
        lengths = [tokenizer.model_max_length for tokenizer in self.tokenizers]
        self._ends = np.cumsum(lengths)[:-1]
        self._table = None if table is None else _table(data, self.tokenizers, table)

    @property
    def empty(self) -> list[Tensor]:
        """Tokens int64 `[1,T]` of the empty caption, by tokenizer."""
        return self._split(self._empty)

    def _split(self, rows: NDArray[np.int64]) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(part)) for part in np.split(rows, self._ends, axis=1)]

    def draw(self, chosen: NDArray[np.integer], rng: np.random.Generator, *, drop: float) -> list[Tensor]:
        """Tokens int64 `[N,T]` of a caption of each picture, by tokenizer; in `drop` of the cases empty."""
        if self._table is not None:
            rows = self._table[chosen, rng.integers(0, DRAWN, len(chosen))].astype(np.int64)
        else:
            rows = _ids(self.tokenizers, [self.data.random_caption(int(i), rng) for i in chosen])
        return self._split(np.where(rng.random((len(rows), 1)) < drop, self._empty, rows))


def _ids(tokenizers: Sequence[Any], texts: list[str]) -> NDArray[np.int64]:
    """int64 `[N,T]`: the tokens of all tokenizers, one after the other."""
    read = [tokenizer(texts, padding="max_length", truncation=True).input_ids for tokenizer in tokenizers]
    return np.concatenate([np.asarray(ids, dtype=np.int64) for ids in read], axis=1)


def _table(data: Dataset, tokenizers: tuple[Any, ...], path: Path) -> NDArray[np.int16]:
    """int16 `[N,DRAWN,T]`."""
    if not path.is_file():
        parts = np.array_split(np.arange(len(data)), max(1, len(data) // 2000))
        with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
            made = list(pool.map(_part, [data.folder] * len(parts), [tokenizers] * len(parts), parts))
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.concatenate(made))
        partial.replace(path)
    return np.load(path)


def _part(dataset: Path, tokenizers: tuple[Any, ...], numbers: NDArray[np.intp]) -> NDArray[np.int16]:
    data, rng = Dataset(dataset), np.random.default_rng([11, int(numbers[0])])
    texts = [data.random_caption(int(i), rng) for i in numbers for _ in range(DRAWN)]
    ids = _ids(tokenizers, texts).astype(np.int16)
    return ids.reshape(len(numbers), DRAWN, -1)
