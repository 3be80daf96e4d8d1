"""`spid export`: a word that was fitted to a person, as a file that A1111, ComfyUI and diffusers read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from methods.errors import UsageError
from spatialid_cli import console, options

if TYPE_CHECKING:
    from torch import Tensor

    from methods.request import Request

_WHO = "Who"
_MODEL = "Backbone"


def export(
    reference: Annotated[
        Path | None, typer.Option(help="Picture of the person, or a folder of them.", rich_help_panel=_WHO)
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option(
            "--id", help="name=path of the person; repeat it for more photographs.", rich_help_panel=_WHO
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="A method that fits a word.")] = "textual-inversion",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the method, key=value; repeatable.")
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="Saved fits; else the cache, or a fit now.", show_default=False),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="diffusers or a1111.")] = "diffusers",
    token: Annotated[
        str | None,
        typer.Option(help="The word in prompts; by default the name.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File; outputs/TOKEN.safetensors by default.", show_default=False),
    ] = None,
    face_select: Annotated[str, options.face_select(_WHO)] = "largest",
    face_encoder: Annotated[str | None, options.face_encoder(_WHO)] = None,
    backbone: Annotated[str, options.backbone(_MODEL)] = "pocket",
    device: Annotated[str | None, options.device(_MODEL)] = None,
    dtype: Annotated[str | None, options.dtype(_MODEL)] = None,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Write the word of a person as a textual-inversion file.

    A fit that spid generate made is found in the cache by the same options; else it is made now.
    """
    from methods.paths import default_output_dir
    from methods.registry import method_info
    from methods.request import request_of
    from spatialid_cli.request import check_options, collect_backbone, collect_options, collect_references

    if form not in ("diffusers", "a1111"):
        raise UsageError(f"--format {form}: unknown.", hint="Give diffusers or a1111.")
    if (info := method_info(method)).kind != "fit":
        raise UsageError(f"{method} fits nobody.", hint="Methods of the kind `fit` do; see spid methods.")
    references = collect_references(reference, identity or [])
    if len(references) != 1:
        raise UsageError(f"{len(references)} people are given.", hint="Give one: --reference face.png.")
    (name,) = references
    word = token or "-".join(name.split())
    if not word or any(one.isspace() for one in word):
        raise UsageError(f"--token {word!r} is not one word.", hint="For example: --token anna")
    target = output or default_output_dir() / f"{word}.safetensors"
    if target.suffix != ".safetensors":
        raise UsageError(f"--output {target}: words are written as .safetensors.", hint="Give that suffix.")
    method_options = collect_options(settings or [], [method])
    check_options(method_options)
    flags = {"face_encoder": face_encoder, "device": device, "dtype": dtype}
    model = collect_backbone(backbone, flags)
    request = request_of(
        {
            "prompts": "a {person}",
            "methods": [info.name],
            "references": references,
            "method_options": method_options,
            "adapter": None if adapter is None else str(adapter),
            "face_select": face_select,
            "backbone": model.pop("name_or_path"),
            "face_encoder": model.pop("face_encoder", None),
            "backbone_options": model,
        },
        where="spid export",
    )
    fitted, widths, noun = _fitted(request)
    _write(target, fitted, widths, word, "a1111" if form == "a1111" else "diffusers")
    use = f"{word} person" if noun else word
    shown = {"file": str(target), "rows": len(fitted), "use": f"a photo of a {use}"}
    if as_json:
        console.out_json(shown | {"token": word, "format": form})
    else:
        console.out_fields({key: str(value) for key, value in shown.items()})


def _fitted(request: Request) -> tuple[Tensor, list[int], bool]:
    """The person's word [n, sum of widths], the encoders' widths, and whether a noun follows it."""
    from methods.backbone.load import load_backbone
    from methods.fitting.method import FitMethod
    from methods.fitting.words import embedding_widths
    from methods.generate import analyse_references
    from methods.registry import check_backbone, get_method, method_info
    from methods.settings import configure
    from spatialid_cli.sampling import Display

    (name,) = request.methods
    (person,) = analyse_references(request, {name: method_info(name)}, None, request.face_encoder)
    backbone = load_backbone(request.backbone, **request.backbone_options)
    check_backbone(method_info(name), backbone)
    kind = get_method(name)
    config = configure(kind, request.method_options.get(name), family=backbone.family)
    weights = None if request.adapter is None else Path(str(request.adapter))
    method = kind.load(weights, backbone, config)
    assert isinstance(method, FitMethod)
    with Display("fitting") as display:
        method.progress = lambda who, done, total: display.show_fit(f"{name} to {who}", done, total)
        tokens = method.tokens(person, backbone)
    learned = {key for key in tokens if not key.startswith("log.")}
    if learned != {"word"}:
        raise UsageError(
            f"{name} learns more than a word ({', '.join(sorted(learned))}).",
            hint="textual-inversion can be exported, and id-ea with --set mode=release.",
        )
    return tokens["word"].cpu(), embedding_widths(backbone.text), method.keep_noun


def _write(
    target: Path, word: Tensor, widths: list[int], token: str, form: Literal["diffusers", "a1111"]
) -> None:
    from methods.textual_inversion.files import write_embedding

    write_embedding(target, word, widths, token=token, form=form)
