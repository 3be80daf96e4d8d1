"""`spid generate`: pictures of a person by one method, beside those of others on the same backbone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from methods.errors import UsageError
from methods.paths import user_path
from spatialid_cli import console, options
from spatialid_cli.method_flags import own_options

if TYPE_CHECKING:
    from spatialid_cli.outputs import Gallery

_WHAT = "What to make"
_WHO = "Who is in it"
_HOW = "Sampling"
_MODEL = "Backbone"
_OUT = "Output"

_BESIDE_FROM = ("source", "reference", "adapter", "deterministic", "output", "save_masks", "as_json")
"""All others would make another picture."""


def generate(
    context: typer.Context,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="What to show; {person} stands for the person, {anna} and {ben} for two in one picture. "
            "Repeatable.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(help="One prompt a line, with optional --n --w --h --d --l --s.", rich_help_panel=_WHAT),
    ] = None,
    negative_prompt: Annotated[str, typer.Option(help="What to avoid.", rich_help_panel=_WHAT)] = "",
    method: Annotated[str, typer.Option(help="See spid methods.", rich_help_panel=_WHAT)] = "spatialid",
    compare: Annotated[
        str, typer.Option(help="Methods to run beside it: none,uniform", rich_help_panel=_WHAT)
    ] = "",
    num_images: Annotated[
        int, typer.Option(help="Pictures per prompt, seeds counting up.", min=1, rich_help_panel=_WHAT)
    ] = 1,
    seed: Annotated[int, typer.Option(help="First seed.", min=0, max=2**32 - 1, rich_help_panel=_WHAT)] = 0,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Make the picture in this PNG again, bit for bit.", rich_help_panel=_WHAT
        ),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Picture of the person, or a folder of them.", rich_help_panel=_WHO)
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option(
            "--id",
            help="name=path of a person, picture or folder; repeatable, for others and for the same.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="name=x0,y0,x1,y1, shares of the picture: where a person may be. Repeatable.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="name=picture, white where a person may be. Repeatable.", rich_help_panel=_WHO),
    ] = None,
    id_weight: Annotated[
        float, typer.Option(help="Strength of the identity.", min=0.0, max=10.0, rich_help_panel=_WHO)
    ] = 1.0,
    id_start: Annotated[
        float,
        typer.Option(help="Share of the steps before it begins.", min=0.0, max=1.0, rich_help_panel=_WHO),
    ] = 0.0,
    id_end: Annotated[
        float,
        typer.Option(help="Share of the steps after which it ends.", min=0.0, max=1.0, rich_help_panel=_WHO),
    ] = 1.0,
    face_select: Annotated[str, options.face_select(_WHO)] = "largest",
    face_encoder: Annotated[str | None, options.face_encoder(_WHO)] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights, or method=weights where several run; the shipped ones by default. Repeatable.",
            show_default=False,
            rich_help_panel=_WHO,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of the method, key=value; repeatable.", rich_help_panel=_WHO),
    ] = None,
    method_config: Annotated[
        Path | None,
        typer.Option(
            help="YAML with the method's options, such as a copy of configs/methods/spatialid.yaml.",
            show_default=False,
            rich_help_panel=_WHO,
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit the person again, whatever the cache holds.", rich_help_panel=_WHO),
    ] = False,
    steps: Annotated[int | None, options.steps(_HOW)] = None,
    guidance: Annotated[float | None, options.guidance(_HOW)] = None,
    true_cfg: Annotated[float, options.true_cfg(_HOW)] = 1.0,
    width: Annotated[
        int | None, typer.Option(help="Pixels.", min=8, show_default=False, rich_help_panel=_HOW)
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Pixels.", min=8, show_default=False, rich_help_panel=_HOW)
    ] = None,
    scheduler: Annotated[str | None, options.scheduler(_HOW)] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Deterministic kernels only.", rich_help_panel=_HOW)
    ] = False,
    backbone: Annotated[str, options.backbone(_MODEL)] = "pocket",
    backbone_config: Annotated[
        Path | None,
        typer.Option(
            help="Folder beside a single file: its configurations; for FLUX all but the transformer.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of a hub id.", rich_help_panel=_MODEL)
    ] = None,
    device: Annotated[str | None, options.device(_MODEL)] = None,
    dtype: Annotated[str | None, options.dtype(_MODEL)] = None,
    cpu_offload: Annotated[bool, options.cpu_offload(_MODEL)] = False,
    vae_slicing: Annotated[
        bool, typer.Option("--vae-slicing", help="Decode one picture at a time.", rich_help_panel=_MODEL)
    ] = False,
    vae_tiling: Annotated[
        bool, typer.Option("--vae-tiling", help="Decode large pictures in tiles.", rich_help_panel=_MODEL)
    ] = False,
    attention_backend: Annotated[
        str | None,
        typer.Option(help="A kernel by diffusers' name, such as _native_flash.", rich_help_panel=_MODEL),
    ] = None,
    compile_unet: Annotated[
        bool, typer.Option("--compile", help="Compile the network's blocks.", rich_help_panel=_MODEL)
    ] = False,
    group_offload: Annotated[
        bool,
        typer.Option(
            "--group-offload", help="FLUX: layers visit the GPU one by one.", rich_help_panel=_MODEL
        ),
    ] = False,
    quantize: Annotated[
        str | None, typer.Option(help="FLUX: nf4, fp8, or gguf for a .gguf file.", rich_help_panel=_MODEL)
    ] = None,
    text_length: Annotated[
        int | None,
        typer.Option(
            help="FLUX: tokens that T5 reads; another number, another picture.",
            min=1,
            max=512,
            show_default="512",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    lora: Annotated[list[str] | None, options.lora(_MODEL)] = None,
    lora_scale: Annotated[float | None, options.lora_scale(_MODEL)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder; a new one in outputs/ by default.", show_default=False, rich_help_panel=_OUT
        ),
    ] = None,
    save_masks: Annotated[
        bool, typer.Option("--save-masks", help="Also write the method's masks.", rich_help_panel=_OUT)
    ] = False,
    as_json: Annotated[bool, options.as_json(_OUT)] = False,
) -> None:
    """Make pictures of a person by one method or several.

    With --compare, other methods start from the same noise, and a contact sheet shows them side by side.
    """
    from spatialid_cli.outputs import Gallery

    if output is not None:
        options.check_output(output)
    if deterministic:
        from spatialid_cli.sampling import use_deterministic_kernels

        use_deterministic_kernels()
    if source is not None:
        from spatialid_cli.reproduce import read_job, reproduce

        options.refuse_others(
            context,
            _BESIDE_FROM,
            "--from makes the same picture again",
            "Only --reference, --adapter, --deterministic, --output, --save-masks and --json go with it.",
        )
        if len(adapter or []) > 1:
            raise UsageError("--from has one method, and --adapter several.", hint="Give --adapter once.")
        weights = user_path(adapter[0].removeprefix(f"{read_job(source)['method']}=")) if adapter else None
        with _folder(output) as folder:
            gallery = reproduce(source, folder, reference=reference, adapter=weights, save_masks=save_masks)
        _report(gallery, as_json)
        return

    from spatialid_cli import request

    asked = request.collect(context.params, own_options(context))

    from spatialid_cli.sampling import rows_of, run, shown_references

    wanted = asked.first
    references = shown_references(asked.lines, wanted.references)
    rows = rows_of(asked.lines, list(wanted.references), seed, num_images)
    with _folder(output) as folder:
        gallery = Gallery(folder, rows, wanted.methods, references)
        run(asked, gallery)
    _report(gallery, as_json)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder of a run: one that can be written, before minutes are spent, and that no other run has.

    Tables of an earlier run in a folder that was given are kept under another name. A folder that we made and
    that nothing was put into is removed again.
    """
    from methods.files import cannot_write
    from methods.paths import default_output_dir

    fresh = given is None or not given.exists()
    above = None if given is not None or default_output_dir().exists() else default_output_dir()
    folder = given or new_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(8)}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from error
    _keep_earlier(folder)
    try:
        yield folder
    except BaseException:
        if fresh:
            with suppress(OSError):
                folder.rmdir()
                if above is not None:
                    above.rmdir()
        raise


