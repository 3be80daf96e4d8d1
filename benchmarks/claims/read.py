"""Claims from `configs/claims/*.yaml`: strictly, every mistake named with its place. Imports no torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks.claims.types import Catalogue, Claim, ClaimsFile, Experiment, Paper
from methods.config import build, load_yaml
from methods.errors import UsageError, unknown_name
from methods.paths import configs_dir
from methods.registry import method_names


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
        file = build(ClaimsFile, _plain(load_yaml(path), str(path)), where=str(path))
        paper = Paper(path.stem, " ".join(file.paper.split()), file.arxiv)
        for place, one in enumerate(file.experiments):
            if one.name in experiments:
                raise UsageError(
                    f"{path}: experiments[{place}]: the experiment {one.name!r} exists.",
                    hint="Choose another name.",
                )
            experiments[one.name] = one
        for place, statement in enumerate(file.claims):
            at = f"{path}: claims[{place}]"
            said = {each.name: getattr(statement, each.name) for each in fields(statement)}
            claim = Claim(**{**said, "id": f"{path.stem}/{statement.id}"}, paper=paper)
            _check(claim, experiments, at)
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


def _plain(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The content with variants as a list; a file writes them as a mapping by name."""
    claims, experiments = content.get("claims"), content.get("experiments")
    for place, entry in enumerate(claims if isinstance(claims, list) else ()):
        if isinstance(entry, dict) and "paper" in entry:
            raise UsageError(
                f"{where}: claims[{place}]: has a paper of its own.",
                hint="`paper` stands at the top of the file.",
            )
    if not isinstance(experiments, list):
        return dict(content)
    listed = [
        {**one, "variants": _variants(one.get("variants"), f"{where}: experiments[{place}]")}
        if isinstance(one, dict)
        else one
        for place, one in enumerate(experiments)
    ]
    return {**content, "experiments": listed}


def _variants(given: Any, at: str) -> list[dict[str, Any]]:
    if not isinstance(given, dict):
        raise UsageError(f"{at}: variants is {given!r}.", hint="Write `name: method` lines.")
    for name, value in given.items():
        if not isinstance(value, str | dict):
            raise UsageError(f"{at}: {name} is {value!r}.", hint="Write a method, or `key: value` lines.")
    return [
        {"name": name, **({"method": value} if isinstance(value, str) else value)}
        for name, value in given.items()
    ]


def _check(claim: Claim, experiments: Mapping[str, Experiment], at: str) -> None:
    """Raise UsageError for an experiment, or a variant of it, that is not there."""
    if claim.experiment not in experiments:
        raise unknown_name(f"experiment of {at}", claim.experiment, experiments)
    names = [one.name for one in experiments[claim.experiment].variants]
    for side in (claim.effect.treatment, claim.effect.control):
        if side not in [*names, "none"]:
            raise unknown_name(f"variant of {at}", side, [*names, "none"])
