"""The ledger: experiments run, effects estimated, verdicts given by the rules that stood before.

    from benchmarks.claims.ledger import write_ledger
    ledger = write_ledger(Settings(), "outputs/claims", only=("spatialid",))

writes into the folder

    ledger.json   everything, see `SCHEMA` and `entry_of`
    ledger.md     a table per paper, and how each claim was operationalised
    ledger.html   the same as a page by itself; `page.section` is the part that a report takes in
    runs/         the harness's own run folders, one per experiment and set of weights
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.claims.effects import Table, estimate, means
from benchmarks.claims.read import choose, read_claims
from benchmarks.claims.rules import Estimate, in_words, judge
from benchmarks.claims.study import Measured, Settings, Study, check_weights, cost
from benchmarks.claims.types import VERDICTS, Catalogue, Claim, Experiment, Verdict
from benchmarks.description import plain
from benchmarks.fingerprint import describe_backbone, differences
from benchmarks.live import Observer
from benchmarks.metrics.models.zoo import check_models
from benchmarks.schema import FAILURES
from benchmarks.statistics import DRAWS, LEVEL, METHOD, SEED, holm
from methods.errors import SpidError, UsageError
from methods.files import save_json, write_bytes
from methods.registry import method_names

SCHEMA = 1
"""Of ledger.json: {"schema", "backbone", "settings", "statistics", "counts": {verdict: claims},
"claims": [one `entry_of` each, in reading order], "experiments": [{"name", "title", "kind", "axis", "suite",
"sets", "on_request", "variants", "cost", "runs", "statuses", "means"}]}; means: variant -> metric -> {"mean",
"low", "high", "n"}."""

Ledger = dict[str, Any]
DECIMALS = 6
_NOT_RUN = "it has not been run yet"


def write_ledger(
    settings: Settings,
    output: str | os.PathLike[str],
    *,
    only: Sequence[str] = (),
    catalogue: Catalogue | None = None,
    observers: Callable[[], Observer] = Observer,
    log: Callable[[str], object] = lambda line: None,
) -> Ledger:
    """Measure claims and write the ledger; what the folder's ledger already holds of others is kept.

    only: claims by id, paper or pattern, or `all`; () for all but those that run on request only

    Raises UsageError for an unknown claim, unknown weights, or a folder with a ledger of other settings.
    """
    catalogue = catalogue or read_claims()
    wanted = {claim.id for claim in (choose(catalogue, only) if only else catalogue.claims)}
    folder = Path(output)
    old = read_ledger(folder) if (folder / "ledger.json").is_file() else None
    if old is not None:
        settings = _continued(settings, old, folder)
    check_weights(settings.weights, catalogue.experiments.values())
    study = Study(settings, folder, observers=observers)
    catalogue = catalogue.on(study.family)
    check_models(study.backbone.family, settings.models)
    backbone = describe_backbone(study.backbone)
    if old is not None and old["backbone"] != plain(backbone):
        log(f"the ledger in {folder} is of other weights or code of the backbone: it begins anew")
    ledger = _begin(catalogue, study, backbone, old)
    save_ledger(folder, ledger)
    for experiment in catalogue.experiments.values():
        claims = [claim for claim in catalogue.of(experiment.name) if claim.id in wanted]
        if experiment.on_request and not (only and claims):
            waiting = catalogue.of(experiment.name)
            _settle(ledger, waiting, _on_request(study, experiment, waiting), over=False)
            continue
        if not claims:
            continue
        log(f"{experiment.name}: {experiment.title}")
        every = len(claims) == len(catalogue.of(experiment.name))
        try:
            measured = _measure(study, experiment, claims, every=every)
        except SpidError as error:
            _settle(ledger, claims, str(error))
            log(f"{experiment.name} was not measured: {error}")
        else:
            _record(ledger, study, experiment, claims, measured, log)
        save_ledger(folder, ledger)
    save_ledger(folder, ledger)
    return ledger


def judge_again(output: str | os.PathLike[str], catalogue: Catalogue | None = None) -> Ledger:
    """Verdicts anew, by the present rules, from the figures of a folder's ledger; measures nothing.

    A claim that asks another question than it did when it was measured is not measured any more. Experiments
    keep what the ledger says of them. Raises UsageError when the folder has no ledger.
    """
    catalogue = catalogue or read_claims()
    folder = Path(output)
    ledger = read_ledger(folder)
    ledger["claims"] = _entries(catalogue, ledger["claims"], ledger["backbone"]["family"])
    save_ledger(folder, ledger)
    return ledger


def read_ledger(folder: str | os.PathLike[str]) -> Ledger:
    """ledger.json of a folder. Raises UsageError when there is none, or of another schema."""
    file = Path(folder) / "ledger.json"
    try:
        content = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"There is no ledger in {folder}.", hint="spid claims writes one.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}.", hint="Give another --output.") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise UsageError(f"{file} is no ledger of schema {SCHEMA}.", hint="Give another --output.")
    return content


def save_ledger(folder: Path, ledger: Ledger) -> None:
    """ledger.json, ledger.md and ledger.html."""
    from benchmarks.claims.page import page
    from benchmarks.claims.tables import as_markdown

    found = [entry["verdict"] for entry in ledger["claims"]]
    ledger["counts"] = {verdict: found.count(verdict) for verdict in VERDICTS}
    _correct(ledger)
    save_json(folder / "ledger.json", ledger)
    write_bytes(folder / "ledger.md", as_markdown(ledger).encode())
    write_bytes(folder / "ledger.html", page(ledger).encode())


def entry_of(claim: Claim, family: str) -> dict[str, Any]:
    """A claim as ledger.json has it, before it is measured.

    verdict: one of VERDICTS; reason: why. result: `rules.Estimate` with p_holm and the `smallest` effect that
    its units could have shown, None without one. runs: the folders that it was measured in.
    definition: digest of all that was settled before the data; another digest is another claim.
    """
    effect = asdict(claim.effect) | {"metric": claim.effect.metric_for(family)}
    return plain(
        {
            "id": claim.id,
            "title": claim.title,
            "paper": claim.paper.title,
            "arxiv": claim.paper.arxiv,
            "statement": claim.statement,
            "source": claim.source,
            "published": claim.published,
            "operationalised": claim.operationalised,
            "experiment": claim.experiment,
            "effect": effect,
            "rule": asdict(claim.rule) | {"text": in_words(claim.rule, ratio=claim.effect.ratio)},
            "people": claim.people,
            "definition": claim.definition,
            "verdict": "not measured",
            "reason": _NOT_RUN,
            "result": None,
            "runs": [],
        }
    )


def decide(claim: Claim, measured: Measured, family: str) -> tuple[Verdict, str, Estimate | None]:
    """Verdict, reason and estimate of a claim from what its experiment gave."""
    for side in (claim.effect.treatment, claim.effect.control):
        if side in measured.unreachable:
            return "not measured", f"{side}: {measured.unreachable[side]}", None
    metric = claim.effect.metric_for(family)
    if metric is None:
        return "not measured", _no_metric(claim), None
    found = estimate(measured.table, claim.effect, metric)
    if isinstance(found, str):
        return "not measured", found, None
    return *judge(claim.rule, found, claim.people), found


def _measure(study: Study, experiment: Experiment, claims: Sequence[Claim], *, every: bool) -> Measured:
    able = [claim for claim in claims if claim.effect.metric_for(study.family) is not None]
    if not able:
        return Measured(Table())
    if experiment.kind == "suite":
        return study.run(experiment, able, every=every)
    from benchmarks.claims.measures import measure

    return measure(study, experiment, able, every=every)


def _continued(settings: Settings, old: Ledger, folder: Path) -> Settings:
    """The settings with the weights that the ledger's claims already had; UsageError when they differ.

    Weights that a claim waited for may join: nothing was measured with others in their place.
    """
    before = old["settings"]
    awaited = {name: path for name, path in settings.weights.items() if name not in method_names()}
    known = {**before, "weights": {**awaited, **before["weights"]}}
    settings = replace(settings, weights={**before["weights"], **settings.weights})
    if changed := differences(known, plain(settings.as_dict())):
        raise UsageError(
            f"{folder} holds a ledger with other settings: {'; '.join(changed[:8])}.",
            hint="Give another --output, or --resume to go on with its own settings.",
        )
    return settings


def _begin(catalogue: Catalogue, study: Study, backbone: Mapping[str, Any], old: Ledger | None) -> Ledger:
    """The ledger before this call's experiments: what an earlier call measured of the same claims."""
    kept: list[dict[str, Any]] = []
    blocks: dict[str, Any] = {}
    if old is not None and old["backbone"] == plain(backbone):
        kept = old["claims"]
        blocks = {block["name"]: block for block in old["experiments"]}
    return {
        "schema": SCHEMA,
        "backbone": plain(backbone),
        "settings": plain(study.settings.as_dict()),
        "statistics": {"level": LEVEL, "draws": DRAWS, "seed": SEED, "method": METHOD},
        "counts": {},
        "claims": _entries(catalogue, kept, study.family),
        "experiments": [blocks.get(one.name) or _block(study, one) for one in catalogue.experiments.values()],
    }


