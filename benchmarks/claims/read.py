"""Claims from `configs/claims/*.yaml`: strictly, every mistake named with its place. Imports no torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims.types import Catalogue, Claim, Experiment
from methods.config import build, load_yaml
from methods.errors import UsageError, unknown_name
from methods.paths import configs_dir
from methods.registry import method_names


@dataclass(frozen=True)
class _File:
    """Entries are those of `Experiment` and `Claim`; the variants of one are a mapping by name."""

    paper: str
    arxiv: str
    experiments: tuple[dict[str, Any], ...]
    claims: tuple[dict[str, Any], ...]


def read_claims(folder: str | Path | None = None) -> Catalogue:
    """Every claim of a folder's YAML files, in the order of the methods; None for those of the project.

    Raises UsageError, naming file and entry.
    """
    claims: list[Claim] = []
    experiments: dict[str, Experiment] = {}
    found = (configs_dir() / "claims" if folder is None else Path(folder)).glob("*.yaml")
    order = {name: at for at, name in enumerate(method_names())}
    files = sorted(found, key=lambda path: (order.get(path.stem, len(order)), path.stem))
    if not files:
        raise UsageError(f"There are no claims in {folder}.", hint="Name a folder with YAML files of claims.")
    for path in files:
        file = build(_File, load_yaml(path), where=str(path))
        paper = {"key": path.stem, "title": file.paper, "arxiv": file.arxiv}
        for place, entry in enumerate(file.experiments):
            at = f"{path}: experiments[{place}]"
            one = _experiment(entry, at)
            if one.name in experiments:
                raise UsageError(f"{at}: the experiment {one.name!r} exists.", hint="Choose another name.")
            experiments[one.name] = one
        for place, entry in enumerate(file.claims):
            at = f"{path}: claims[{place}]"
            claim = _claim(entry, paper, experiments, at)
            if any(claim.id == known.id for known in claims):
                raise UsageError(f"{at}: the claim {claim.id!r} exists.", hint="Choose another id.")
            claims.append(claim)
    return Catalogue(tuple(claims), experiments)


def choose(catalogue: Catalogue, only: Sequence[str]) -> list[Claim]:
    """Claims by id, by paper (`spatialid`), by pattern (`*/identity`), or `all`, in reading order.

    Raises UsageError for a name that stands for no claim.
    """
    chosen: set[str] = set()
    for wanted in only:
        patterns = (wanted, f"{wanted}/*") if wanted != "all" else ("*",)
        found = {
            claim.id for claim in catalogue.claims if any(fnmatch.fnmatchcase(claim.id, p) for p in patterns)
        }
        if not found:
            papers = dict.fromkeys(claim.paper.key for claim in catalogue.claims)
            names = [*papers, "all", *(claim.id for claim in catalogue.claims)]
            raise unknown_name("claim", wanted, names, listing="spid claims --list lists them.")
        chosen |= found
    return [claim for claim in catalogue.claims if claim.id in chosen]


def _experiment(entry: Mapping[str, Any], at: str) -> Experiment:
    given = entry.get("variants")
    if not isinstance(given, dict):
        raise UsageError(f"{at}: variants is {given!r}.", hint="Write `name: method` lines.")
    variants = [
        {"name": name, **({"method": value} if isinstance(value, str) else _mapping(value, f"{at}: {name}"))}
        for name, value in given.items()
    ]
    return build(Experiment, {**entry, "variants": variants}, where=at)


def _claim(
    entry: Mapping[str, Any], paper: Mapping[str, str], experiments: Mapping[str, Experiment], at: str
) -> Claim:
    if "paper" in entry:
        raise UsageError(f"{at}: has a paper of its own.", hint="`paper` stands at the top of the file.")
    whole = (
        {**entry, "id": f"{paper['key']}/{entry['id']}"} if isinstance(entry.get("id"), str) else {**entry}
    )
    claim = build(Claim, {**whole, "paper": dict(paper)}, where=at)
    if claim.experiment not in experiments:
        raise unknown_name(f"experiment of {at}", claim.experiment, experiments)
    names = [one.name for one in experiments[claim.experiment].variants]
    for side in (claim.effect.treatment, claim.effect.control):
        if side not in [*names, "none"]:
            raise unknown_name(f"variant of {at}", side, [*names, "none"])
    return claim


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is {value!r}.", hint="Write `key: value` lines.")
    return value
