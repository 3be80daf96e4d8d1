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

    from methods.registry import method_info, method_names

    if name is not None:
        info = method_info(name)
        if as_json:
            console.out_json(asdict(info))
        else:
            _print_card(info)
        return
    cards = [method_info(known) for known in method_names()]
    if as_json:
        console.out_json([asdict(card) for card in cards])
        return
    rows = [[card.name, card.title, card.kind, card.status, card.licence] for card in cards]
    console.out_table(["method", "what it is", "kind", "source", "licence"], rows)
    console.log("spid methods NAME prints paper, equations and needs of one.")


def _print_card(info: MethodInfo) -> None:
    from textwrap import fill

    console.out(f"{info.name}: {info.title}")
    console.out()
    console.out(fill(" ".join(info.summary.split()), width=100))
    console.out()
    paper = f"{info.paper} (arXiv {info.arxiv})" if info.arxiv else info.paper
    console.out_fields(
        {
            "paper": paper,
            "source": info.status,
            "kind": info.kind,
            "licence": info.licence,
            "needs": ", ".join(info.needs) or "nothing",
            "backbones": ", ".join(info.backbones),
        }
    )
    console.out()
    console.out(info.equations.strip("\n"))
