"""`spid metrics`: which metrics there are, and what exactly one measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spatialid_cli import console, options

if TYPE_CHECKING:
    from benchmarks.metrics.base import MetricInfo

_PHOTOGRAPHS = {
    "mean": "compares with every photograph of a person; their mean counts",
    "first": "compares with the first photograph of a person",
    None: "compares with none",
}
_ARROWS = {"higher": "up", "lower": "down", "none": "-"}


def list_metrics(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Describe one metric, or list a selection: default, compat:ibench, all.", show_default=False
        ),
    ] = None,
    family: Annotated[
        str,
        typer.Option("--backbone-family", help="Whose models: pocket, pocket-flux, sd1, sd2, sdxl, flux."),
    ] = "pocket",
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """List the metrics, or describe one.

    Definition, direction, range, model, licence, and what is missing.
    """
    from benchmarks.description import fault_lines
    from benchmarks.metrics.catalogue import SELECTIONS, describe, faults, missing, select
    from benchmarks.metrics.plugins import all_extractors
    from methods.errors import unknown_name

    families = ("pocket", "pocket-flux", "sd1", "sd2", "sdxl", "flux")
    if family not in families:
        raise unknown_name("--backbone-family", family, families)
    models = all_extractors(family)
    chosen = select(name or "all", family)
    found = [(describe(metric, models), missing(metric, models)) for metric in chosen]
    if as_json:
        from benchmarks.description import card

        console.out_json([card(info, reason) for info, reason in found])
    elif name is not None and name not in SELECTIONS and len(found) == 1:
        _print_card(*found[0])
    else:
        rows = [
            [info.name, _ARROWS[info.direction], info.level, info.title, "" if reason is None else "missing"]
            for info, reason in found
        ]
        console.out_table(["metric", "better", "of each", "what it is", "here"], rows)
        console.log("spid metrics NAME prints definition, model, licence, and what is missing.")
    if name is None:
        for line in fault_lines(faults("all")):
            console.warn(line)


def _print_card(info: MetricInfo, reason: str | None) -> None:
    from textwrap import fill

    console.out(f"{info.name}: {info.title}")
    console.out()
    console.out(fill(info.definition, width=100))
    console.out()
    console.out_fields(
        {
            "better": {"none": "neither way"}.get(info.direction, info.direction),
            "range": f"{info.range[0]:g} to {info.range[1]:g}",
            "of each": {"sample": "picture", "set": "method"}[info.level],
            "model": f"{info.model or 'none'}{f' ({info.weights})' if info.weights else ''}",
            "picture": info.preprocessing or "as it is",
            "photographs": _PHOTOGRAPHS[info.photographs],
            "source": info.source,
            "licence": info.licence or "none needed",
            "published": f"as {info.compat} computes it, faults included" if info.compat else "no",
            "here": "available" if reason is None else f"missing. {reason}",
        }
    )
