"""Suites by name or file: `ibench`, `pocket`, `smoke`, those of `configs/suites`, and your own YAML.

Packages add suites by name through the entry-point group `spid.suites`; the value is the `Path` of a YAML
file, or a reader `read(data: Path | None) -> Suite` of a data set's own layout, where `data` is what
--data names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.ibench import read_checkout
from benchmarks.suites.read import read_suite
from benchmarks.suites.types import CATEGORIES, Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.errors import SpidError, UsageError, unknown_name
from methods.paths import configs_dir, user_path
from methods.plugins import Registry

__all__ = [
    "CATEGORIES", "SUITES", "Suite", "SuiteIdentity", "SuitePrompt", "SuiteSet",
    "load_suite", "read_checkout", "read_suite", "suite_names",
]  # fmt: skip


def _built_in() -> dict[str, str]:
    files = (configs_dir() / "suites").glob("*.yaml")
    return {path.stem: str(path) for path in sorted(files)}


def _fault(name: str, loaded: Any) -> str | None:
    if isinstance(loaded, Path):
        return None if loaded.is_file() else f"{loaded} is missing"
    return None if callable(loaded) else "it is neither the path of a YAML file nor a reader of suites"


Reader = Callable[[Path | None], Suite]
SUITES: Registry[Path | Reader] = Registry("suite", "spid.suites", _built_in(), _fault)


def suite_names() -> list[str]:
    """Names of the suites that come with the project, then those of plug-ins, each alphabetically."""
    return SUITES.names()


def load_suite(name: str, *, data: str | Path | None = None, sets: Sequence[str] = ()) -> Suite:
    """A suite by name, or from a YAML file.

    data: for `ibench`, a checkout of the public IBench repository, read as it is; for a plug-in's reader,
    whatever it reads
    sets: only these of its sets; for a checkout also `identities:prompts`

    Raises UsageError for an unknown name, set, or entry of a file, SpidError for a broken plug-in.
    """
    if name.endswith((".yaml", ".yml")):
        path = user_path(name)
    elif name in SUITES.built_in:
        path = Path(SUITES.built_in[name])
    else:
        found = SUITES.get(name)
        if not isinstance(found, Path):
            return _chosen(_read(name, found, data), sets)
        path = found
    suite = read_suite(path)
    if data is not None:
        if suite.name != "ibench":
            raise UsageError(f"The suite {suite.name!r} takes no --data.", hint="Only ibench does.")
        return read_checkout(data, suite, sets)
    return _chosen(suite, sets)


def _read(name: str, reader: Reader, data: str | Path | None) -> Suite:
    suite = reader(None if data is None else user_path(data))
    if not isinstance(suite, Suite):
        raise SpidError(
            f"The suite {name!r} (package {SUITES.origin(name)}) gave a {type(suite).__name__}.",
            hint="Its reader must give a benchmarks.suites.Suite.",
        )
    return suite


def _chosen(suite: Suite, sets: Sequence[str]) -> Suite:
    """The suite with these of its sets, or all of them."""
    if not sets:
        return suite
    known = {one.name: one for one in suite.sets}
    for wanted in sets:
        if wanted not in known:
            raise unknown_name(f"set of {suite.name}", wanted, known)
    from dataclasses import replace

    return replace(suite, sets=tuple(known[wanted] for wanted in dict.fromkeys(sets)))
