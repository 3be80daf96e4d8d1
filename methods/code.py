"""Fingerprints of code: what the making of a picture reaches, by content.

    code_of(iterate_samples, SpatialID)        # 16 hexadecimal digits

From the objects named, every statement of first-party modules is followed that a name leads to: functions,
classes, constants, wherever they are imported from, also inside functions. First-party is `methods` and the
package an object lives in, so a plug-in's own code counts. Statements count as a set and by their syntax:
comments, docstrings, annotations, imports, file names and places do not, nor does what only an error
message says. Two trees with the same fingerprint compute the same thing wherever their code lies.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

from methods.statements import Statement, Target, bindings, only_for_types, statement_of

OWN = "methods"
"""The package that is first-party for every object."""

_ROUNDS = 3  # how far a statement's hash sees along its names
_CONTRACT = ("methods.contract", "Method")


class Root(NamedTuple):
    """An object by where it is defined."""

    module: str
    name: str


_Place = tuple[str, int]
"""A top-level statement: its module, and its number there."""


@dataclass(frozen=True, eq=False)
class _Module:
    statements: tuple[Statement, ...]
    places: Mapping[str, list[int]]
    imports: Mapping[str, Target]
    stars: tuple[str, ...]


@dataclass
class Sources:
    """Syntax trees of first-party modules by dotted name, read on demand; a test may put its own in."""

    packages: tuple[str, ...] = (OWN,)
    trees: dict[str, ast.Module | None] = field(default_factory=dict)
    _modules: dict[str, tuple[ast.Module, _Module]] = field(default_factory=dict)
    _statements: dict[tuple[str, int], tuple[ast.stmt, Statement]] = field(default_factory=dict)

    def owns(self, module: str) -> bool:
        """Whether a module is first-party."""
        return module.partition(".")[0] in self.packages

    def tree(self, module: str) -> ast.Module | None:
        """The syntax of a module, None where there is none of that name."""
        if module not in self.trees:
            self.trees[module] = _read(module) if self.owns(module) else None
        return self.trees[module]

    def module(self, name: str) -> _Module | None:
        """A module taken apart into statements."""
        tree = self.tree(name)
        if tree is None:
            return None
        known = self._modules.get(name)
        if known is None or known[0] is not tree:
            self._modules[name] = known = (tree, self._take_apart(name, tree))
        return known[1]

    def statement(self, place: _Place) -> Statement:
        """A statement by its place; of a class of methods, only what their pictures need."""
        found = self.module(place[0])
        assert found is not None
        whole = found.statements[place[1]]
        return whole.slimmer if whole.slimmer is not None and self._is_method(place) else whole

    def _is_method(self, place: _Place, seen: frozenset[_Place] = frozenset()) -> bool:
        """Whether a class derives from the contract's `Method`, or is it."""
        found = self.module(place[0])
        assert found is not None
        one = found.statements[place[1]]
        if (place[0], *one.binds) == _CONTRACT:
            return True
        bases = [to for base in one.bases for to in _resolve(base, place[0], self) if isinstance(to, tuple)]
        return any(self._is_method(base, seen | {place}) for base in bases if base not in seen)

    def _take_apart(self, name: str, tree: ast.Module) -> _Module:
        imports: dict[str, Target] = {}
        stars: list[str] = []
        places: dict[str, list[int]] = {}
        package = name if _is_package(name, self) else name.rpartition(".")[0]
        statements: list[Statement] = []
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found, star = bindings(node, package)
                imports |= found
                stars += star
                continue
            if only_for_types(node):
                continue
            key = (name, id(node))
            if key not in self._statements:
                self._statements[key] = (node, statement_of(node, package))
            statement = self._statements[key][1]
            if isinstance(node, ast.If | ast.Try | ast.With):
                imports |= statement.imports
            for bound in statement.binds:
                places.setdefault(bound, []).append(len(statements))
            statements.append(statement)
        return _Module(tuple(statements), places, imports, tuple(stars))


def code_of(*objects: type | object) -> str:
    """Fingerprint of all first-party code that classes and functions reach; 16 hexadecimal digits.

    Of a class, its bases count too, however they came to be its bases. An object made in an interpreter has
    no source and adds nothing.
    """
    return _code_of(tuple(_roots(objects)))


@cache
def _code_of(roots: tuple[Root, ...]) -> str:
    packages = {OWN, *(root.module.partition(".")[0] for root in roots)}
    return fingerprint(roots, _sources(frozenset(packages | _of_the_same_distributions(packages - {OWN}))))


def _of_the_same_distributions(packages: set[str]) -> set[str]:
    """Top-level packages that were installed together with others: a plug-in may have several."""
    if not packages:
        return set()
    installed = packages_distributions()
    names = {name for package in packages for name in installed.get(package, [])}
    return {package for package, owners in installed.items() if names & set(owners)}


@cache
def _sources(packages: frozenset[str]) -> Sources:
    return Sources(tuple(sorted(packages)))


