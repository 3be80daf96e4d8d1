"""Prompt files: one prompt per line, with the line flags that sd-scripts and its relatives use.

    # a comment
    a {person} at the beach --n blurry, text --w 128 --h 128 --d 7 --l 4.5 --s 30

`--n` negative prompt, `--w` and `--h` size in pixels, `--d` seed, `--l` guidance, `--s` steps.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methods.errors import UsageError
from methods.textfile import MAX_BYTES, decode, lines_of, read_lines

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
    """One prompt and what its own line sets; None leaves the choice to the command's flags.

    where: file and line, for errors; empty for --prompt
    """

    prompt: str
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    guidance: float | None = None
    steps: int | None = None
    where: str = field(default="", compare=False)


def read_prompt_file(path: Path) -> list[PromptLine]:
    """All prompts of a UTF-8 text file; empty lines and lines that begin with # are left out.

    Raises UsageError naming the file, and the line where one is wrong.
    """
    hint = "Give a text file with one prompt a line, or - for the standard input."
    if str(path) == "-":
        name, given = "--prompt-file -", lines_of(decode(_standard_input(), "--prompt-file -"))
    else:
        name, given = str(path), read_lines(path, hint=hint)
    lines = [
        parse_line(line, f"{name}, line {number}")
        for number, line in enumerate(given, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise UsageError(f"{name}: holds no prompt.", hint="Write one prompt a line.")
    return lines


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("--prompt-file -: nothing is piped in.", hint="For example: spid ... < prompts.txt")
    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UsageError("--prompt-file -: is larger than 64 MB.", hint="Split it.")
    return content


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
    return PromptLine(prompt, **values, where=where)
