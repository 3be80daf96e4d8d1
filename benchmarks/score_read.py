"""Pictures that something else made, and what is known of them, from metadata.jsonl or flags. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methods.errors import UsageError, unknown_name
from methods.prompts import group_name
from methods.textfile import parse_json, read_lines

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
METADATA = "metadata.jsonl"
_TEXT = ("method", "identity", "prompt", "prompt_id", "category", "set")
_FILES = ("reference", "baseline", "target")
_MAPPINGS = ("truth", "reference_truth", "people")
_FACTORS = ("truth", "reference_truth")
_OURS = ("status", "kind")
"""Entries of the metadata that a run of ours writes; its metrics are measured anew."""


@dataclass(frozen=True)
class Scored:
    """One picture to score.

    picture, reference, baseline, target: files; baseline is the picture of the same prompt and seed without
    the identity, target the true picture of this person as the prompt asks. further: more photographs of the
    person of `reference`. identity: '' for a picture of nobody in particular. seed: tells apart the pictures
    of one method, person and prompt. person: number of a pocket person, whose target is rendered. people:
    name -> photographs of everybody, where the picture shall show several; identity is then their names.
    truth, reference_truth: pocket factors, as in a suite. rendered: the pocket backbone made picture and
    baseline. degenerate: whoever made it calls it constant; it has a row and no figures.
    """

    picture: Path
    method: str
    identity: str = ""
    prompt: str = ""
    prompt_id: str = ""
    category: str = ""
    set: str = "pictures"
    seed: int = 0
    reference: Path | None = None
    baseline: Path | None = None
    target: Path | None = None
    person: int | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    reference_truth: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    further: tuple[Path, ...] = ()
    rendered: bool = False
    degenerate: bool = False

    @property
    def files(self) -> list[Path]:
        """All that the picture is measured by, itself first."""
        single = (self.picture, self.baseline, self.target)
        return [*(path for path in single if path is not None), *self.references]

    @property
    def references(self) -> list[Path]:
        """Photographs of everybody whom the picture shall show."""
        single = () if self.reference is None else (self.reference, *self.further)
        return [*single, *(path for files in self.people.values() for path in files)]


def read_metadata_file(file: Path, folder: Path) -> list[Scored]:
    """The pictures that a metadata.jsonl lists, one JSON object a line; paths are relative to its folder.

    `file_name` is needed; the other entries are those of `Scored` by their names, but for `further`: several
    photographs of a person are a list as `reference`. Lines of the kind `reference` are left out, numbers
    under other names (earlier scores) are ignored. Raises UsageError naming file and line.
    """
    found = []
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            where = f"{file}, line {number}"
            entry = parse_json(line, where)
            if not isinstance(entry, dict):
                raise UsageError(f"{where}: not a JSON object.", hint='Write {"file_name": "a.png", ...}.')
            if entry.get("kind", "sample") != "reference":
                found.append(_entry(entry, where, file.parent, folder))
    if not found:
        raise UsageError(f"{file} lists no picture.", hint='Write a line such as {"file_name": "a.png"}.')
    return _numbered(found, str(file))


def read_folder(folder: Path, references: Path | None, prompts: Path | None) -> list[Scored]:
    """Every picture below a folder; those of a subfolder belong to the method that it is named after.

    references: one person's picture, or a folder of them; then a picture is of the person whose file's name
    begins its own. A folder in it is somebody with all the photographs that it holds. prompts: a file with
    one prompt a line, for the pictures in the order of their paths; a single line holds for all. Raises
    UsageError for a folder without pictures, a picture of nobody, another number of prompts.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UsageError(
            f"{folder} holds no pictures.", hint=f"Give a folder of {', '.join(SUFFIXES)} files."
        )
    lines = [] if prompts is None else [line for line in read_lines(prompts) if line.strip()]
    if prompts is not None and len(lines) not in (1, len(files)):
        raise UsageError(
            f"{prompts} has {len(lines)} prompts for {len(files)} pictures.",
            hint="Give one line for all, or one for each picture in the order of their paths.",
        )
    people = _people(references)
    found = []
    for place, file in enumerate(files):
        inside = file.relative_to(folder)
        identity, photographs = _who(file, people, references)
        prompt = lines[place if len(lines) > 1 else 0].strip() if lines else ""
        found.append(
            Scored(
                picture=file,
                method=inside.parts[0] if len(inside.parts) > 1 else folder.resolve().name,
                identity=identity,
                prompt=prompt,
                reference=photographs[0] if photographs else None,
                further=photographs[1:],
            )
        )
    return _numbered(found, str(folder))


