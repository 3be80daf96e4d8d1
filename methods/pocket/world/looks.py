"""What people look like, in words: one table of phrases per attribute, in the renderer's own terms."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from methods.pocket.world.captions import caption
from methods.pocket.world.context import Context
from methods.pocket.world.person import Person

# the first word or phrase of every value is the canonical one
HAIR_WORDS: dict[str, tuple[str, ...]] = {
    "black": ("black", "jet black", "raven"),
    "dark brown": ("dark brown", "chocolate brown", "brunette"),
    "brown": ("brown", "chestnut brown", "hazel brown"),
    "auburn": ("auburn", "reddish brown", "mahogany"),
    "ginger": ("red", "ginger", "copper"),
    "blond": ("blond", "golden", "blonde"),
    "platinum": ("platinum blond", "platinum", "very light blond"),
    "grey": ("grey", "gray", "silver"),
    "white": ("white", "snow white", "pure white"),
    "blue": ("blue", "dyed blue", "bright blue"),
    "pink": ("pink", "dyed pink", "bright pink"),
    "green": ("green", "dyed green", "bright green"),
    "purple": ("purple", "dyed purple", "violet"),
}
"""Colours of hair and beards."""
HAIR_CUTS: dict[str, tuple[str, ...]] = {
    "bald": ("a bald head", "no hair", "a shaved head"),
    "buzz": ("a {} buzz cut", "very short {} hair", "close-cropped {} hair"),
    "short": ("short {} hair", "short cut {} hair", "a short {} haircut"),
    "side part": ("side-parted {} hair", "short {} hair parted on the side", "{} hair with a side part"),
    "quiff": ("a {} quiff", "{} hair brushed up", "short {} hair in a quiff"),
    "spiky": ("spiky {} hair", "{} hair in spikes", "short spiky {} hair"),
    "curly": ("curly {} hair", "{} curls", "a head of {} curls"),
    "afro": ("a {} afro", "afro {} hair", "a big {} afro"),
    "bob": ("a {} bob", "chin-length {} hair", "{} hair cut in a bob"),
    "long straight": ("long straight {} hair", "long {} hair", "straight long {} hair"),
    "long wavy": ("long wavy {} hair", "long {} hair in waves", "wavy long {} hair"),
    "bun": ("{} hair in a bun", "a {} bun", "{} hair tied up"),
    "ponytail": ("a {} ponytail", "{} hair in a ponytail", "{} hair tied back"),
}
"""Cuts; {} is the colour."""
HAIR_LENGTHS: dict[str, str] = {
    "bald": "none", "buzz": "short", "short": "short", "side part": "short", "quiff": "short",
    "spiky": "short", "curly": "medium", "afro": "medium", "bob": "medium",
    "long straight": "long", "long wavy": "long", "bun": "tied", "ponytail": "tied",
}  # fmt: skip
"""Length by cut."""
BEARD_WORDS: dict[str, tuple[str, ...]] = {
    "stubble": ("{} stubble", "a stubbly beard", "a three-day beard"),
    "moustache": ("a {} moustache", "a {} mustache", "a bushy {} moustache"),
    "goatee": ("a {} goatee", "a {} chin beard", "a {} van dyke beard"),
    "full": ("a full {} beard", "a {} beard", "a thick {} beard"),
    "long": ("a long {} beard", "a very long {} beard", "a long {} wizard beard"),
}
"""Beards; {} is the colour of the hair."""
IRIS_WORDS: dict[str, tuple[str, ...]] = {
    "dark": ("dark", "nearly black", "very dark"),
    "brown": ("brown", "deep brown", "chestnut brown"),
    "amber": ("amber", "honey", "light brown"),
    "green": ("green", "emerald green", "bright green"),
    "blue": ("blue", "bright blue", "sky blue"),
    "grey": ("grey", "gray", "steel grey"),
    "violet": ("violet", "purple", "lilac"),
}
NOSE_WORDS: dict[str, tuple[str, ...]] = {
    "button": ("a button nose", "a small round nose", "a snub nose"),
    "straight": ("a straight nose", "an even nose", "a classic straight nose"),
    "broad": ("a broad nose", "a wide nose", "a flat broad nose"),
    "pointed": ("a pointed nose", "a pointy nose", "a sharp nose"),
    "hooked": ("a hooked nose", "an aquiline nose", "a curved nose"),
}
LIP_WORDS: dict[str, tuple[str, ...]] = {
    "rose": ("rose lips", "pink lips", "rosy lipstick"),
    "red": ("red lips", "red lipstick", "bright red lips"),
    "plum": ("plum lips", "dark purple lips", "plum lipstick"),
    "pale": ("pale lips", "colourless lips", "very pale lips"),
}
MARK_WORDS: dict[str, tuple[str, ...]] = {
    "freckles": ("freckles", "a freckled face", "many freckles"),
    "mole left cheek": ("a mole on the left cheek", "a beauty spot on the left cheek", "a left cheek mole"),
    "mole right cheek": (
        "a mole on the right cheek",
        "a beauty spot on the right cheek",
        "a right cheek mole",
    ),
    "mole chin": ("a mole on the chin", "a beauty spot on the chin", "a chin mole"),
    "scar left cheek": ("a scar on the left cheek", "a scarred left cheek", "a left cheek scar"),
    "scar right cheek": ("a scar on the right cheek", "a scarred right cheek", "a right cheek scar"),
    "rosy cheeks": ("rosy cheeks", "red cheeks", "blushing cheeks"),
    "birthmark left": ("a birthmark on the left", "a birthmark left of the face", "a left birthmark"),
    "birthmark right": ("a birthmark on the right", "a birthmark right of the face", "a right birthmark"),
}
MAKEUP_WORDS: dict[str, tuple[str, ...]] = {
    "smoky": ("smoky eye makeup", "dark eyeshadow", "smoky eyes"),
    "blue": ("blue eye makeup", "blue eyeshadow", "blue eyelids"),
    "rose": ("rose eye makeup", "pink eyeshadow", "rose eyelids"),
    "green": ("green eye makeup", "green eyeshadow", "green eyelids"),
}
SKINS: tuple[tuple[str, ...], ...] = (
    ("very fair skin", "porcelain skin", "very pale skin"),
    ("fair skin", "light skin", "pale skin"),
    ("tanned skin", "olive skin", "light brown skin"),
    ("brown skin", "medium brown skin", "deep tan skin"),
    ("dark brown skin", "dark skin", "deep brown skin"),
)
"""From light to dark, a fifth of the renderer's scale each."""
AGES: tuple[tuple[str, ...], ...] = (("young", "youthful"), ("middle-aged", "mature"), ("old", "elderly"))
"""Below .3; from .55 on, where lines show; and from .75 on. Between is unremarkable."""
ATTRIBUTES = ("hair", "beard", "eyes", "skin", "mark", "brows", "nose", "lips", "face", "makeup")
"""What `look` can speak of, the most telling first; age stands before the noun."""

