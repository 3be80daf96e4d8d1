"""`spid doctor`: what is installed, what it runs on, what is missing and the exact line that mends it."""

from __future__ import annotations

from typing import Annotated

import typer

from spatialid_cli import console, options


def doctor(
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Check the installation and say how to mend it.

    Exits with 1 when something needed is missing or broken.
    """
    from spatialid_cli.diagnosis import diagnose

    found = diagnose()
    if as_json:
        console.out_json(
            {
                "facts": {section: dict(facts) for section, facts in found.facts.items()},
                "problems": [{"what": item.what, "fix": item.fix} for item in found.problems],
                "optional": [{"what": item.what, "fix": item.fix} for item in found.optional],
            }
        )
    else:
        for section, facts in found.facts.items():
            console.out(section)
            console.out_fields({f"  {name}": value for name, value in facts.items()})
            console.out()
        for title, items in (("missing, optional", found.optional), ("problems", found.problems)):
            if items:
                console.out(title)
                for item in items:
                    console.out(f"  {item.what}")
                    console.out(f"    fix: {item.fix}")
                console.out()
        if not found.problems:
            console.out("everything needed is in place")
    if found.problems:
        raise typer.Exit(1)
