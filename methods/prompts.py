"""Placeholders of prompts.

`{person}` and `{id}` stand for the person of a picture. Methods that learn a word for an identity put
that word there; all others describe the person by a plain noun.
"""

from __future__ import annotations

import string

from methods.errors import UsageError

PLACEHOLDERS = ("person", "id")


def expand(prompt: str, word: str = "person") -> str:
    """Replace `{person}` and `{id}` by a word; doubled braces give single ones.

    Raises UsageError for any other placeholder or an unbalanced brace, naming the prompt.
    """
    try:
        fields = {name for _, name, spec, conversion in string.Formatter().parse(prompt) if name is not None}
    except ValueError as error:
        raise UsageError(f"The prompt {prompt!r} has an unbalanced brace: {error}.", hint=_HELP) from error
    if unknown := sorted(fields - set(PLACEHOLDERS)):
        raise UsageError(f"The prompt {prompt!r} has an unknown placeholder {{{unknown[0]}}}.", hint=_HELP)
    return prompt.format(**dict.fromkeys(PLACEHOLDERS, word))


_HELP = "Use {person} or {id}; write {{ and }} for literal braces."