def _entries(catalogue: Catalogue, kept: Sequence[dict[str, Any]], family: str) -> list[dict[str, Any]]:
    """Every claim; those that `kept` measured by the same definition are judged again from its figures."""
    known = {entry["id"]: entry for entry in kept}
    entries = []
    for claim in catalogue.claims:
        entry, before = entry_of(claim, family), known.get(claim.id)
        same = before is not None and before["definition"] == entry["definition"]
        entries.append(entry | _again(claim, before) if before is not None and same else entry)
    return entries


def _block(study: Study, experiment: Experiment, measured: Measured | None = None) -> dict[str, Any]:
    """What ledger.json says of an experiment."""
    suite, sets = study.suite(experiment)
    unreachable = {} if measured is None else measured.unreachable
    return plain(
        {
            "name": experiment.name,
            "title": experiment.title,
            "kind": experiment.kind,
            "axis": experiment.axis,
            "suite": suite,
            "sets": list(sets),
            "on_request": experiment.on_request,
            "variants": [
                {**asdict(one), "unreachable": unreachable.get(one.name)} for one in experiment.variants
            ],
            "cost": cost(experiment, experiment.variants, study.load_suite(experiment), study.settings.limit),
            "runs": [] if measured is None else measured.runs,
            "statuses": {} if measured is None else measured.counts,
            "means": {},
        }
    )


