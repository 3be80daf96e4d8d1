"""`spid suites`: which suites there are, and what one consists of."""

from __future__ import annotations

from typing import Annotated

import typer

from spatialid_cli import console, options


def list_suites(
    name: Annotated[
        str | None, typer.Argument(help="Show one suite, by name or YAML file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """List the suites, or show what one consists of."""
    from dataclasses import asdict

    from benchmarks.live import printable
    from benchmarks.suites import SUITES, load_suite, suite_names

    if name is not None:
        suite = load_suite(name)
        if as_json:
            console.out_json(asdict(suite))
            return
        console.out_fields(
            {
                "name": f"{suite.name} (version {suite.version})",
                "what": suite.description,
                "seeds": ", ".join(map(str, suite.seeds)),
                "methods": ", ".join(suite.methods) or "all",
                "metrics": suite.metrics if isinstance(suite.metrics, str) else ", ".join(suite.metrics),
                "pictures": f"{suite.pairs} per method",
            }
        )
        for one in suite.sets:
            console.out()
            who = f"{one.casts} {'groups of people' if one.groups else 'people'}"
            console.out(f"{one.name}: {who} x {len(one.prompts)} prompts")
            rows = [[prompt.id, prompt.category, printable(prompt.text)] for prompt in one.prompts]
            console.out_table(["prompt", "category", "text"], rows)
        return
    suites, faults = [], {}
    for known in suite_names():
        try:
            suites.append((known, load_suite(known)))
        except Exception as error:
            if (origin := SUITES.origin(known)) is None:
                raise
            faults[known] = f"the suite {known!r} of the package {origin} cannot be listed: {error}"
    if as_json:
        console.out_json(
            [{"name": name, "description": one.description, "pictures": one.pairs} for name, one in suites]
        )
    else:
        rows = [[name, str(len(one.sets)), str(one.pairs), one.description] for name, one in suites]
        console.out_table(["suite", "sets", "pictures per method", "what it is"], rows)
        console.log("spid suites NAME shows one; a YAML file of the same form is a suite of yours.")
    for fault in faults.values():
        console.warn(fault)
