"""`spid ui`: a page to play with, for this machine alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spatialid_cli import console, options

_MODEL = "Models"


def ui(
    backbone: Annotated[str, options.backbone(_MODEL)] = "pocket",
    face_encoder: Annotated[str | None, options.face_encoder(_MODEL)] = None,
    device: Annotated[str | None, options.device(_MODEL)] = None,
    port: Annotated[
        int, typer.Option(help="Where the page is; 0 for any free one.", min=0, max=65535)
    ] = 7860,
    output: Annotated[
        Path | None, typer.Option(help="Folder for pictures; outputs/ by default.", show_default=False)
    ] = None,
) -> None:
    """Open a page: a photograph or a rendered person, prompts, methods side by side.

    It listens on this machine alone (127.0.0.1) and shares nothing. Ctrl-C ends it.
    """
    from methods.errors import MissingDependencyError, SpidError
    from methods.paths import default_output_dir
    from spatialid_cli.playground import Studio
    from spatialid_cli.request import collect_backbone

    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "spid ui needs Gradio.", hint=f'{sys.executable} -m pip install "spid[ui]"'
        ) from error
    if output is not None:
        options.check_output(output)
    flags = {"device": device, "face_encoder": face_encoder}
    words = [] if backbone == "pocket" else ["--backbone", backbone]
    for name, value in flags.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}", value]
    studio = Studio(collect_backbone(backbone, flags), words)
    from spatialid_cli.page import serve

    console.log("loading")
    studio.backbone()
    try:
        serve(studio, output or default_output_dir(), port, lambda url: console.out(url))
    except OSError as error:
        raise SpidError(f"--port {port}: {error}.", hint="Give another --port, or 0 for any.") from error