def _entry(entry: dict[str, Any], where: str, base: Path, folder: Path) -> Scored:
    known = ("file_name", "seed", "person", *_TEXT, *_FILES, *_MAPPINGS, *_OURS)
    own: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in known:
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                continue  # a score of an earlier run
            raise unknown_name(f"entry of {where}:", name, known)
        if value is None or name in _OURS:
            continue
        if name == "reference" and isinstance(value, list):
            own["reference"], *further = _photographs(value, where, base)
            own["further"] = tuple(further)
            continue
        good: Any = str
        if name in ("seed", "person"):
            good = int
        elif name in _MAPPINGS:
            good = dict
        if not isinstance(value, good) or isinstance(value, bool) or (good is int and value < 0):
            raise UsageError(f"{where}: {name} is {value!r}.", hint=f"It must be {_WORDS[good]}.")
        if name in _FILES or name == "file_name":
            value = (base / value).resolve()
        own["picture" if name == "file_name" else name] = value
    if "picture" not in own:
        raise UsageError(f"{where}: no file_name.", hint='Write {"file_name": "a.png", ...}.')
    if "people" in own:
        several = {name: [of] if isinstance(of, str) else of for name, of in own["people"].items()}
        if len(several) < 2 or not all(isinstance(of, list) and of for of in several.values()):
            raise UsageError(
                f"{where}: people are not several names with a picture each.",
                hint='Write "people": {"anna": "anna.png", "ben": "ben.png"}.',
            )
        if own.get("reference") is not None:
            raise UsageError(f"{where}: has a reference and people.", hint="Give one of the two.")
        own["people"] = {name: _photographs(of, where, base) for name, of in several.items()}
        own.setdefault("identity", group_name(own["people"]))
    if own.get("reference") is not None:
        own.setdefault("identity", own["reference"].stem)
    _check_factors(own, where)
    return Scored(**{"method": folder.resolve().name, **own})


def _photographs(value: list[Any], where: str, base: Path) -> tuple[Path, ...]:
    """Several photographs of a person."""
    if not value or not all(isinstance(file, str) for file in value):
        raise UsageError(
            f"{where}: reference is {value!r}.", hint='Write "reference": ["anna-1.jpg", "anna-2.jpg"].'
        )
    return tuple((base / file).resolve() for file in value)


_WORDS = {str: "text", int: "a whole number, 0 or more", dict: "an object of factors and values"}


def _check_factors(own: Mapping[str, Any], where: str) -> None:
    """Factors of the pocket world by their names and values."""
    from methods.pocket.world.context import FACTORS

    for part in _FACTORS:
        for factor, value in own.get(part, {}).items():
            if factor not in FACTORS:
                raise unknown_name(f"factor of {where}:", str(factor), FACTORS)
            if value not in FACTORS[factor]:
                raise unknown_name(f"{factor} of {where}:", str(value), FACTORS[factor])


def _people(references: Path | None) -> dict[str, tuple[Path, ...]]:
    """Name -> photographs of everybody; longer names first, so that anna-lee is not anna."""
    if references is None:
        return {}
    if not references.is_dir():
        return {references.stem: (references,)}
    listed = [(path.name, _pictures_in(path)) for path in sorted(references.iterdir()) if path.is_dir()]
    listed += [(path.stem, (path,)) for path in _pictures_in(references)]
    found = [(name, files) for name, files in listed if files]
    if not found:
        raise UsageError(f"--reference {references} holds no pictures.", hint="Give one picture a person.")
    twins = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twins:
        raise UsageError(
            f"--reference {references} has two pictures called {twins[0]}.",
            hint="Rename one of them, or put all photographs of a person into a folder of that name.",
        )
    return dict(sorted(found, key=lambda one: (-len(one[0]), one[0])))


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _who(
    file: Path, people: Mapping[str, tuple[Path, ...]], references: Path | None
) -> tuple[str, tuple[Path, ...]]:
    if not people:
        return "", ()
    if references is not None and not references.is_dir():
        return next(iter(people.items()))
    for name, photographs in people.items():
        if file.stem.startswith(name) and not file.stem[len(name) : len(name) + 1].isalnum():
            return name, photographs
    raise UsageError(
        f"{file}: nobody of --reference {references} begins its name.",
        hint=f"Name it {min(people)}-1{file.suffix}, for instance, or write a {METADATA}.",
    )


def _numbered(found: Sequence[Scored], where: str) -> list[Scored]:
    """Seeds for those without one, counted within method, person and prompt, so that no two share a cell."""
    from dataclasses import replace
    from hashlib import sha256

    counts: Counter[tuple[str, ...]] = Counter()
    taken: dict[tuple[Any, ...], Path] = {}
    numbered = []
    for one in found:
        prompt_id = one.prompt_id or sha256(one.prompt.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        key = (one.set, one.method, one.identity, prompt_id)
        seed = one.seed or counts[key]
        counts[key] = max(counts[key], seed) + 1
        if (key, seed) in taken:
            raise UsageError(
                f"{where}: {one.picture.name} and {taken[key, seed].name} are the same sample by method, "
                f"person, prompt and seed {seed}.",
                hint="Give them seeds of their own.",
            )
        taken[key, seed] = one.picture
        numbered.append(replace(one, seed=seed, prompt_id=prompt_id))
    return numbered


def missing_files(scored: Iterable[Scored]) -> list[Path]:
    """Files that are named and not there."""
    named = dict.fromkeys(path for one in scored for path in one.files)
    return [path for path in named if not path.is_file()]
