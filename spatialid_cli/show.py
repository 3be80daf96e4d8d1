"""`spid show`: what a picture says about how it was made, by spid, A1111 or ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spatialid_cli import console, options


def show(
    picture: Annotated[
        Path, typer.Argument(help="A picture that spid, A1111 or ComfyUI made.", show_default=False)
    ],
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Print how a picture was made."""
    import json

    from methods.errors import UsageError
    from methods.images import read_metadata

    found = read_metadata(picture)
    if as_json:
        console.out_json({"file": str(picture), **found})
        return
    if found["other"] is not None:
        console.out_fields({name.replace("_", " "): str(value) for name, value in found["other"].items()})
        return
    if found["spid"] is None and found["parameters"] is None:
        raise UsageError(
            f"{picture}: carries no description of how it was made.",
            hint="Pictures of spid, A1111 and ComfyUI do; other programs and messengers remove it.",
        )
    if found["parameters"] is not None:
        console.out(found["parameters"])
    if found["spid"] is not None:
        console.out()
        console.out(json.dumps(found["spid"], indent=2, ensure_ascii=False))
        if "method" in found["spid"]:
            console.log(f"reproduce it with: spid generate --from {picture}")
