"""Options that several commands have: one wording and one range for each; and checks of some.

`steps: Annotated[int | None, options.steps(PANEL)] = None`: the panel is the heading of `--help` under which
the option stands.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from methods.aliases import dtype_name, scheduler_name
from methods.errors import UsageError
from methods.paths import user_path


class Command(TyperCommand):
    """A command that expands the `~` of every path flag: a shell leaves that of `--output=~/x` to us."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = list(super().parse_args(ctx, args))
        for name, value in ctx.params.items():
            ctx.params[name] = _expanded(value)
        return rest


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return user_path(value)
    if isinstance(value, list | tuple):
        return type(value)(_expanded(one) for one in value)
    return value


def refuse_others(context: typer.Context, alongside: Collection[str], why: str, hint: str) -> None:
    """Raise UsageError when the command line has a flag of a parameter that is not in `alongside`.

    why: begins the message, as `--from makes the same picture again`; the flags that were given end it
    """
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name is not None
        and parameter.name not in alongside
        and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(f"{why} and takes no {', '.join(given)}.", hint=hint)


def check_output(folder: Path) -> None:
    """Raise UsageError for an --output that cannot become a folder, before any work is done."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder}: is a file.", hint="Name a folder; it is made when missing.")


def backbone(panel: str) -> Any:
    return typer.Option(
        help="pocket, pocket-flux, sd15, sdxl, a diffusers folder, a .safetensors, a hub id, or a .yaml.",
        rich_help_panel=panel,
    )


def device(panel: str) -> Any:
    return typer.Option(help="auto, cpu, cuda, cuda:1, mps.", show_default="auto", rich_help_panel=panel)


def dtype(panel: str) -> Any:
    return typer.Option(
        help="auto, float32, bfloat16 or float16.",
        callback=lambda name: None if name is None else dtype_name(name),
        show_default="auto",
        rich_help_panel=panel,
    )


def cpu_offload(panel: str) -> Any:
    return typer.Option("--cpu-offload", help="Keep idle models off the GPU.", rich_help_panel=panel)


def face_encoder(panel: str) -> Any:
    return typer.Option(
        help="pocket, dlib, insightface:PACK or a folder; the backbone's own by default.",
        show_default=False,
        rich_help_panel=panel,
    )


def face_select(panel: str) -> Any:
    return typer.Option(
        help="Which of several faces: largest, center, error, or a number.", rich_help_panel=panel
    )


def steps(panel: str) -> Any:
    return typer.Option(help="Denoising steps.", min=1, max=1000, show_default=False, rich_help_panel=panel)


def true_cfg(panel: str) -> Any:
    return typer.Option(
        help="FLUX: guidance by a second pass with the negative prompt; 1 is off.",
        min=1.0,
        max=1000.0,
        rich_help_panel=panel,
    )


def guidance(panel: str) -> Any:
    return typer.Option(
        help="Classifier-free guidance; on FLUX.1 dev the scale it reads.",
        min=0.0,
        max=1000.0,
        show_default=False,
        rich_help_panel=panel,
    )


def scheduler(panel: str) -> Any:
    return typer.Option(
        help="ddim, euler or dpmpp.",
        callback=lambda name: None if name is None else scheduler_name(name),
        show_default=False,
        rich_help_panel=panel,
    )


def limit(panel: str) -> Any:
    return typer.Option(
        help="At most so many pairs per set and method, spread evenly.",
        min=1,
        max=10_000_000,
        rich_help_panel=panel,
    )


def model(panel: str) -> Any:
    return typer.Option(
        help="role=name of a metric's model, see spid metrics. Repeatable.", rich_help_panel=panel
    )


def as_json(panel: str | None = None) -> Any:
    return typer.Option("--json", help="JSON for programs.", rich_help_panel=panel)


def lora(panel: str | None = None) -> Any:
    return typer.Option(
        help="A LoRA (.safetensors) to merge, FILE or FILE:weight. Repeatable.", rich_help_panel=panel
    )


def lora_scale(panel: str | None = None) -> Any:
    return typer.Option(help="Weight of LoRAs that say none.", show_default="1", rich_help_panel=panel)
