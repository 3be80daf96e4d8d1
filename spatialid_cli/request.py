"""From the words of a `generate` command line to what is asked for, checked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from methods.errors import UsageError
from methods.prompts import expand
from spatialid_cli.prompt_file import PromptLine, read_prompt_file

NEED_REFERENCE = "Give --reference face.png; spid render --person 7 --output people makes one."


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


def collect_references(reference: Path | None, named: Sequence[str]) -> dict[str, Path]:
    """Identity name -> picture file, every one readable; {} for none.

    `--reference face.png` names its identity after the file, `--id name=face.png` says the name.
    Raises UsageError or PictureError naming the flag or the file.
    """
    from methods.images import load_picture

    pairs = [] if reference is None else [(reference.stem, reference)]
    for text in named:
        name, equals, file = text.partition("=")
        if not equals or not name.strip() or not file.strip():
            raise UsageError(
                f"--id {text!r} is not name=path.", hint="For example: --id anna=people/anna.png"
            )
        pairs.append((name.strip(), Path(file.strip()).expanduser()))
    references: dict[str, Path] = {}
    for name, path in pairs:
        if name in references:
            raise UsageError(f"Two references are called {name!r}.", hint="Give each --id a name of its own.")
        load_picture(path)
        references[name] = path
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
        raise UsageError(f"The method {needy[-1]!r} needs a reference picture.", hint=NEED_REFERENCE)


def collect_options(settings: Sequence[str], methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`--set key=value` for the main method (the last one), `--set method.key=value` for any of them.

    Values are YAML scalars or lists: 0.5, true, [1, 2], name. Unknown keys are refused by the method itself.
    """
    import yaml

    options: dict[str, dict[str, Any]] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        head, dot, rest = key.strip().partition(".")
        method, name = (head, rest) if dot and head in methods else (methods[-1], key.strip())
        if not equals or not name:
            raise UsageError(f"--set {text!r} is not key=value.", hint="For example: --set preset=B")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {text!r}: the value is no YAML scalar or list.") from error
        options.setdefault(method, {})[name] = parsed
    return options
