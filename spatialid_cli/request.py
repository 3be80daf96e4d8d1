"""From the words of a `generate` command line to what is asked for, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from methods.config import Count, Finite, options
from methods.errors import UsageError
from methods.paths import user_path
from methods.prompts import NO_WEIGHTS, expand, weights_in
from methods.request import FIELDS, MAX_PICTURES, Request, request_of
from spatialid_cli import console
from spatialid_cli.prompt_file import PromptLine, read_prompt_file


@options
class BackboneFile:
    """What a backbone's configuration may say: arguments of `load_backbone`, and the face encoder."""

    name_or_path: str
    config: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    cpu_offload: bool = False
    vae_slicing: bool = False
    vae_tiling: bool = False
    attention_backend: str | None = None
    compile: bool = False
    face_encoder: str | None = None
    group_offload: bool = False
    quantize: str | None = None
    text_length: Count | None = None
    lora: str | tuple[str, ...] | None = None
    lora_scale: Finite | None = None


BACKBONE_ENTRIES = tuple(one.name for one in fields(BackboneFile))


_OF_MODEL = {"compile_unet": "compile", "backbone_config": "config"}
"""Flags whose name is another one in a backbone's configuration."""
_OF_LINE = ("negative_prompt", "width", "height", "seed", "guidance", "steps")
"""What a line of a prompt file may set for itself."""


@dataclass(frozen=True)
class Asked:
    """What a command line asks for: the lines of prompts, and requests for those that share their settings.

    parts: each request with its prompts and the numbers of their lines
    """

    lines: tuple[PromptLine, ...]
    parts: tuple[tuple[Request, dict[str, list[int]]], ...]

    @property
    def first(self) -> Request:
        return self.parts[0][0]


