"""`spid methods`: which methods there are, and the card of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spatialid_cli import console, options

if TYPE_CHECKING:
    from methods.contract import MethodInfo


def list_methods(
    name: Annotated[
        str | None, typer.Argument(help="Print the card of one method.", show_default=False)
    ] = None,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """List the methods, or print the card of one."""
    from dataclasses import asdict

    from methods.registry import METHODS, method_info, origin
    from methods.settings import families_tuned

    if name is not None:
        info = method_info(name)
        if as_json:
            console.out_json({**asdict(info), **_package(name), "tuned": families_tuned(name)})
        else:
            _print_card(info)
        return
    faults = {one.name: one for one in METHODS.plug_ins() if one.fault is not None}
    cards = [method_info(known) for known in METHODS.names() if known not in faults or origin(known) is None]
    if as_json:
        console.out_json([{**asdict(card), **_package(card.name)} for card in cards])
    else:
        rows = [[card.name, card.title, card.kind, card.status, card.licence] for card in cards]
        console.out_table(["method", "what it is", "kind", "source", "licence"], rows)
        console.log("spid methods NAME prints paper, equations and needs of one.")
    for one in faults.values():
        console.warn(f"the plug-in {one.name!r} of the package {one.origin} is left out: {one.fault}")


def _package(name: str) -> dict[str, str | None]:
    """Package and version of a plug-in, both None for a built-in method."""
    from methods.registry import origin

    found = origin(name)
    return {"package": None, "version": None} if found is None else found._asdict()


def _print_card(info: MethodInfo) -> None:
    from textwrap import fill

    from methods.registry import origin
    from methods.settings import families_tuned

    console.out(f"{info.name}: {info.title}")
    console.out()
    console.out(fill(" ".join(info.summary.split()), width=100))
    console.out()
    package = origin(info.name)
    paper = f"{info.paper} (arXiv {info.arxiv})" if info.arxiv else info.paper
    console.out_fields(
        {
            "paper": paper,
            "source": info.status,
            "kind": info.kind,
            "licence": info.licence,
            "package": f"{package or 'spid'}",
            "needs": ", ".join(info.needs) or "nothing",
            "hooks": ", ".join(info.hooks) or "none",
            **{
                f"on {family}": ", ".join(f"{key} {value}" for key, value in tuned.items())
                + " (ours; --set settings=published for the paper's)"
                for family, tuned in families_tuned(info.name).items()
            },
        }
    )
    console.out()
    console.out(info.equations.strip("\n"))
