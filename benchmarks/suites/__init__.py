"""Suites by name or file: `ibench`, `pocket`, `smoke`, those of `configs/suites`, and your own YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.suites.ibench import read_checkout
from benchmarks.suites.read import read_suite
from benchmarks.suites.types import CATEGORIES, Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.errors import UsageError, unknown_name
from methods.paths import configs_dir

__all__ = [
    "CATEGORIES", "Suite", "SuiteIdentity", "SuitePrompt", "SuiteSet",
    "load_suite", "read_checkout", "read_suite", "suite_names",
]  # fmt: skip


def suite_names() -> list[str]:
    """Names of the suites that come with the project, alphabetically."""
    return sorted(path.stem for path in (configs_dir() / "suites").glob("*.yaml"))


def load_suite(name: str, *, data: str | Path | None = None, sets: Sequence[str] = ()) -> Suite:
    """A suite by name, or from a YAML file.

    data: for `ibench`, a checkout of the public IBench repository, read as it is
    sets: only these of its sets; for a checkout also `identities:prompts`

    Raises UsageError for an unknown name, set, or entry of a file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
    else:
        path = configs_dir() / "suites" / f"{name}.yaml"
        if not path.is_file() or path.parent != configs_dir() / "suites":
            raise unknown_name("suite", name, suite_names())
    suite = read_suite(path)
    if data is not None:
        if suite.name != "ibench":
            raise UsageError(f"The suite {suite.name!r} takes no --data.", hint="Only ibench does.")
        return read_checkout(data, suite, sets)
    if not sets:
        return suite
    known = {one.name: one for one in suite.sets}
    for wanted in sets:
        if wanted not in known:
            raise unknown_name(f"set of {suite.name}", wanted, known)
    from dataclasses import replace

    return replace(suite, sets=tuple(known[wanted] for wanted in dict.fromkeys(sets)))
