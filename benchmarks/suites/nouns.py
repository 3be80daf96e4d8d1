"""Which noun of a prompt is the person: for prompts that name one and have no `{person}`. Imports no torch.

A method that puts a word of its own where the person is must know where that is. The rule: the first noun of
the list that is the head of its phrase. "a young woman driver", "a male guitarist" and "a man's coat" have
their heads elsewhere; of those the next one is taken, or nobody. Where nothing else is left, "a man's face"
shows the man. A suite overrides it per prompt: `person: coach`, `person: none`.

Of the 202 prompts of the public IBench lists, read one by one, it finds the person of all 189 that have one.
"""

from __future__ import annotations

import re

from methods.errors import UsageError

PERSON_NOUNS = frozenset(
    """
    person man woman boy girl guy lady gentleman individual figure human adult teenager youth child kid
    male female actor actress adventurer animator archer artisan artist astronaut athlete baker ballerina
    barista bartender biker blacksmith boxer bride businessman businesswoman carpenter cashier character
    cheerleader chef climber commuter cook cowboy craftsman craftswoman cyclist dancer detective director
    diver doctor driver drummer elder engineer explorer farmer father fencer firefighter fisherman
    gardener geisha golfer grandfather grandmother groom guitarist gymnast hacker hiker host hostess
    hunter interviewer jockey journalist judge kayaker king knight magician mechanic model monk mother
    musician nun nurse officer operator painter parent photographer pianist pilot pirate player poet
    policeman policewoman portrait-sitter presenter prince princess professor programmer protagonist queen
    reader rider runner sailor samurai scholar scientist sculptor singer skater skier skydiver soldier
    student surfer surgeon swimmer teacher teen thrill-seeker tourist traveler traveller vendor violinist
    waiter waitress wanderer warrior welder witch wizard worker writer
    """.split()
)
"""Nouns for one person. Plurals are not here: a word of one identity stands for one person."""

NOBODY = "none"

_ADJECTIVES = frozenset({"male", "female", "adult", "human", "teen", "elder"})
"""Nouns that are adjectives before a word of any kind but those that end a phrase."""

_AFTER_PHRASE = frozenset(
    """
    a an and as at behind beside by for from has holds in is looks near of on or sits stands that the to under
    walks wears who with without
    """.split()
)

_SHOWN = re.compile(r"['\u2019]s(?: \w+)? (?:face|head|portrait|profile)\b")
"""What of somebody is the person as seen."""

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
    places = [place for place, word in enumerate(words) if word[0].lower() in PERSON_NOUNS]
    heads = [words[place] for place in places if _is_head(template, words, place)]
    shown = [words[place] for place in places if _SHOWN.match(template, words[place].end())]
    for word in (*heads, *shown):
        return f"{template[: word.start()]}{{person}}{template[word.end() :]}", word[0]
    return template, ""


def _is_head(text: str, words: list[re.Match[str]], place: int) -> bool:
    """Whether a noun is the last of its phrase: no possessive, and no noun right behind it."""
    end = words[place].end()
    if text[end : end + 2] in ("'s", "\u2019s"):
        return False
    following = words[place + 1] if place + 1 < len(words) else None
    if following is None or not text[end : following.start()].isspace():
        return True
    word = following[0].lower()
    if words[place][0].lower() in _ADJECTIVES:
        return word in _AFTER_PHRASE or word.endswith("ing")
    return word not in PERSON_NOUNS
