"""sets.json: the metrics of whole methods, kept with the hash of the rows that they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.schema import SCHEMA
from benchmarks.store import RunFolder
from methods.files import save_json

if TYPE_CHECKING:
    from benchmarks.metrics.base import SampleView
    from benchmarks.metrics.evaluate import Evaluator


def write_sets(
    folder: RunFolder, evaluator: Evaluator, views: Mapping[str, Callable[[], Iterator[SampleView]]]
) -> bool:
    """Measure whole methods and write sets.json, unless one is there that belongs to these very samples.

    views: for every method by its label the samples to measure, one after the other
    returns whether anything was measured
    """
    if not any(info.level == "set" for info in evaluator.infos):
        return False
    samples = hashlib.sha256((folder.path / "samples.jsonl").read_bytes()).hexdigest()
    file = folder.path / "sets.json"
    try:
        if json.loads(file.read_bytes())["samples"] == samples:
            return False
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = {
        label: {name: asdict(one) for name, one in evaluator.score_set(of()).items()}
        for label, of in views.items()
    }
    save_json(file, {"schema": SCHEMA, "samples": samples, "methods": found})
    return True
