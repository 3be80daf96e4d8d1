"""A statement of Python by what of it counts: for fingerprints of code (`methods.code`).

Comments, docstrings, annotations and imports do not count, nor what only an error message or a method's
card says.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

_BESIDE_PICTURES = frozenset({"info", "training_task", "untrained", "save"})
"""What a method has that no picture's making reaches: its card, its training, its files."""

_UNCOUNTED = frozenset({"annotation", "returns", "type_comment", "ctx", "kind", "msg"})
_OF_A_CARD = frozenset({"name", "kind", "identity"})  # the rest of a card is for readers
_MERE_DECORATORS = frozenset(
    {
        "cache", "lru_cache", "contextmanager", "dataclass", "final", "overload", "runtime_checkable",
        "total_ordering", "wraps", "no_grad", "inference_mode",
    }
)  # fmt: skip
"""All others may enter what they decorate somewhere, from where it is called without its name."""


class Target(NamedTuple):
    """What an import binds a name to: `name` of `module`, or the module itself."""

    module: str
    name: str | None


@dataclass(frozen=True, eq=False)
class Statement:
    """A top-level statement: its normalised text, the dotted names it uses, what it imports inside.

    always:  whether it acts although nobody names what it binds
    bases:   of a class, as dotted names
    slimmer: of a class, the same without what a method has beside its pictures
    """

    text: str
    uses: frozenset[tuple[str, ...]]
    imports: Mapping[str, Target]
    binds: frozenset[str]
    always: bool
    bases: tuple[tuple[str, ...], ...] = ()
    slimmer: Statement | None = None


def statement_of(node: ast.stmt, package: str) -> Statement:
    whole = _part(node, package)
    if not isinstance(node, ast.ClassDef):
        return whole
    kept = [one for one in node.body if not _beside(one)]
    bases = tuple(chain for base in node.bases if (chain := _chain(_unsubscripted(base))) is not None)
    slimmer = None
    if len(kept) < len(node.body):
        own = {name: value for name, value in ast.iter_fields(node) if name != "body"}
        slimmer = _part(ast.ClassDef(**own, body=kept), package)
    return replace(whole, bases=bases, slimmer=slimmer)


def _part(node: ast.stmt, package: str) -> Statement:
    imports: dict[str, Target] = {}
    uses: set[tuple[str, ...]] = set()
    text = "".join(_write(node, package, imports, uses))
    return Statement(text, frozenset(uses), imports, frozenset(_bound(node)), _acts(node))


def _write(
    node: object, package: str, imports: dict[str, Target], uses: set[tuple[str, ...]]
) -> Iterator[str]:
    """The syntax that counts, as text; imports and names are collected on the way.

    Of our own making: `ast.dump` writes other texts in other versions of Python.
    """
    if isinstance(node, list):
        yield "["
        for item in node:
            if text := "".join(_write(item, package, imports, uses)):
                yield f"{text},"
        yield "]"
        return
    if not isinstance(node, ast.AST):
        yield repr(node)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports |= bindings(node, package)[0]
        return
    if isinstance(node, ast.stmt) and (only_for_types(node) or _says_nothing(node)):
        return
    if (chain := _chain(node)) is not None:
        uses.add(chain)
        yield ".".join(chain)
        return
    yield f"{type(node).__name__}("
    for name, value in _counting(node):
        yield f"{name}="
        yield from _write(value, package, imports, uses)
        yield ","
    yield ")"


def _counting(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Fields of a node that decide what it does."""
    if isinstance(node, ast.Call) and (_chain(node.func) or ("",))[-1] == "MethodInfo":
        yield "card", [one for one in node.keywords if one.arg in _OF_A_CARD]
        return
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name in _UNCOUNTED:
            continue
        if isinstance(node, ast.Raise) and isinstance(value, ast.Call):
            value = value.func  # which error it is counts, what it says does not
        yield name, value


def _beside(node: ast.stmt) -> bool:
    """Whether a class's statement is what methods have beside their pictures."""
    if isinstance(node, ast.FunctionDef):
        return node.name in _BESIDE_PICTURES
    return isinstance(node, ast.Assign | ast.AnnAssign) and bool(_BESIDE_PICTURES & set(_bound(node)))


def _chain(node: ast.AST) -> tuple[str, ...] | None:
    """`a.b.c` as names; None for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else None


def _says_nothing(node: ast.stmt) -> bool:
    """Docstrings, wherever they stand, and other constants that nothing is done with."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def only_for_types(node: ast.stmt) -> bool:
    chain = _chain(node.test) if isinstance(node, ast.If) else None
    return chain is not None and chain[-1] == "TYPE_CHECKING"


def bindings(node: ast.Import | ast.ImportFrom, package: str) -> tuple[dict[str, Target], list[str]]:
    """What an import binds, and the modules it takes everything of."""
    found: dict[str, Target] = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            found[alias.asname or top] = Target(alias.name if alias.asname else top, None)
        return found, []
    module = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1])
        module = f"{base}.{module}" if module else base
    stars = [module for alias in node.names if alias.name == "*"]
    found = {alias.asname or alias.name: Target(module, alias.name) for alias in node.names}
    found.pop("*", None)
    return found, stars


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a top-level statement gives to its module."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    waiting: list[ast.AST] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield one.name
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            yield one.id
        else:
            waiting += ast.iter_child_nodes(one)


def _acts(node: ast.stmt) -> bool:
    """Whether a statement does something although nobody names what it binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        decorators = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
        return any((_chain(one) or ("",))[-1] not in _MERE_DECORATORS for one in decorators)
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not any(_bound(node))
    return not _says_nothing(node)


def _unsubscripted(node: ast.expr) -> ast.expr:
    """`Base` of `Base[T]`."""
    return node.value if isinstance(node, ast.Subscript) else node