def _record(
    ledger: Ledger,
    study: Study,
    experiment: Experiment,
    claims: Sequence[Claim],
    measured: Measured,
    log: Callable[[str], object],
) -> None:
    entries = {entry["id"]: entry for entry in ledger["claims"]}
    for claim in claims:
        verdict, reason, found = decide(claim, measured, study.family)
        entries[claim.id].update(
            verdict=verdict, reason=reason, result=_result(claim, found), runs=measured.runs
        )
    block = _block(study, experiment, measured)
    shown = list(dict.fromkeys(name for columns in measured.table.values.values() for name in columns))
    block["means"] = means(measured.table, shown)
    places = [one["name"] for one in ledger["experiments"]]
    ledger["experiments"][places.index(experiment.name)] = block
    if failed := sum(measured.counts.get(status, 0) for status in FAILURES):
        log(f"{experiment.name}: {failed} samples failed; see samples.jsonl in {', '.join(measured.runs)}")


def _again(claim: Claim, before: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict, reason, result and runs of a claim by its present rule, from a ledger's figures."""
    found = {name: before[name] for name in ("verdict", "reason", "result", "runs")}
    if before["result"] is not None:
        names = [field.name for field in fields(Estimate)]
        known = Estimate(**{name: before["result"][name] for name in names})
        found["verdict"], found["reason"] = judge(claim.rule, known, claim.people)
        found["result"] = _result(claim, known) | {"p_holm": before["result"]["p_holm"]}
    return found


def _result(claim: Claim, found: Estimate | None) -> Any:
    if found is None:
        return None
    smallest = found.smallest(ratio=claim.effect.ratio)
    return _rounded({**asdict(found), "smallest": smallest, "p_holm": None})


def _settle(ledger: Ledger, claims: Sequence[Claim], reason: str, *, over: bool = True) -> None:
    """Say why claims are not measured; over: also where an earlier call had measured them."""
    ids = {claim.id for claim in claims}
    for entry in ledger["claims"]:
        if entry["id"] in ids and (over or entry["verdict"] == "not measured"):
            entry.update(verdict="not measured", reason=reason, result=None, runs=[])


def _on_request(study: Study, experiment: Experiment, claims: Sequence[Claim]) -> str:
    found = cost(experiment, experiment.variants, study.load_suite(experiment), study.settings.limit)
    fits = f" and {found['fits']} fits ({found['steps']:,} steps in all)" if found["fits"] else ""
    asked = claims[0].paper.key if len(claims) > 1 else claims[0].id
    return f"it runs on request only: {found['pictures']:,} pictures{fits}; ask for it by --only {asked}"


def _no_metric(claim: Claim) -> str:
    families = ", ".join(claim.effect.metric)
    return f"its measure ({', '.join(claim.effect.metric.values())}) exists for {families} backbones only"


def _correct(ledger: Ledger) -> None:
    """Holm's correction over the claims of a difference that are measured; verdicts do not use it."""
    able = [
        entry["result"]
        for entry in ledger["claims"]
        if entry["result"] is not None and entry["rule"]["kind"] == "superior"
    ]
    values = np.array([np.nan if one["p"] is None else one["p"] for one in able], dtype=np.float64)
    for result, value in zip(able, holm(values), strict=True):
        result["p_holm"] = round(float(value), DECIMALS) if np.isfinite(value) else None


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {key: round(one, DECIMALS) if isinstance(one, float) else one for key, one in values.items()}