_SIZES = (
    ("a narrow face", "a slim face", "a thin face"),
    ("a wide face", "a broad face", "a round wide face"),
)
_LENGTHS = (
    ("a short face", "a round short face", "a compact face"),
    ("a long face", "a tall face", "an oval face"),
)
_JAWS = (
    ("a narrow jaw", "a pointed chin", "a slender jaw"),
    ("a square jaw", "a strong jaw", "a broad jaw"),
)  # fmt: skip
_BROWS = (
    ("thin eyebrows", "thin brows", "fine eyebrows"),
    ("thick eyebrows", "bushy brows", "heavy eyebrows"),
)  # fmt: skip
_FULLNESS = (("thin lips", "narrow lips", "a thin mouth"), ("full lips", "plump lips", "thick lips"))
_EYES = (("small", "narrow"), ("big", "large"))
_LOW, _HIGH = 0.25, 0.75

Pick = Callable[[tuple[str, ...]], str]


def _extreme(value: float, phrases: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
    """The phrases of a small or a large value; none of those between, which nobody remarks on."""
    return phrases[0] if value < _LOW else phrases[1] if value > _HIGH else ()


def age_phrases(person: Person) -> tuple[str, ...]:
    """Words for the age, empty between young and middle-aged."""
    if person.age < 0.3:
        return AGES[0]
    return () if person.age < 0.55 else AGES[1] if person.age < 0.75 else AGES[2]


def look(person: Person, attribute: str, pick: Pick = lambda phrases: phrases[0]) -> str:
    """A phrase about one of `ATTRIBUTES` such as 'long wavy red hair'; '' where nothing is remarkable.

    pick: chooses among synonyms; the canonical one without it. Phrases follow 'with'.
    """
    hair = HAIR_WORDS[person.hair_colour]
    if attribute == "hair":
        cut = pick(HAIR_CUTS[person.hair_style])
        return _fitted(cut, pick(hair)) if "{}" in cut else cut
    if attribute == "beard":
        return "" if person.beard == "none" else _fitted(pick(BEARD_WORDS[person.beard]), pick(hair))
    if attribute == "eyes":
        size = _extreme(person.eye_size, _EYES)
        return " ".join([*([pick(size)] if size else []), pick(IRIS_WORDS[person.iris]), "eyes"])
    if attribute == "skin":
        return pick(SKINS[min(int(person.skin * len(SKINS)), len(SKINS) - 1)])
    if attribute == "face":
        for value, phrases in (
            (person.face_width, _SIZES), (person.face_length, _LENGTHS), (person.jaw, _JAWS),
        ):  # fmt: skip
            if found := _extreme(value, phrases):
                return pick(found)
        return ""
    if attribute == "lips":
        coloured = LIP_WORDS.get(person.lip_colour) or _extreme(person.lip_fullness, _FULLNESS)
        return pick(coloured) if coloured else ""
    table = {
        "mark": MARK_WORDS.get(person.mark, ()),
        "makeup": MAKEUP_WORDS.get(person.makeup, ()),
        "nose": NOSE_WORDS[person.nose_shape],
        "brows": _extreme(person.brow_thickness, _BROWS),
    }[attribute]
    return pick(table) if table else ""


def _fitted(phrase: str, colour: str) -> str:
    """The colour in its place, and the article before it."""
    filled = phrase.format(colour)
    return re.sub(r"^a (?=[aeiou])", "an ", filled)


def description(person: Person, count: int | None = None) -> str:
    """What somebody looks like in canonical words: 'a young woman with a red bob, green eyes and freckles'.

    count: at most so many attributes, the most telling ones first; all of them without it.
    """
    looks = [phrase for attribute in ATTRIBUTES if (phrase := look(person, attribute))][:count]
    age = age_phrases(person)[:1]
    noun = " ".join([*age, person.gender])
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} with {listed(looks)}"


