"""`spid train`: learn a method's adapter once for all people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from methods.errors import UsageError
from spatialid_cli import console, options

if TYPE_CHECKING:
    from methods.training.captions import Cut
    from methods.training.engine import Trained

_FIRST_NOTES = 5  # skipped pictures that are named on the terminal; all are in skipped.jsonl


def train(
    method: Annotated[str, typer.Option(help="Whose adapter to train; see spid methods.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML such as configs/train/uniform.yaml; the method's own by default.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|pocket:",
            help="Folder with metadata.jsonl or a folder a person, or pocket: to render them.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder; outputs/train-METHOD by default.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the training in the output folder.")
    ] = False,
    lora: Annotated[list[str] | None, options.lora()] = None,
    lora_scale: Annotated[float | None, options.lora_scale()] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a value, such as options.steps=100; repeatable."),
    ] = None,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Train a method's adapter on pictures of many people.

    Also runs under accelerate launch, on several processes or machines. Killed at any moment, the same
    command with --resume ends at the same weights.
    """
    from methods.paths import default_output_dir
    from methods.registry import method_info
    from methods.training.config import read_config

    if method_info(method).kind != "train":
        raise UsageError(
            f"The method {method!r} has nothing to train.",
            hint="Methods of the kind train have; see spid methods.",
        )
    path = config or _own_config(method)
    chosen, method_options = read_config(
        path, settings or [], source=data, backbone={"lora": lora or None, "lora_scale": lora_scale}
    )
    folder = output or default_output_dir() / f"train-{method}"

    from methods.training.engine import train as run

    with _display(method) as tell:
        trained = run(
            method,
            chosen,
            method_options,
            output=folder,
            resume=resume,
            progress=tell,
            on_cut=_say_what_is_cut,
        )
    if os.environ.get("RANK", "0") == "0":  # of several processes one speaks
        _report(trained, method, folder, as_json)


def _own_config(method: str) -> Path:
    from methods.paths import configs_dir

    path = configs_dir() / "train" / f"{method}.yaml"
    if not path.is_file():
        raise UsageError(
            f"The method {method!r} has no training configuration of its own.", hint="Give one with --config."
        )
    return path


@contextmanager
def _display(method: str) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """One display for the pictures, then one for the training, with the loss beside it."""
    with ExitStack() as stack:
        shown: dict[str, console.Progress] = {}

        def tell(what: str, done: int, total: int, terms: dict[str, float]) -> None:
            if what not in shown:
                stack.close()
                label = what if what == "pictures" else method
                unit = "analysed" if what == "pictures" else "steps"
                shown[what] = stack.enter_context(console.progress(label, unit))
            shown[what](done, total, " ".join(f"{name} {value:.4f}" for name, value in terms.items()))

        yield tell


def _say_what_is_cut(cut: tuple[Cut, ...]) -> None:
    """One warning, before hours of training: how many captions, and what of the first is not read."""
    first, count = cut[0], len(cut)
    captions = "1 caption is" if count == 1 else f"{count} captions are"
    console.warn(
        f"{captions} longer than the text encoder reads; left out of {first.name}: {first.left_out!r}"
        + (" (--json lists all)" if count > 1 else "")
    )


def _report(trained: Trained, method: str, folder: Path, as_json: bool) -> None:
    for broken in trained.broken:
        console.warn(f"{broken} is damaged and was passed over")
    if trained.skipped:
        console.warn(f"{len(trained.skipped)} pictures were skipped; {folder / 'skipped.jsonl'} lists them")
        for one in trained.skipped[:_FIRST_NOTES]:
            console.log(f"  {one.name}: {one.reason}")
    if as_json:
        console.out_json(
            {
                "adapter": str(trained.adapter),
                "steps": trained.steps,
                "terms": trained.terms,
                "skipped": [{"file_name": one.name, "reason": one.reason} for one in trained.skipped],
                "cut_captions": [{"file_name": one.name, "left_out": one.left_out} for one in trained.cut],
                "resumed": None if trained.resumed is None else str(trained.resumed),
            }
        )
        return
    fields = {"adapter": str(trained.adapter), "steps": str(trained.steps)}
    fields |= {name: f"{value:.5f}" for name, value in trained.terms.items()}
    if trained.resumed is not None:
        fields["resumed"] = str(trained.resumed)
    console.out_fields(fields)
    console.log(f"Use it: spid generate --method {method} --adapter {trained.adapter} ...")
