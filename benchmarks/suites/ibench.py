"""A checkout of the public IBench repository (typemovie/IBench, introduced with EditID, arXiv 2503.12526).

Read as it is. `data/images/NAME_images.json` lists the pictures of an identity set and
`data/prompts/NAME_template.json` the prompts of a prompt set:

    {"datas": [{"num": 0, "id": "/somewhere/IBench/data/images/NAME/picture.jpg", "gender": "female"}]}
    {"datas": [{"num": 0, "prompt": "[portrait,] a {person} ...", "prompt_attr": ["short"],
                "prompt_style": ["Style"]}]}

Text in brackets is dropped and {person} becomes woman or man, as its own scripts do. The absolute paths are
found inside the checkout by their tails. Nothing of that repository, which has no licence, is part of ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.suites.nouns import name_person
from benchmarks.suites.types import CATEGORIES, Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.errors import UsageError
from methods.paths import user_path
from methods.textfile import read_json

PUBLISHED = {
    "unsplash50_short": ("unsplash50", "unsplash50"),
    "chineseid_longer": ("chineseid", "human_longer"),
    "generateid_typemovie": ("generateid", "typemovie"),
}
"""The combinations that IBench names: identity list, prompt list."""

_NOUNS = {"female": "woman", "male": "man"}
_BRACKETS = re.compile(r"\[[^\[\]]*\]")


def read_checkout(folder: str | Path, base: Suite, sets: Sequence[str] = ()) -> Suite:
    """The suite of a checkout, with everything else (seeds, metrics, settings) as in `base`.

    sets: names of PUBLISHED, or `identities:prompts` by the names of the two lists; by default every
    published combination that is there, else every list with every other.

    Raises UsageError when the folder is no checkout, or a list is missing or damaged. A listed picture that
    is missing is an identity with a `problem`.
    """
    checkout = _Checkout(user_path(folder))
    chosen = [checkout.pair(name) for name in dict.fromkeys(sets)] or checkout.default_pairs()
    made = tuple(
        SuiteSet(name, checkout.identities(who), checkout.prompts(what)) for name, who, what in chosen
    )
    return replace(base, sets=made, description=f"{base.description} Data: a checkout of IBench.")


class _Checkout:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.image_lists = self._lists("images", "_images.json")
        self.prompt_lists = self._lists("prompts", "_template.json")
        if not self.image_lists or not self.prompt_lists:
            raise UsageError(
                f"{root} is no checkout of IBench: it has no data/images/*_images.json with "
                "data/prompts/*_template.json.",
                hint="Clone typemovie/IBench and give its folder.",
            )

    def default_pairs(self) -> list[tuple[str, str, str]]:
        there = [
            (name, who, what)
            for name, (who, what) in PUBLISHED.items()
            if who in self.image_lists and what in self.prompt_lists
        ]
        every = [(f"{who}_{what}", who, what) for who in self.image_lists for what in self.prompt_lists]
        return there or every

    def pair(self, name: str) -> tuple[str, str, str]:
        who, colon, what = name.partition(":")
        if not colon:
            who, what = PUBLISHED.get(name, ("", ""))
        if who not in self.image_lists or what not in self.prompt_lists:
            raise UsageError(
                f"The checkout has no set {name!r}.",
                hint=f"Published: {', '.join(PUBLISHED)}; or identities:prompts out of "
                f"{', '.join(self.image_lists)} and {', '.join(self.prompt_lists)}.",
            )
        return (f"{who}_{what}" if colon else name), who, what

    def identities(self, name: str) -> tuple[SuiteIdentity, ...]:
        people: dict[str, SuiteIdentity] = {}
        for record in self._records(self.image_lists[name]):
            listed = str(record.get("id", ""))
            noun = _NOUNS.get(str(record.get("gender", "")).lower(), "person")
            title = f"{name}/{_parts(listed).name or record.get('num')}"
            title = _unique(title, people)
            found = self.find(listed)
            problem = "" if found else f"the picture listed as {listed!r} is not in the checkout"
            people[title] = SuiteIdentity(title, noun, str(found) if found else None, problem=problem)
        return tuple(people.values())

    def prompts(self, name: str) -> tuple[SuitePrompt, ...]:
        prompts: dict[str, SuitePrompt] = {}
        for place, record in enumerate(self._records(self.prompt_lists[name])):
            number = record.get("num", place)
            if type(number) is not int:
                where = f"{self.prompt_lists[name]}: entry {place}"
                raise UsageError(
                    f"{where}: `num` is {str(number)[:40]!r}, not a whole number.", hint="Clone IBench again."
                )
            title = _unique(f"{name}-{number:03d}", prompts)
            text, noun = name_person(template(str(record.get("prompt", ""))))
            prompts[title] = SuitePrompt(
                id=title,
                text=text,
                category=_category(record.get("prompt_style")),
                kind=_first(record.get("prompt_attr")) or "short",
                noun=noun,
            )
        return tuple(prompts.values())

    def find(self, listed: str) -> Path | None:
        """The file of a listed path: the longest of its tails that exists in the checkout.

        File names may be stored in another Unicode normalisation than listed, and folders may have been
        renamed; then a unique file of that name is taken. Nothing outside the checkout is ever found.
        """
        parts = [part for part in _parts(listed).parts if part.strip("/")]
        if ".." in parts or "\0" in listed:
            return None
        for start in range(len(parts)):
            if (found := self._inside(self.root.joinpath(*parts[start:]))) is not None:
                return found
        if not parts:
            return None
        named = self._by_name.get(_plain(parts[-1]), [])
        if len(named) > 1:
            named = [
                path for path in named if len(parts) > 1 and _plain(path.parent.name) == _plain(parts[-2])
            ]
        return self._inside(named[0]) if len(named) == 1 else None

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in sorted((self.root / "data" / "images").rglob("*")):
            if path.is_file() and path.suffix != ".json":
                found.setdefault(_plain(path.name), []).append(path)
        return found

    def _inside(self, path: Path) -> Path | None:
        try:
            real = path.resolve()
            return real if real.is_relative_to(self.root) and real.is_file() else None
        except (OSError, ValueError):  # a name longer than the file system can hold
            return None

    def _lists(self, kind: str, ending: str) -> dict[str, Path]:
        return {
            path.name.removesuffix(ending): path
            for path in sorted((self.root / "data" / kind).glob(f"*{ending}"))
        }

    def _records(self, path: Path) -> list[Mapping[str, Any]]:
        records = read_json(path, keys=["datas"], hint="Clone IBench again.")["datas"]
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise UsageError(f"{path} is no list of IBench.", hint="Clone it again.")
        return records


def template(prompt: str) -> str:
    """IBench's `[portrait,] a {person} ...` as a template of ours: brackets dropped, other braces doubled."""
    text = _BRACKETS.sub("", prompt)
    text = text.replace("{", "{{").replace("}", "}}").replace("{{person}}", "{person}")
    return " ".join(text.split())


def _unique(title: str, known: Mapping[str, object]) -> str:
    """A title that no other entry of the list has: files and numbers are listed twice in the public ones."""
    candidates = (title, *(f"{title} #{number}" for number in range(2, len(known) + 3)))
    return next(one for one in candidates if one not in known)


def _first(values: Any) -> str:
    return str(values[0]) if isinstance(values, list) and values else ""


def _category(styles: Any) -> str:
    """The taxonomy's own spelling: the public file also has `background`; long lists name themselves."""
    first = _first(styles)
    return next((known for known in CATEGORIES if known.lower() == first.lower()), first)


def _parts(listed: str) -> PurePosixPath:
    """A listed path, whoever's slashes it has."""
    return PurePosixPath(listed.replace("\\", "/"))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