def listed(phrases: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def described_caption(
    person: Person, context: Context, rng: np.random.Generator, *, name: str | None = None, share: float = 0.5
) -> str:
    """A random caption; in `share` of the cases it says what the person looks like, one to four things of it.

    Eyes behind sunglasses are not spoken of. Without a description the caption is as `caption` draws it.
    """

    def pick(phrases: tuple[str, ...]) -> str:
        return phrases[0] if rng.random() < 0.5 else phrases[int(rng.integers(len(phrases)))]

    if rng.random() >= share:
        return caption(person, context, name=name, rng=rng)
    hidden = ("eyes", "makeup", "brows") if context.accessory == "sunglasses" else ()
    seen = [a for a in ATTRIBUTES if a not in hidden and look(person, a)]
    weights = np.array([3.0 if a in ("hair", "beard", "eyes") else 1.0 for a in seen])
    wanted = min(len(seen), int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.2, 0.15])))
    chosen = rng.choice(len(seen), wanted, replace=False, p=weights / weights.sum())
    looks = [look(person, seen[int(i)], pick) for i in chosen]
    age = age_phrases(person) if rng.random() < 0.4 else ()
    return caption(person, context, name=name, rng=rng, looks=listed(looks), age=pick(age) if age else "")


def words() -> tuple[str, ...]:
    """Every word that this module can say."""
    tables = (HAIR_WORDS, HAIR_CUTS, BEARD_WORDS, IRIS_WORDS, NOSE_WORDS, LIP_WORDS, MARK_WORDS, MAKEUP_WORDS)
    phrases = [phrase for table in tables for choice in table.values() for phrase in choice]
    pairs = (SKINS, AGES, _SIZES, _LENGTHS, _JAWS, _BROWS, _FULLNESS, _EYES)
    phrases += [phrase for pair in pairs for choice in pair for phrase in choice]
    return tuple(sorted(set(re.findall(r"[a-z-]+", " ".join([*phrases, "eyes with and a an"])))))