def _roots(objects: Iterable[object]) -> Iterator[Root]:
    for one in objects:
        for part in one.__mro__ if isinstance(one, type) else (one,):
            module = getattr(part, "__module__", None) or ""
            foreign = part is not one and not module.startswith(f"{OWN}.")
            if foreign and module.partition(".")[0] != one.__module__.partition(".")[0]:
                continue  # a base class of a library
            yield Root(module, getattr(part, "__qualname__", "").partition(".")[0])


def fingerprint(roots: Iterable[Root], sources: Sources) -> str:
    """As `code_of`, of objects by name in given sources."""
    reached = closure(roots, sources)
    base = {place: _sha256(sources.statement(place).text) for place in reached}
    seen: dict[_Place | str, str] = dict(base.items())
    for _ in range(_ROUNDS):
        seen = {
            place: _sha256(base[place] + "".join(sorted(f"\n{name}={_hash(to, seen)}" for name, to in links)))
            for place, links in reached.items()
        }
    return _sha256("\n".join(sorted(set(seen.values()))))[:16]


def _hash(to: _Place | str, seen: Mapping[_Place | str, str]) -> str:
    return to if isinstance(to, str) else seen[to]


def closure(roots: Iterable[Root], sources: Sources) -> dict[_Place, list[tuple[str, _Place | str]]]:
    """Statements (module, number) that roots lead to, each with its names and where they lead.

    A name of a library leads to its dotted name there.
    """
    reached: dict[_Place, list[tuple[str, _Place | str]]] = {}
    waiting: list[_Place] = []
    touched: set[str] = set()

    def touch(module: str) -> None:
        """What runs when a module is imported, and its packages with it, counts as soon as it is reached."""
        while module and module not in touched:
            touched.add(module)
            if (found := sources.module(module)) is not None:
                waiting.extend((module, i) for i, one in enumerate(found.statements) if one.always)
            module = module.rpartition(".")[0]

    for root in roots:
        touch(root.module)
        waiting += [to for to in _resolve((root.name,), root.module, sources) if isinstance(to, tuple)]
    while waiting:
        place = waiting.pop()
        if place in reached:
            continue
        module = place[0]
        touch(module)
        statement = sources.statement(place)
        links: list[tuple[str, _Place | str]] = []
        for chain in statement.uses:
            for to in _resolve(chain, module, sources, statement.imports):
                links.append((".".join(chain), to))
                if isinstance(to, tuple):
                    waiting.append(to)
        reached[place] = links
    return reached


def _resolve(
    chain: tuple[str, ...], module: str, sources: Sources, local: Mapping[str, Target] | None = None
) -> list[_Place | str]:
    """Where a dotted name, as it stands in a module, leads: statements, or a library's name; [] for built-ins
    and variables."""
    target = (local or {}).get(chain[0])
    if target is not None:
        return _follow(target, chain[1:], sources)
    found = sources.module(module)
    if found is None:
        return []
    if chain[0] in found.places:
        return [(module, number) for number in found.places[chain[0]]]
    if chain[0] in found.imports:
        return _follow(found.imports[chain[0]], chain[1:], sources)
    for star in found.stars:
        if there := _resolve(chain, star, sources):
            return there
    return []


def _follow(target: Target, rest: tuple[str, ...], sources: Sources) -> list[_Place | str]:
    module, name = target
    if not sources.owns(module):
        return [".".join(part for part in (module, name, *rest) if part)]
    if name is not None:
        if there := _resolve((name, *rest), module, sources):
            return there
        if sources.tree(f"{module}.{name}") is None:
            # bound in a way that is not seen (a module's __getattr__): all of the module, to be safe
            return _everything(module, sources)
        module = f"{module}.{name}"
    if not rest:
        return _everything(module, sources)
    return _follow(Target(module, rest[0]), rest[1:], sources)


def _everything(module: str, sources: Sources) -> list[_Place | str]:
    found = sources.module(module)
    return [] if found is None else [(module, number) for number in range(len(found.statements))]


# ------------------------------------------------------------------ files
def _read(module: str) -> ast.Module | None:
    """The syntax of a module from its file; a compiled one is its bytes."""
    top, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        return _parse(Path(spec.origin)) if spec.origin and not inner else None
    for folder in map(Path, spec.submodule_search_locations):
        base = folder.joinpath(*inner)
        for file in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if (inner or file.name == "__init__.py") and file.is_file():
                return _parse(file)
        for suffix in EXTENSION_SUFFIXES if inner else ():
            if (file := base.with_name(base.name + suffix)).is_file():
                return _parse(file)
        if base.is_dir():
            return ast.Module(body=[], type_ignores=[])
    return None


def _parse(file: Path) -> ast.Module | None:
    if file.suffix == ".py":
        return ast.parse(file.read_bytes(), str(file))
    try:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:  # built in, or frozen
        return None
    return ast.parse(f"print({content!r})")


def _is_package(module: str, sources: Sources) -> bool:
    """Whether relative imports in a module start at itself."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top) if sources.owns(module) else None
    if spec is None or spec.submodule_search_locations is None:
        return False
    return any(Path(one).joinpath(*inner, "__init__.py").is_file() for one in spec.submodule_search_locations)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