def collect(flags: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> Asked:
    """Everything that `spid generate` was asked for, checked whole before anything is loaded or made.

    flags: the parameters of the command by name; own: options of methods by their own flags
    """
    methods = collect_methods(flags["method"], flags["compare"])
    references = collect_references(flags["reference"], flags["identity"] or [])
    lines = collect_prompts(flags["prompt"] or [], flags["prompt_file"], references)
    check_references(methods, references)
    method_options = collect_options(flags["settings"] or [], methods, flags["method_config"])
    for name, values in own.items():
        method_options.setdefault(name, {}).update(values)
    check_options(method_options)
    names = {_OF_MODEL.get(name, name): value for name, value in flags.items()}
    names["lora"] = list(flags.get("lora") or ()) or None
    model = collect_backbone(flags["backbone"], {name: names.get(name) for name in BACKBONE_ENTRIES[1:]})
    common = {name: flags[name] for name in FIELDS if flags.get(name) is not None} | {
        "methods": methods,
        "references": references,
        "regions": collect_regions(flags["region"] or []),
        "masks": collect_pairs("--mask", flags["mask"] or [], "anna=left.png"),
        "adapter": collect_adapters(flags["adapter"] or [], methods),
        "method_options": method_options,
        "keep_masks": flags["save_masks"],
        "backbone": model.pop("name_or_path"),
        "face_encoder": model.pop("face_encoder", None),
        "backbone_options": {
            name: str(value) if isinstance(value, Path) else value for name, value in model.items()
        },
    }
    parts = []
    for settings, members in _groups(lines):
        where = next((lines[at].where for numbers in members.values() for at in numbers), "")
        request = request_of({**common, **settings, "prompts": list(members)}, where=where or "spid generate")
        parts.append((request, members))
    images = len(lines) * max(len(references), 1) * len(methods) * flags["num_images"]
    if images > MAX_PICTURES:
        raise UsageError(
            f"{images} pictures are too many for one run.",
            hint=f"At most {MAX_PICTURES}: fewer --num-images, prompts, identities or methods.",
        )
    return Asked(tuple(lines), tuple(parts))


def check_options(method_options: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UsageError for an option of a method that cannot be, before torch is imported."""
    from methods.config import build
    from methods.registry import method_config

    for name, given in method_options.items():
        build(method_config(name), given, where=f"method {name}")


def _groups(lines: Sequence[PromptLine]) -> list[tuple[dict[str, Any], dict[str, list[int]]]]:
    """Lines that can share a request: what they set for themselves, and prompt -> numbers of its lines."""
    groups: list[tuple[dict[str, Any], dict[str, list[int]]]] = []
    for number, line in enumerate(lines):
        own = {name: value for name in _OF_LINE if (value := getattr(line, name)) is not None}
        members = next((members for known, members in groups if known == own), None)
        if members is None:
            members = {}
            groups.append((own, members))
        members.setdefault(line.prompt, []).append(number)
    return groups


def collect_prompts(
    prompts: Sequence[str], prompt_file: Path | None, names: Collection[str] = ()
) -> list[PromptLine]:
    """The prompts of the flags, then those of the file; they may call people by these names.

    Raises UsageError without any.
    """
    lines = [PromptLine(prompt.strip()) for prompt in prompts if prompt.strip()]
    if prompt_file is not None:
        lines += read_prompt_file(prompt_file)
    for line in lines:
        expand(line.prompt, names=names)
        if (weight := weights_in(line.prompt)) is not None:
            console.warn(f"{weight} is taken as it stands: {NO_WEIGHTS}")
    if not lines:
        raise UsageError(
            "There is no prompt.", hint='Give --prompt "a {person} at the beach" or --prompt-file.'
        )
    return lines


def collect_pairs(flag: str, given: Sequence[str], example: str) -> dict[str, str]:
    """Name -> value of a repeatable flag that takes `name=value`, as in the example.

    Raises UsageError for a text of another form and for a name given twice.
    """
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or not value:
            raise UsageError(f"{flag} {text!r} is not name=value.", hint=f"For example: {flag} {example}")
        if name in pairs:
            raise UsageError(f"{flag} gives {name!r} twice.", hint="Give each name once.")
        pairs[name] = value
    return pairs


def collect_references(reference: Path | None, named: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name of a person -> files of photographs, every one readable; {} for none.

    `--reference face.png` names its person after the file or folder, `--id name=face.png` says the name; a
    name that is given again has several photographs. Raises UsageError or PictureError naming the flag or
    the file.
    """
    from methods.images import load_picture
    from methods.photographs import people

    given: dict[str, list[str]] = {}
    if reference is not None:
        given[reference.stem] = [str(reference)]
    for text in named:
        ((name, file),) = collect_pairs("--id", [text], "anna=people/anna.png").items()
        given.setdefault(name, []).append(file)
    references = people(given)
    for files in references.values():
        for file in files:
            load_picture(file)
    return references


def collect_regions(given: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Name -> x0, y0, x1, y1 of `--region anna=0,0,.5,1`. Raises UsageError for anything else."""
    example = "anna=0,0,.5,1"
    regions = {}
    for name, text in collect_pairs("--region", given, example).items():
        try:
            regions[name] = tuple(float(part) for part in text.split(","))
        except ValueError:
            regions[name] = ()
        if len(regions[name]) != 4 or not all(0 <= one <= 1 for one in regions[name]):
            raise UsageError(
                f"--region {name}={text} is not four shares of the picture, 0 to 1.",
                hint=f"Left, top, right, bottom: --region {example}",
            )
    return regions


def collect_methods(method: str, compare: str) -> list[str]:
    """The compared methods in their order, then the main one, each once; all of them known."""
    from methods.registry import method_info

    names = [name.strip() for name in compare.split(",") if name.strip()]
    ordered = list(dict.fromkeys([name for name in names if name != method] + [method]))
    for name in ordered:
        method_info(name)
    return ordered


def collect_adapters(given: Sequence[str], methods: Sequence[str]) -> str | dict[str, str] | None:
    """Weights for all methods that have some, or method -> weights.

    `--adapter FILE` is for every method, `--adapter method=FILE` for that one. Raises UsageError for a method
    that does not run, and for two files for one.
    """
    from methods.registry import method_info, method_names

    common: str | None = None
    named: dict[str, str] = {}
    for text in given:
        head, equals, file = (part.strip() for part in text.partition("="))
        if not equals or (head not in method_names() and user_path(text).exists()):
            if common is not None:
                raise UsageError(
                    "--adapter gives two files for all methods.", hint="Name methods: uniform=FILE."
                )
            common = text
            continue
        if head not in methods:
            method_info(head)
            raise UsageError(
                f"--adapter {text}: {head} does not run.", hint=f"Methods: {', '.join(methods)}."
            )
        if head in named or not file:
            raise UsageError(f"--adapter: {head} takes one file.", hint="For example: --adapter uniform=FILE")
        named[head] = file
    if common is None or not named:
        return common or named or None
    return {name: common for name in methods if method_info(name).identity} | named


def check_references(methods: Sequence[str], references: Mapping[str, object]) -> None:
    """Raise UsageError when a method that needs a person got none."""
    from methods.registry import method_info

    needy = [name for name in methods if method_info(name).identity]
    if needy and not references:
        raise UsageError(
            f"The method {needy[-1]!r} needs a reference picture.",
            hint="Give --reference face.png; spid render --person 7 --output people makes one.",
        )


def collect_options(
    settings: Sequence[str], methods: Sequence[str], config: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Options by method: the file of `--method-config` for the main method (the last one), then `--set`.

    `--set key=value` is for the main method, `--set method.key=value` for any of them; values are YAML
    scalars or lists: 0.5, true, [1, 2], name. Unknown keys are refused by the method itself.
    """
    from methods.config import load_yaml, read_setting

    options: dict[str, dict[str, Any]] = {} if config is None else {methods[-1]: load_yaml(config)}
    for text in settings:
        key, value = read_setting(text, where=f"--set {text!r}", example="--set preset=B")
        head, dot, rest = key.partition(".")
        method, name = (head, rest) if dot and head in methods else (methods[-1], key)
        options.setdefault(method, {})[name] = value
    return options


def collect_backbone(name: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load_backbone`, and `face_encoder`, from a backbone's configuration and the flags.

    name:  a configuration by name (`configs/backbones/NAME.yaml`) or file, else a model for `load_backbone`
    flags: what the command line says; None and False leave a choice to the configuration
    """
    from methods.paths import configs_dir

    by_file = name.endswith((".yaml", ".yml"))
    path = user_path(name) if by_file else configs_dir() / "backbones" / f"{user_path(name).name}.yaml"
    chosen: dict[str, Any] = {"name_or_path": name}
    if by_file or (path.stem == name and path.is_file()):
        from methods.config import build, load_yaml

        chosen = load_yaml(path)
        stated = asdict(build(BackboneFile, chosen, where=str(path)))
        chosen = {name: stated[name] for name in chosen}
    return chosen | {key: value for key, value in flags.items() if value not in (None, False)}
