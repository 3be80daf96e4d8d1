"""Prompt files: one prompt per line, with the line flags that sd-scripts and its relatives use.

    # a comment
    a {person} at the beach --n blurry, text --w 128 --h 128 --d 7 --l 4.5 --s 30

`--n` negative prompt, `--w` and `--h` size in pixels, `--d` seed, `--l` guidance, `--s` steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.errors import UsageError

_FLAG = re.compile(r"(?:^|\s)--([A-Za-z][\w-]*)(?=\s|$)")
_FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative_prompt", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "l": ("guidance", float),
    "s": ("steps", int),
}


@dataclass(frozen=True)
class PromptLine:
    """One prompt and what its own line sets; None leaves the choice to the command's flags."""

    prompt: str
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    guidance: float | None = None
    steps: int | None = None


def read_prompt_file(path: Path) -> list[PromptLine]:
    """All prompts of a UTF-8 text file; empty lines and lines that begin with # are left out.

    Raises UsageError naming the file, and the line where one is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"--prompt-file {path}: cannot be read ({reason}).",
            hint="Give a text file with one prompt a line.",
        ) from error
    lines = [
        parse_line(line, f"{path}, line {number}")
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise UsageError(f"--prompt-file {path}: holds no prompt.", hint="Write one prompt a line.")
    return lines


def parse_line(line: str, where: str) -> PromptLine:
    """One line of the dialect; `where` names it in errors."""
    prompt, *rest = _FLAG.split(line.strip())
    prompt = prompt.strip()
    if not prompt:
        raise UsageError(f"{where}: has flags but no prompt.", hint="The prompt comes first on the line.")
    values: dict[str, Any] = {}
    for flag, text in zip(rest[::2], rest[1::2], strict=True):
        if flag not in _FLAGS:
            known = ", ".join(f"--{name}" for name in _FLAGS)
            raise UsageError(f"{where}: unknown flag --{flag}.", hint=f"A prompt line may set {known}.")
        name, parse = _FLAGS[flag]
        try:
            values[name] = parse(text.strip())
        except ValueError as error:
            raise UsageError(
                f"{where}: --{flag} {text.strip()!r} is not a number.", hint=f"For example: --{flag} 4"
            ) from error
    return PromptLine(prompt, **values)
