"""`spid generate`: pictures of a person by one method, beside those of others on the same backbone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spatialid_cli import console, options

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
        typer.Option(help="What to show; {person} stands for the person. Repeatable.", rich_help_panel=_WHAT),
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
        Path | None, typer.Option(help="Picture of the person.", rich_help_panel=_WHO)
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option("--id", help="name=path of a person; repeatable.", rich_help_panel=_WHO),
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
        Path | None,
        typer.Option(help="Weights of the method; the shipped ones by default.", rich_help_panel=_WHO),
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
    style_from: Annotated[
        str | None,
        typer.Option(
            help="pidiff: picture that gives style rows, or mean.", show_default=False, rich_help_panel=_WHO
        ),
    ] = None,
    style_levels: Annotated[
        str | None,
        typer.Option(
            help="Which rows: 8-17 (fine, the default), 0-3, coarse, mid, ...",
            show_default=False,
            rich_help_panel=_WHO,
        ),
    ] = None,
    steps: Annotated[int | None, options.steps(_HOW)] = None,
    guidance: Annotated[float | None, options.guidance(_HOW)] = None,
    true_cfg: Annotated[
        float,
        typer.Option(
            help="FLUX: guidance by a second pass with the negative prompt; 1 is off.",
            min=1.0,
            rich_help_panel=_HOW,
        ),
    ] = 1.0,
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
    lora: Annotated[
        Path | None, typer.Option(help="FLUX: a LoRA (.safetensors) to merge.", rich_help_panel=_MODEL)
    ] = None,
    lora_scale: Annotated[
        float | None, typer.Option(help="Its weight.", show_default="1", rich_help_panel=_MODEL)
    ] = None,
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

    folder = output or _new_folder()
    options.check_output(folder)
    if deterministic:
        from spatialid_cli.sampling import use_deterministic_kernels

        use_deterministic_kernels()
    if source is not None:
        from spatialid_cli.reproduce import reproduce

        options.refuse_others(
            context,
            _BESIDE_FROM,
            "--from makes the same picture again",
            "Only --reference, --adapter, --deterministic, --output, --save-masks and --json go with it.",
        )
        gallery = reproduce(source, folder, reference=reference, adapter=adapter, save_masks=save_masks)
        _report(gallery, as_json)
        return

    from spatialid_cli import request

    lines = request.collect_prompts(prompt or [], prompt_file)
    methods = request.collect_methods(method, compare)
    references = request.collect_references(reference, identity or [])
    request.check_references(methods, references)
    method_options = request.collect_options(settings or [], methods, method_config)
    request.add_style(method_options, methods, style_from, style_levels)
    model = request.collect_backbone(
        backbone,
        {
            "config": backbone_config,
            "revision": revision,
            "device": device,
            "dtype": dtype,
            "cpu_offload": cpu_offload,
            "vae_slicing": vae_slicing,
            "vae_tiling": vae_tiling,
            "attention_backend": attention_backend,
            "compile": compile_unet,
            "group_offload": group_offload,
            "quantize": quantize,
            "text_length": text_length,
            "lora": lora,
            "lora_scale": lora_scale,
            "face_encoder": face_encoder,
        },
    )
    encoder = model.pop("face_encoder", None)

    from spatialid_cli.sampling import rows_of, run

    gallery = Gallery(folder, rows_of(lines, list(references), seed, num_images), methods, references)
    run(
        lines,
        gallery,
        model=model,
        wanted={
            "methods": methods,
            "references": references or None,
            "negative_prompt": negative_prompt,
            "seed": seed,
            "num_images": num_images,
            "steps": steps,
            "guidance": guidance,
            "true_cfg": true_cfg,
            "width": width,
            "height": height,
            "id_weight": id_weight,
            "id_start": id_start,
            "id_end": id_end,
            "scheduler": scheduler,
            "face_select": face_select,
            "face_encoder": encoder,
            "adapter": adapter,
            "method_options": method_options,
            "keep_masks": save_masks,
        },
        refit=refit,
    )
    _report(gallery, as_json)


def _new_folder() -> Path:
    """A folder of its own for this run, named by the clock."""
    import time

    from methods.paths import default_output_dir

    return default_output_dir() / time.strftime("generate-%Y%m%d-%H%M%S")


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
