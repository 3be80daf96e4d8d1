"""Whatever a file or flag holds, spid answers in one line: the catch-all is for our own mistakes.

SPID_FUZZ=2000 SPID_FUZZ_SEED=7 pytest tests/fuzz
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import mangled, readers, texts

from methods.errors import SpidError

COUNT = int(os.environ.get("SPID_FUZZ", "400"))
SEED = int(os.environ.get("SPID_FUZZ_SEED", "0"))


def answer(read: Callable[[], object]) -> str | None:
    """What is wrong with the answer to an input; None for a reading or an error of ours in one line."""
    try:
        read()
    except SpidError as error:
        if "\n" in error.message or len(error.message) > 6000:
            return f"not a line: {error.message[:200]!r}"
    except Exception as error:  # what the catch-all would have to answer
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


@pytest.mark.parametrize("part", range(4))
def test_files(tmp_path: Path, part: int) -> None:
    rng = random.Random(f"{SEED} files {part}")
    known = readers(tmp_path)
    wrong = []
    for number in range(COUNT // 6):
        reader = rng.choice(known)
        path = tmp_path / reader.name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = mangled(rng, reader.good, reader.name)
        path.write_bytes(content)
        if (fault := answer(lambda reader=reader, path=path: reader.read(path))) is not None:
            wrong.append(f"{reader.name} ({number}): {fault}: {content[:120]!r}")
    assert not wrong, "\n".join(wrong)


def test_good_files_are_read(tmp_path: Path) -> None:
    for reader in readers(tmp_path):
        path = tmp_path / reader.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(reader.good)
        reader.read(path)


def test_flags() -> None:
    rng = random.Random(f"{SEED} flags")
    wrong = []
    for _ in range(COUNT // 3):
        what, read = texts(rng)
        if (fault := answer(read)) is not None:
            wrong.append(f"{what[:120]}: {fault}")
    assert not wrong, "\n".join(wrong)
