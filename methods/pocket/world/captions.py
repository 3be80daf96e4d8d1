"""Captions: one canonical sentence per picture, and a grammar of synonyms, orders and omissions."""

from __future__ import annotations

import re

import numpy as np

from methods.pocket.world.context import Context
from methods.pocket.world.person import CELEBRITIES, Person

# the first phrase of every value is the canonical one
STYLES: dict[str, tuple[str, ...]] = {
    "photo": ("a photo of", "a photograph of", "a portrait photo of", "a picture of"),
    "sketch": ("a pencil sketch of", "a sketch of", "a pencil drawing of"),
    "watercolor": ("a watercolor painting of", "a watercolor of", "an aquarelle of"),
    "comic": ("a comic drawing of", "a comic book panel of", "a cartoon of"),
    "oil painting": ("an oil painting of", "an oil portrait of", "a framed oil painting of"),
}
SCENES: dict[str, tuple[str, ...]] = {
    "beach": ("on a beach", "at the beach", "by the sea"),
    "city": ("in a city", "in front of skyscrapers", "downtown"),
    "forest": ("in a forest", "in the woods", "among pine trees"),
    "desert": ("in a desert", "among sand dunes", "in the desert with cacti"),
    "mountains": ("in snowy mountains", "in front of snowy mountains", "in the snow"),
    "living room": ("in a living room", "at home on a sofa", "in a cozy living room"),
    "library": ("in a library", "in front of bookshelves", "among old books"),
    "garden": ("in a garden", "in a flower garden", "in a blooming meadow"),
    "night sky": ("under a starry night sky", "under the stars", "at night under the moon"),
    "studio": ("in a studio", "against a plain background", "in front of a grey backdrop"),
}
CLOTHES: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "tee", "shirt"),
    "sweater": ("sweater", "pullover", "turtleneck"),
    "suit": ("suit", "jacket and tie", "business suit"),
    "hoodie": ("hoodie", "hooded sweatshirt"),
}
COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "scarlet", "crimson"),
    "orange": ("orange", "bright orange", "tangerine"),
    "yellow": ("yellow", "lemon yellow", "golden yellow"),
    "green": ("green", "leaf green", "emerald"),
    "blue": ("blue", "royal blue", "cobalt"),
    "purple": ("purple", "deep purple", "lilac purple"),
    "pink": ("pink", "light pink", "rose pink"),
    "white": ("white", "snow white", "plain white"),
    "black": ("black", "jet black", "charcoal"),
    "brown": ("brown", "dark brown", "chestnut"),
}
EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "neutral": ("neutral", "calm", "expressionless"),
    "smiling": ("smiling", "happy", "cheerful"),
    "laughing": ("laughing", "grinning widely", "bursting with laughter"),
    "sad": ("sad", "crying", "unhappy"),
    "angry": ("angry", "furious", "mad"),
    "surprised": ("surprised", "astonished", "shocked"),
}
ACCESSORIES: dict[str, tuple[str, ...]] = {
    "glasses": ("glasses", "eyeglasses", "spectacles"),
    "sunglasses": ("sunglasses", "dark glasses", "shades"),
    "hat": ("a hat", "a brimmed hat", "a fedora"),
    "crown": ("a crown", "a golden crown", "a royal crown"),
    "headphones": ("headphones", "big headphones", "a headset"),
    "scarf": ("a scarf", "a striped scarf", "a knitted scarf"),
}
ACTIONS: dict[str, tuple[str, ...]] = {
    "waving": ("waving", "waving hello", "raising a hand"),
    "balloon": ("holding a balloon", "with a balloon", "carrying a red balloon"),
    "book": ("reading a book", "holding an open book", "with a book"),
    "coffee": ("drinking coffee", "holding a cup of coffee", "with a coffee mug"),
    "flowers": ("holding flowers", "holding a bouquet", "with a bunch of flowers"),
}
POSES: dict[str, tuple[str, ...]] = {
    "front": ("facing the camera", "looking straight ahead", "front view"),
    "left": ("turned left", "looking left", "facing left"),
    "right": ("turned right", "looking right", "facing right"),
}
LIGHTS: dict[str, tuple[str, ...]] = {
    "daylight": ("daylight", "in natural light", "in bright daylight"),
    "golden hour": ("golden hour light", "at sunset", "in warm evening light"),
    "moonlight": ("moonlight", "in blue moonlight", "in cold blue light"),
    "neon": ("neon light", "in neon lights", "lit by pink and cyan neon"),
}
FRAMINGS: dict[str, tuple[str, ...]] = {
    "close-up": ("close-up", "close-up view", "headshot"),
    "portrait": ("portrait", "head and shoulders", "medium shot"),
    "wide": ("wide shot", "half body shot", "seen from afar"),
}
NOUNS = ("man", "woman", "person")
_TABLES = (STYLES, SCENES, CLOTHES, COLOURS, EXPRESSIONS, ACCESSORIES, ACTIONS, POSES, LIGHTS, FRAMINGS)
# these cannot stand before the noun and become a clause of their own
_AFTER_NOUN = ("grinning widely", "bursting with laughter")
# a clause that begins so reads on from the subject without a comma
_CONTINUES = ("wearing", "in ", "on ", "at ", "dressed", "with ", "holding", "under")
_MENTIONED = {
    "clothing": 0.88,
    "scene": 0.88,
    "expression": 0.8,
    "accessory": 0.8,
    "action": 0.8,
    "pose": 0.7,
    "light": 0.7,
    "framing": 0.7,
}
UNSAID = {
    "expression": "neutral",
    "accessory": "none",
    "action": "none",
    "pose": "front",
    "light": "daylight",
    "framing": "portrait",
}
"""Values that a canonical caption leaves unsaid; a prompt without them asks for nothing."""
# how often a value that a listener takes for granted is said at all
_UNREMARKABLE = {
    "expression": ("neutral", 0.35),
    "pose": ("front", 0.3),
    "light": ("daylight", 0.3),
    "framing": ("portrait", 0.3),
}


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def caption(
    person: Person,
    context: Context,
    *,
    name: str | None = None,
    rng: np.random.Generator | None = None,
    looks: str = "",
    age: str = "",
) -> str:
    """Describe a picture in at most 40 lower-case words.

    Without `rng`: the canonical caption, which mentions everything that is not 'none' or unremarkable. With
    `rng`: synonyms, clause order and omissions are drawn from it. `name` (a celebrity, or 'sks person')
    takes the place of 'a man' or 'a woman', which is 'a person' a quarter of the time. looks: a list of
    phrases about the person, said after 'with'; age: a word before the noun, unsaid beside a name.
    """

    def pick(phrases: tuple[str, ...]) -> str:
        if rng is None or rng.random() < 0.5:
            return phrases[0]
        return phrases[int(rng.integers(len(phrases)))]

    def said(factor: str) -> bool:
        value = getattr(context, factor)
        if value == "none":
            return False
        plain, share = _UNREMARKABLE.get(factor, (None, 0.0))
        if rng is None:
            return value != plain
        return bool(rng.random() < (share if value == plain else _MENTIONED[factor]))

    mood = pick(EXPRESSIONS[context.expression]) if said("expression") else ""
    noun = person.gender if rng is None or rng.random() >= 0.25 else "person"
    clauses: list[str] = []
    if name is None:
        before = mood if mood not in _AFTER_NOUN else ""
        subject = " ".join(word for word in (before, age, noun) if word)
        subject = f"{_article(subject)} {subject}"
        mood = "" if before else mood
    else:
        subject = name.lower()
        if mood and mood not in _AFTER_NOUN and (rng is None or rng.random() < 0.5):
            subject, mood = f"{mood} {subject}", ""
    if mood:
        clauses.append(mood)
    if looks:
        clauses.insert(0, f"with {looks}")
    worn: list[str] = []
    if said("clothing"):
        garment = f"{pick(COLOURS[context.clothing_color])} {pick(CLOTHES[context.clothing])}"
        worn.append(f"{_article(garment)} {garment}")
    if said("accessory"):
        worn.append(pick(ACCESSORIES[context.accessory]))
    if worn:
        if rng is not None and len(worn) == 2 and rng.random() < 0.3:
            clauses += [
                f"wearing {worn[0]}",
                f"with {worn[1]}" if rng.random() < 0.5 else f"wearing {worn[1]}",
            ]
        else:
            verb = "wearing"
            if rng is not None and rng.random() >= 0.7:
                verb = "in" if len(worn) == 1 and worn[0][0] == "a" else "dressed in"
            clauses.append(f"{verb} {' and '.join(worn)}")
    for factor, phrases in (
        ("action", ACTIONS), ("pose", POSES), ("scene", SCENES), ("light", LIGHTS), ("framing", FRAMINGS),
    ):  # fmt: skip
        if said(factor):
            clauses.append(pick(phrases[getattr(context, factor)]))
    if rng is not None:
        clauses = [clauses[i] for i in rng.permutation(len(clauses))]
    style = pick(STYLES[context.style])
    if not clauses:
        return f"{style} {subject}"
    # the first clause continues the subject, the others are set off by commas
    joint = " " if clauses[0].startswith(_CONTINUES) else ", "
    return f"{style} {subject}{joint}{', '.join(clauses)}"


def _words() -> tuple[str, ...]:
    text = ["a an and in wearing with dressed", *NOUNS, *CELEBRITIES]
    for table in _TABLES:
        text += [phrase for phrases in table.values() for phrase in phrases]
    return tuple(sorted(set(re.split(r"[ ,]+", " ".join(text)))))


VOCABULARY: tuple[str, ...] = _words()
