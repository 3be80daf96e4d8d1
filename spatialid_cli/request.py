"""From the words of a `generate` command line to what is asked for, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from methods.errors import UsageError
from methods.prompts import expand
from spatialid_cli.prompt_file import PromptLine, read_prompt_file

BACKBONE_ENTRIES = (
    "name_or_path", "config", "revision", "device", "dtype", "cpu_offload", "vae_slicing", "vae_tiling",
    "attention_backend", "compile", "face_encoder", "group_offload", "quantize", "text_length", "lora",
    "lora_scale",
)  # fmt: skip
"""What a backbone's configuration may say: arguments of `load_backbone`, and the face encoder."""


def collect_prompts(prompts: Sequence[str], prompt_file: Path | None) -> list[PromptLine]:
    """The prompts of the flags, then those of the file. Raises UsageError without any."""
    lines = [PromptLine(prompt.strip()) for prompt in prompts if prompt.strip()]
    if prompt_file is not None:
        lines += read_prompt_file(prompt_file)
    for line in lines:
        expand(line.prompt)
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


def collect_references(reference: Path | None, named: Sequence[str]) -> dict[str, Path]:
    """Identity name -> picture file, every one readable; {} for none.

    `--reference face.png` names its identity after the file, `--id name=face.png` says the name.
    Raises UsageError or PictureError naming the flag or the file.
    """
    from methods.images import load_picture

    references = {} if reference is None else {reference.stem: reference}
    for name, file in collect_pairs("--id", named, "anna=people/anna.png").items():
        if name in references:
            raise UsageError(f"Two references are called {name!r}.", hint="Give each --id a name of its own.")
        references[name] = Path(file).expanduser()
    for path in references.values():
        load_picture(path)
    return references


def collect_methods(method: str, compare: str) -> list[str]:
    """The compared methods in their order, then the main one, each once; all of them known."""
    from methods.registry import method_info

    names = [name.strip() for name in compare.split(",") if name.strip()]
    ordered = list(dict.fromkeys([name for name in names if name != method] + [method]))
    for name in ordered:
        method_info(name)
    return ordered


def check_references(methods: Sequence[str], references: Mapping[str, Path]) -> None:
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


def add_style(
    options: dict[str, dict[str, Any]], methods: Sequence[str], source: str | None, levels: str | None
) -> None:
    """Put --style-from and --style-levels among the options of `pidiff`, the method that edits style rows.

    source: a picture or `mean`. Raises UsageError without that method, PictureError for an unreadable file.
    """
    if source is None and levels is None:
        return
    if source is None:
        raise UsageError(f"--style-levels {levels} has nothing to take them from.", hint="Give --style-from.")
    if "pidiff" not in methods:
        raise UsageError("--style-from edits W+ styles, which only pidiff has.", hint="Give --method pidiff.")
    from methods.images import load_picture

    if source != "mean":
        load_picture(source)
    own = options.setdefault("pidiff", {})
    own["style_from"] = source
    if levels is not None:
        own["style_levels"] = levels


def collect_backbone(name: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `load_backbone`, and `face_encoder`, from a backbone's configuration and the flags.

    name:  a configuration by name (`configs/backbones/NAME.yaml`) or file, else a model for `load_backbone`
    flags: what the command line says; None and False leave a choice to the configuration
    """
    from methods.paths import configs_dir

    by_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if by_file else configs_dir() / "backbones" / f"{Path(name).name}.yaml"
    chosen: dict[str, Any] = {"name_or_path": name}
    if by_file or (path.stem == name and path.is_file()):
        from methods.config import load_yaml
        from methods.errors import unknown_name

        chosen = load_yaml(path)
        for key in chosen:
            if key not in BACKBONE_ENTRIES:
                raise unknown_name(f"entry of {path}", str(key), BACKBONE_ENTRIES)
        if not isinstance(chosen.get("name_or_path"), str):
            raise UsageError(f"{path}: names no model.", hint="Add a line `name_or_path: ...`.")
    return chosen | {key: value for key, value in flags.items() if value not in (None, False)}