def new_folder(below: Path | None = None) -> Path:
    """A folder that was not there, named by the clock: two runs of one second get two.

    below: where; None for outputs/
    """
    import time

    from methods.files import cannot_write
    from methods.paths import default_output_dir

    name = time.strftime("generate-%Y%m%d-%H%M%S")
    for number in range(1, 10_000):
        folder = (below or default_output_dir()) / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError as error:
            if not folder.exists():
                raise cannot_write(folder, error) from error
        except OSError as error:
            raise cannot_write(folder, error) from error
    raise UsageError(f"{below or default_output_dir()} holds too many runs.", hint="Give --output.")


def _keep_earlier(folder: Path) -> None:
    if not (folder / "table.csv").is_file():
        return
    number = next(n for n in count(1) if not (folder / f"table-{n}.csv").exists())
    for name in ("table.csv", "table.md", "sheet.png"):
        file = folder / name
        if file.is_file():
            os.replace(file, file.with_stem(f"{file.stem}-{number}"))
    console.log(f"{folder} holds an earlier run; its table is table-{number}.csv now")


def _report(gallery: Gallery, as_json: bool) -> None:
    """Write tables and sheet, say where everything is; exit 1 when a picture is not what it should be."""
    files = gallery.finish()
    if as_json:
        console.out_json({"output": str(gallery.folder), "files": files, "pictures": gallery.records})
    else:
        rows = [_cells(record) for record in gallery.records]
        console.out_table(["picture", "method", "seed", "status", "prompt"], rows)
        console.out()
        console.out_fields({"folder": str(gallery.folder), **files})
    bad = [record for record in gallery.records if record["status"] != "ok"]
    for record in bad:
        console.warn(f"{record['method']}, seed {record['seed']}: {record['status']} ({record['prompt']})")
    if bad or not all(record.get("same_pixels", True) for record in gallery.records):
        raise typer.Exit(1)


def _cells(record: dict[str, Any]) -> list[str]:
    return [str(record[name] or "") for name in ("file", "method")] + [
        str(record["seed"]),
        record["status"],
        record["prompt"],
    ]
