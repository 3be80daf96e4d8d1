"""`spid render`: pictures of pocket people, so that the first run needs no photograph of anyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spatialid_cli import console, options

if TYPE_CHECKING:
    from methods.pocket.world import Context, Person, Portrait

MAX_SIZE = 4096


def _factor(name: str) -> Any:
    return typer.Option(help=f"Fix the {name}.", show_default=False, rich_help_panel="What is in the picture")


def render(
    person: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of a person, 0 or more; repeatable.", min=0, max=2**63 - 1, show_default="0"
        ),
    ] = None,
    celebrity: Annotated[
        list[str] | None,
        typer.Option(help="Name of a celebrity (see --list), whom the backbone knows; repeatable."),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Pictures per person: a plain one, then varied ones.", min=1, max=10_000)
    ] = 1,
    size: Annotated[int, typer.Option(help="Width and height in pixels.", min=64, max=MAX_SIZE)] = 512,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("people"),
    scene: Annotated[str | None, _factor("scene")] = None,
    clothing: Annotated[str | None, _factor("clothing")] = None,
    clothing_color: Annotated[str | None, _factor("colour of the clothing")] = None,
    expression: Annotated[str | None, _factor("expression")] = None,
    accessory: Annotated[str | None, _factor("accessory")] = None,
    action: Annotated[str | None, _factor("action")] = None,
    pose: Annotated[str | None, _factor("pose")] = None,
    light: Annotated[str | None, _factor("light")] = None,
    framing: Annotated[str | None, _factor("framing")] = None,
    style: Annotated[str | None, _factor("style")] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Print what can be chosen and the celebrities' names.")
    ] = False,
    describe: Annotated[
        bool, typer.Option("--describe", help="Print what the people look like, in words; draw nothing.")
    ] = False,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Render pocket people to try things on.

    They are the only people whom the pocket models know. Every picture carries its ground truth.
    """
    if show_list:
        _print_list(as_json)
        return
    if describe:
        _describe(list(_people(person or [], celebrity or [])), as_json)
        return
    fixed = {
        "scene": scene,
        "clothing": clothing,
        "clothing_color": clothing_color,
        "expression": expression,
        "accessory": accessory,
        "action": action,
        "pose": pose,
        "light": light,
        "framing": framing,
        "style": style,
    }
    chosen = {name: value for name, value in fixed.items() if value is not None}
    _check_factors(chosen)
    options.check_output(output)
    people = list(_people(person or [], celebrity or []))

    from methods.images import picture_hash, save_png
    from methods.pocket.world import caption
    from methods.pocket.world import render as draw

    written = []
    for label, who, truth in people:
        for index, context in enumerate(_contexts(truth["seed"], count, chosen)):
            portrait = draw(who, context, size)
            path = output / (f"{label}.png" if index == 0 else f"{label}-{index:02d}.png")
            text = caption(who, context, name=truth["celebrity"])
            save_png(path, _picture(portrait), parameters=text, job=_truth(portrait, truth, text))
            written.append({"file": str(path), "sha256": picture_hash(path), "caption": text, **truth})
            if not as_json:
                console.out(f"{path}  {text}")
    if as_json:
        console.out_json(written)


def _people(seeds: list[int], names: list[str]) -> Iterator[tuple[str, Person, dict[str, Any]]]:
    """File label, person and the start of the truth for everyone asked for; person 0 when nobody was."""
    from methods.errors import unknown_name
    from methods.pocket.world import sample_person
    from methods.pocket.world.names import NAMED

    by_lower = {name.lower(): name for name in NAMED}
    for name in names:
        if (known := by_lower.get(" ".join(name.replace("-", " ").lower().split()))) is None:
            raise unknown_name("celebrity", name, NAMED, listing="spid render --list prints them all.")
        number = list(NAMED).index(known)
        yield known.lower().replace(" ", "-"), NAMED[known], {"celebrity": known, "seed": number}
    for seed in seeds or ([] if names else [0]):
        yield f"person-{seed:04d}", sample_person(seed), {"celebrity": None, "seed": seed}


def _describe(people: list[tuple[str, Person, dict[str, Any]]], as_json: bool) -> None:
    """The canonical description of everyone asked for."""
    from methods.pocket.world.looks import description

    if as_json:
        console.out_json([{**truth, "description": description(who)} for _, who, truth in people])
        return
    console.out_fields({label: description(who) for label, who, _ in people})


def _contexts(seed: int, count: int, chosen: dict[str, str]) -> Iterator[Context]:
    import numpy as np

    from methods.pocket.references import PLAIN
    from methods.pocket.world import Context, sample_context

    yield Context.from_dict({**PLAIN, **chosen, "nuisance": 0})
    for index in range(1, count):
        yield sample_context(np.random.default_rng((seed, index)), **chosen)


def _check_factors(chosen: dict[str, str]) -> None:
    from methods.errors import unknown_name
    from methods.pocket.world import FACTORS

    for name, value in chosen.items():
        if value not in FACTORS[name]:
            raise unknown_name(f"--{name.replace('_', '-')}", value, FACTORS[name])


def _picture(portrait: Portrait) -> Any:
    from PIL import Image

    return Image.fromarray(portrait.pixels)


def _truth(portrait: Portrait, truth: dict[str, Any], text: str) -> dict[str, Any]:
    """What the picture shows, exactly: the ground truth that no photograph has."""
    return {
        "kind": "render",
        **truth,
        "caption": text,
        "person": portrait.person.to_dict(),
        "context": portrait.context.to_dict(),
        "box": [round(float(value), 2) for value in portrait.box],
        "landmarks": [[round(float(value), 2) for value in point] for point in portrait.landmarks],
    }


def _print_list(as_json: bool) -> None:
    from methods.pocket.world import FACTORS
    from methods.pocket.world.names import NAMED

    if as_json:
        console.out_json({"factors": FACTORS, "celebrities": list(NAMED)})
        return
    console.out_fields({f"--{name.replace('_', '-')}": ", ".join(values) for name, values in FACTORS.items()})
    console.out()
    names = list(NAMED)
    rows = [", ".join(names[start : start + 6]) for start in range(0, len(names), 6)]
    console.out_fields({"--celebrity": ",\n".join(rows)})
