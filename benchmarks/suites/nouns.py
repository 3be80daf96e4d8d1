"""Which noun of a prompt is the person: for prompts that name one and have no `{person}`. Imports no torch.

A method that puts a word of its own where the person is must know where that is. The rule: the first noun of
the list that is the head of its phrase. "a young woman driver" and "a man's coat" have their heads elsewhere;
of those the next one is taken, or nobody. A suite overrides it per prompt: `person: coach`, `person: none`.
"""

from __future__ import annotations

import re

from methods.errors import UsageError

PERSON_NOUNS = frozenset(
    """
    person man woman boy girl guy lady gentleman individual figure human adult teenager youth child kid
    male female portrait-sitter model actor actress artist athlete astronaut baker barista bartender biker
    boxer bride businessman businesswoman chef climber commuter cook cowboy cyclist dancer detective diver
    doctor driver elder explorer farmer father fencer firefighter fisherman gardener geisha grandfather
    grandmother groom hacker hiker hunter jockey journalist judge king knight magician mechanic monk mother
    musician nun nurse officer painter pianist photographer pilot pirate poet policeman policewoman prince
    princess professor programmer queen reader runner sailor samurai scholar scientist sculptor singer skater
    skier soldier student surfer surgeon swimmer teacher teen tourist traveler traveller violinist waiter
    waitress wanderer warrior witch wizard worker writer
    """.split()
)
"""Nouns for one person. Plurals are not here: a word of one identity stands for one person."""

NOBODY = "none"

_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")


def name_person(template: str, noun: str | None = None) -> tuple[str, str]:
    """A prompt without placeholder with `{person}` where its person is, and the noun that stood there.

    template: with doubled braces; noun: the word meant, `none` for nobody, None to find it by the rule
    returns the template as it is and "" when it names nobody, or has a placeholder already

    Raises UsageError for a noun that the prompt does not hold.
    """
    if "{person}" in template or "{id}" in template:
        return template, ""
    if noun == NOBODY:
        return template, ""
    if noun is not None:
        found = re.search(rf"(?<![\w-]){re.escape(noun)}(?![\w-])", template)
        if found is None:
            raise UsageError(
                f"The prompt {template!r} does not say {noun!r}.", hint="`person` is a word of it, or none."
            )
        return f"{template[: found.start()]}{{person}}{template[found.end() :]}", noun
    words = list(_WORD.finditer(template))
    for place, word in enumerate(words):
        if word[0].lower() in PERSON_NOUNS and _is_head(template, words, place):
            return f"{template[: word.start()]}{{person}}{template[word.end() :]}", word[0]
    return template, ""


def _is_head(text: str, words: list[re.Match[str]], place: int) -> bool:
    """Whether a noun is the last of its phrase: no possessive, and no other person noun right behind it."""
    end = words[place].end()
    if text[end : end + 2] in ("'s", "\u2019s"):
        return False
    following = words[place + 1] if place + 1 < len(words) else None
    return not (
        following is not None
        and text[end : following.start()].isspace()
        and following[0].lower() in PERSON_NOUNS
    )
