"""Placeholders of prompts.

`{person}` and `{id}` stand for the person of a picture. Methods that learn a word for an identity put
that word there; all others describe the person by a plain noun. `{anna} and {ben}` stand for the people of
these names, all in one picture. Nothing else in braces means anything: a prompt is text of others, not a
format string.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from methods.errors import UsageError
from methods.words import visible

PLACEHOLDERS = ("person", "id")

MAX_LETTERS = 10_000
"""A text encoder reads some 77 to 512 tokens."""

_BRACES = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
_WEIGHT = re.compile(r"\([^()]*:\s*[0-9.]+\s*\)")
_ARTICLE = re.compile(r"\b(?:an?|the)\s+$", re.IGNORECASE)
_HELP = "Use {person}, {id} or a name given by --id; write {{ and }} for literal braces."


def expand(
    prompt: str, word: str = "person", names: Collection[str] = (), words: Mapping[str, str] | None = None
) -> str:
    """Replace `{person}` and `{id}` by a word; doubled braces give single ones.

    names: of people; `{anna}` becomes "a person", and "person" behind an article
    words: placeholder -> word of its own, `{person}` and `{id}` too, with an article likewise

    Raises UsageError, naming the prompt, for any other placeholder, an unbalanced brace, text that is not
    Unicode, and one longer than MAX_LETTERS.
    """
    if len(prompt) > MAX_LETTERS:
        raise UsageError(
            f"The prompt {shown(prompt)} has {len(prompt)} letters.",
            hint=f"A text encoder reads a few hundred words; give at most {MAX_LETTERS} letters.",
        )
    if any("\ud800" <= one <= "\udfff" for one in prompt):
        raise UsageError(f"The prompt {shown(prompt)} is not Unicode text.", hint="Give it in UTF-8.")

    def put(found: re.Match[str]) -> str:
        text, name = found[0], found["name"]
        if text in ("{{", "}}"):
            return text[0]
        if name is None:
            raise UsageError(f"The prompt {shown(prompt)} has an unbalanced brace.", hint=_HELP)
        bare = _ARTICLE.search(prompt[: found.start()]) is not None
        if words is not None and name in words:
            return words[name] if bare else f"{_article(words[name])} {words[name]}"
        if name in names and name not in PLACEHOLDERS:
            return word if bare else f"a {word}"
        if name not in PLACEHOLDERS:
            raise UsageError(
                f"The prompt {shown(prompt)} has an unknown placeholder {{{visible(name[:40])}}}.",
                hint=_HELP,
            )
        return word

    return _BRACES.sub(put, prompt)


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def placeholders(prompt: str) -> tuple[str, ...]:
    """What stands in single braces, whatever it is, in its order, each once."""
    found = (one["name"] for one in _BRACES.finditer(prompt))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def named(prompt: str, names: Collection[str]) -> tuple[str, ...]:
    """The people whom a prompt calls by their names, in its order, each once.

    Raises UsageError for a prompt that calls several and says `{person}` too: that is nobody's name.
    """
    found = [one["name"] for one in _BRACES.finditer(prompt)]
    called = tuple(dict.fromkeys(name for name in found if name in names and name not in PLACEHOLDERS))
    if called and (unnamed := next((name for name in found if name in PLACEHOLDERS), None)) is not None:
        raise UsageError(
            f"The prompt {shown(prompt)} calls people by name and says {{{unnamed}}}.",
            hint="Name everybody, or nobody.",
        )
    return called


def cast(prompt: str, names: Collection[str]) -> list[str]:
    """Who is to be seen: everybody, one after the other; or together in one picture those it names."""
    called = named(prompt, names)
    return [group_name(called)] if called else list(names)


def group_name(names: Collection[str]) -> str:
    """What several people of one picture are called together."""
    return "+".join(names)


def literal(text: str) -> str:
    """An expanded prompt as one that expands to it."""
    return text.replace("{", "{{").replace("}", "}}")


NO_WEIGHTS = "weights of words in prompts are not supported"


def weights_in(prompt: str) -> str | None:
    """The first `(word:1.2)` of a prompt: other programs weigh words so; here it is plain text."""
    found = _WEIGHT.search(prompt)
    return None if found is None else found[0]


def shown(prompt: str) -> str:
    """A prompt as messages quote it: its beginning, without control characters."""
    short = prompt if len(prompt) <= 100 else f"{prompt[:100]}..."
    return f"'{visible(short)}'"
