"""The JSON schemas of suites, claims and the files of a run, from the types that read them.

They lie in benchmarks/schemas/*.schema.json.

python -m scripts.schemas
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.claims.types import ClaimsFile
from benchmarks.results import Results
from benchmarks.run_file import RunFile, SetsFile
from benchmarks.schema import Row
from benchmarks.suites.read import SuiteFile

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "schemas"
KINDS: dict[str, Any] = {
    "suite": SuiteFile,
    "claims": ClaimsFile,
    "run": RunFile,
    "sample": Row,
    "sets": SetsFile,
    "results": Results,
}


def text_of(kind: Any) -> str:
    """A type's schema (draft 2020-12) as the file holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(kind).json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def main() -> None:
    """Write them all."""
    for name, kind in KINDS.items():
        (FOLDER / f"{name}.schema.json").write_text(text_of(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
