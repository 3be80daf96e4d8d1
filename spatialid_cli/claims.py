"""`spid claims`: the papers' statements as hypotheses, measured, with verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spatialid_cli import console, options

_WHAT = "What to measure"
_MODEL = "Models"
_OUT = "Output"

_BESIDE_JUDGE = ("judge", "output", "as_json")
_BESIDE_RESUME = ("only", "resume", "output", "as_json")
"""All others are settled by the ledger in the folder."""


def claims(
    context: typer.Context,
    only: Annotated[
        str | None,
        typer.Option(
            help="Claims: a paper (spatialid), an id (facewise/attention), a pattern (*/identity), or all. "
            "Those that take hours run only when they are named here.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    list_only: Annotated[
        bool,
        typer.Option(
            "--list", help="Print the claims, their rules and costs; run nothing.", rich_help_panel=_WHAT
        ),
    ] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Suite or YAML file instead of each experiment's own.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    limit: Annotated[int | None, options.limit(_WHAT)] = None,
    steps: Annotated[int | None, options.steps(_WHAT)] = None,
    backbone: Annotated[str, options.backbone(_MODEL)] = "pocket",
    face_encoder: Annotated[str | None, options.face_encoder(_MODEL)] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="name=weights: of a method, or those that a claim asks for. Repeatable.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    model: Annotated[list[str] | None, options.model(_MODEL)] = None,
    device: Annotated[str | None, options.device(_MODEL)] = None,
    dtype: Annotated[str | None, options.dtype(_MODEL)] = None,
    cpu_offload: Annotated[bool, options.cpu_offload(_MODEL)] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the ledger in --output and its own settings.", rich_help_panel=_OUT
        ),
    ] = False,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge",
            help="Judge the ledger in --output again by today's rules, from its figures; measure nothing.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder.", rich_help_panel=_OUT)] = Path("outputs/claims"),
    as_json: Annotated[bool, options.as_json(_OUT)] = False,
) -> None:
    """Test the papers' claims and print the ledger.

    The same command takes up what was interrupted. Claims that are not named keep what the ledger says.
    """
    chosen = tuple(part.strip() for part in (only or "").split(",") if part.strip())
    if list_only:
        _list(chosen, limit, as_json)
        return
    options.check_output(output)
    if judge:
        options.refuse_others(
            context,
            _BESIDE_JUDGE,
            "--judge measures nothing",
            "Leave out --judge to measure.",
        )
        from benchmarks.claims.ledger import judge_again

        _print(judge_again(output), output, (), as_json)
        return
    from benchmarks.claims.ledger import read_ledger, write_ledger
    from benchmarks.claims.study import Settings
    from benchmarks.live import display
    from spatialid_cli.request import collect_backbone, collect_pairs

    if resume:
        options.refuse_others(
            context,
            _BESIDE_RESUME,
            "--resume repeats the ledger's own settings",
            "Leave out --resume to give them again; differences are then named.",
        )
        settings = Settings(**read_ledger(output)["settings"])
    else:
        settings = Settings(
            backbone=collect_backbone(
                backbone,
                {
                    "device": device,
                    "dtype": dtype,
                    "cpu_offload": cpu_offload,
                    "face_encoder": face_encoder,
                },
            ),
            suite=suite,
            limit=limit,
            steps=steps,
            weights=collect_pairs("--weights", weights or [], "uniform=weights.bin"),
            models=collect_pairs("--model", model or [], "clip=ViT-L-14:openai"),
        )
    ledger = write_ledger(settings, output, only=chosen, observers=display, log=console.log)
    _print(ledger, output, chosen, as_json)


def _print(ledger: dict[str, Any], output: Path, chosen: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        console.out_json(ledger)
        return
    from benchmarks.claims.tables import COLUMNS, rows, summary

    shown = _named(chosen)
    console.out_table(COLUMNS, [row for row in rows(ledger) if shown is None or row[0] in shown])
    console.out()
    console.out_fields({"ledger": str(output / "ledger.html"), "verdicts": summary(ledger)})
    for reason, count in _reasons(ledger, shown).items():
        console.warn(f"{count} not measured: {reason}")


def _named(chosen: tuple[str, ...]) -> set[str] | None:
    """Ids of the claims that were asked for by name; None for all of them."""
    from benchmarks.claims.read import choose, read_claims

    return {claim.id for claim in choose(read_claims(), chosen)} if chosen else None


def _reasons(ledger: dict[str, Any], shown: set[str] | None) -> dict[str, int]:
    """Why claims were not measured, and how many for each reason."""
    found: dict[str, int] = {}
    for entry in ledger["claims"]:
        if entry["verdict"] == "not measured" and (shown is None or entry["id"] in shown):
            found[entry["reason"]] = found.get(entry["reason"], 0) + 1
    return found


def _list(only: tuple[str, ...], limit: int | None, as_json: bool) -> None:
    """Claims with rules; experiments with what they cost."""
    from dataclasses import asdict

    from benchmarks.claims.read import choose, read_claims
    from benchmarks.claims.rules import in_words
    from benchmarks.claims.study import cost
    from benchmarks.suites import load_suite

    catalogue = read_claims()
    chosen = choose(catalogue, only) if only else list(catalogue.claims)
    if as_json:
        console.out_json([{**asdict(one), "definition": one.definition} for one in chosen])
        return
    console.out_table(
        ["claim", "title", "replicated if", "experiment"],
        [[one.id, one.title, in_words(one.rule, ratio=one.effect.ratio), one.experiment] for one in chosen],
    )
    console.out()
    lines = []
    for name in dict.fromkeys(one.experiment for one in chosen):
        experiment = catalogue.experiments[name]
        found = cost(
            experiment, experiment.variants, load_suite(experiment.suite, sets=experiment.sets), limit
        )
        when = "on request" if experiment.on_request else "always"
        lines.append([name, when, *(f"{found[key]:,}" for key in ("pictures", "fits", "steps"))])
    console.out_table(["experiment", "runs", "pictures", "fits", "steps of all fits"], lines)
