"""Fingerprints of code: what a picture's making reaches, all of it, and nothing else."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from own import own_methods
from tiny import tiny_folder

from benchmarks.fingerprint import describe_backbone
from methods.backbone.backbone import Backbone
from methods.backbone.families.stable_diffusion import StableDiffusion
from methods.backbone.families.unet import UNetDenoiser
from methods.backbone.load import load_backbone
from methods.backbone.noise import Diffusion
from methods.backbone.text import ClipEncoder
from methods.code import Root, Sources, _roots, closure, code_of, fingerprint
from methods.identify import identify
from methods.registry import get_method
from methods.sampling import iterate_samples
from methods.statements import statement_of

LOOP = (iterate_samples, load_backbone, StableDiffusion, Backbone, UNetDenoiser, Diffusion, ClipEncoder)
BESIDE = ("training_task", "untrained", "save", "info")


@cache
def sources() -> Sources:
    return Sources()


@cache
def roots() -> dict[str, tuple[Root, ...]]:
    """Of the loop and of every method."""
    objects = {"loop": LOOP, **{name: (get_method(name), identify) for name in own_methods()}}
    return {name: tuple(_roots(them)) for name, them in objects.items()}


@cache
def everything() -> tuple[tuple[str, int], ...]:
    """Every statement that any picture's making reaches."""
    return tuple(sorted(closure([one for them in roots().values() for one in them], sources())))


def prints(given: Sources) -> dict[str, str]:
    return {name: fingerprint(them, given) for name, them in roots().items()}


def nodes(module: str) -> list[ast.stmt]:
    """A module's statements, numbered as `closure` does."""
    tree = sources().tree(module)
    assert tree is not None
    kept = [one for one in tree.body if not isinstance(one, ast.Import | ast.ImportFrom)]
    return [one for one in kept if not (isinstance(one, ast.If) and "TYPE_CHECKING" in ast.unparse(one.test))]


def constants(node: ast.AST, method: bool) -> Iterator[ast.Constant]:
    """Constants that a picture may depend on: not docstrings, annotations, or what errors and cards say."""
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and ast.unparse(node.func) == "MethodInfo"):
        return
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "msg") or (name == "test" and "TYPE_CHECKING" in ast.dump(node)):
            continue
        for one in value if isinstance(value, list) else [value]:
            if method and isinstance(one, ast.FunctionDef) and one.name in BESIDE:
                continue
            if isinstance(one, ast.Constant):
                yield one
            elif isinstance(one, ast.AST):
                yield from constants(one, method)


def other(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return "another"
    return value + 1 if isinstance(value, int | float | complex) else "another"


def derives(node: ast.stmt) -> bool:
    names = {base.rsplit(".")[-1] for base in map(ast.unparse, getattr(node, "bases", []))}
    return any(re.match(r"(Adapter|Fit)?Method\b|Uniform|ABC", name) for name in names)


def test_every_reached_constant_counts() -> None:
    places, seen = everything(), 0
    assert len(places) > 300
    for module, number in places:
        node = nodes(module)[number]
        one = sources().statement((module, number))
        slim = one.text != statement_of(node, module).text
        assert slim <= derives(node), (module, number)
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            target = getattr(part, "targets", [getattr(part, "target", None)])[0]
            if slim and getattr(part, "name", getattr(target, "id", "")) in BESIDE:
                continue
            text = statement_of(part, module).text
            assert text in one.text
            for constant in constants(part, slim):
                kept, constant.value = constant.value, other(constant.value)  # type: ignore[assignment]
                changed = statement_of(part, module).text
                constant.value = kept
                assert changed != text, f"{module}:{constant.lineno}: {kept!r} does not count"
                seen += 1
    assert seen > 2000


def test_a_change_anywhere_is_another_fingerprint_of_whoever_reaches_it() -> None:
    before = prints(sources())
    reached = {name: set(closure(them, sources())) for name, them in roots().items()}
    for place in everything()[::5]:
        module, number = place
        tree = copy.copy(sources().tree(module))
        assert tree is not None
        node = nodes(module)[number]
        changed = copy.deepcopy(node)
        if isinstance(changed, ast.FunctionDef | ast.ClassDef):
            changed.body.append(ast.parse("more = 1").body[0])
        else:
            (found,) = [one for one in ast.walk(changed) if isinstance(one, ast.Assign | ast.AnnAssign)][:1]
            found.value = ast.parse("lambda: 12345").body[0].value  # type: ignore[attr-defined]
        tree.body = [changed if one is node else one for one in tree.body]
        mutated = copy.copy(sources())
        mutated.trees = {**sources().trees, module: tree}
        name = next(name for name in reversed(reached) if place in reached[name])
        assert fingerprint(roots()[name], mutated) != before[name], place
        if (spared := next((name for name in reached if place not in reached[name]), None)) is not None:
            assert fingerprint(roots()[spared], mutated) == before[spared], place


class Sentences(ast.NodeTransformer):
    """Other docstrings, other words in errors, no annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        else:
            node.body.insert(0, ast.parse("'A better sentence.'").body[0])
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [ast.Constant("In plain words.")], []
        return node


def test_sentences_and_layout_do_not_count() -> None:
    before = prints(sources())
    better = copy.copy(sources())
    better.trees = {
        name: None if tree is None else ast.parse(ast.unparse(Sentences().visit(copy.deepcopy(tree))))
        for name, tree in sources().trees.items()
    }
    assert prints(better) == before


def test_a_moved_file_does_not_count() -> None:
    before = prints(sources())
    trees = {name: tree for name, tree in sources().trees.items() if tree is not None}
    stay = {"methods", "methods.contract"} | {
        name for name in trees if any(f"{name}." in one for one in trees)
    }
    new = {name: name if name in stay else f"methods.moved.{name.replace('.', '_')}" for name in trees}

    def moved(tree: ast.Module) -> ast.Module:
        tree = copy.deepcopy(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or node.module not in new:
                continue
            whole = f"{node.module}.{node.names[0].name}"
            package = sources().module(node.module)
            if whole in new and package is not None and node.names[0].name not in package.imports:
                (alias,) = node.names
                alias.asname = alias.asname or alias.name
                node.module, _, alias.name = new[whole].rpartition(".")
            else:
                node.module = new[node.module]
        return tree

    elsewhere = Sources(trees={new[name]: moved(tree) for name, tree in trees.items()})
    elsewhere.trees |= {"methods.moved": ast.parse("")}
    changed = {
        name: fingerprint([Root(new[one.module], one.name) for one in them], elsewhere)
        for name, them in roots().items()
    }
    assert sum(name != to for name, to in new.items()) > 40
    assert changed == before


def test_what_composition_reaches_counts_and_training_does_not() -> None:
    reached = {name: {module for module, _ in closure(them, sources())} for name, them in roots().items()}
    assert "methods.uniform.adapter" in reached["infinite-id"]
    assert "methods.pidiff.stylespace.encoder" in reached["pidiff"]
    assert "methods.hooks" in reached["loop"] and "methods.faces.geometry" in reached["uniform"]
    assert not {
        one for one in set().union(*reached.values()) if one.endswith(".task") or "training.loop" in one
    }


def test_methods_have_codes_of_their_own() -> None:
    assert len(set(prints(sources()).values())) == len(roots())
    assert code_of(*LOOP) == prints(sources())["loop"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_plug_in_counts_with_its_own_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    package = f"plugged_{relative:d}"
    folder = tmp_path / package
    (folder / "parts").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "parts" / "__init__.py").write_text("from .kernel import strength\n")
    (folder / "parts" / "kernel.py").write_text(
        "LEVEL = 2\nUNSEEN = 3\n\n\ndef strength():\n    return LEVEL\n"
    )
    start = "." if relative else f"{package}."
    (folder / "method.py").write_text(
        "from methods.none import NoMethod\n\n\nclass Mine(NoMethod):\n    def encode(self, who, backbone):\n"
        f"        from {start}parts import strength\n\n        return {{'x': strength()}}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def found() -> str:
        return fingerprint([Root(f"{package}.method", "Mine")], Sources(("methods", package)))

    before = found()
    kernel = folder / "parts" / "kernel.py"
    kernel.write_text(kernel.read_text().replace("UNSEEN = 3", "UNSEEN = 4  # nobody asks"))
    assert found() == before
    kernel.write_text(kernel.read_text().replace("LEVEL = 2", "LEVEL = 5"))
    assert found() != before


def test_two_things_of_one_name_are_told_apart() -> None:
    text = {
        "methods": "",
        "methods.a": "def f():\n    return g()\n\n\ndef g():\n    return 1\n",
        "methods.b": "def f():\n    return g()\n\n\ndef g():\n    return 2\n",
        "methods.c": "from methods.a import f as one\nfrom methods.b import f as two\n\n\n"
        "def h():\n    return one() - two()\n",
    }

    def of(swap: bool) -> str:
        own = dict(text)
        if swap:
            own["methods.c"] = (
                own["methods.c"].replace(".a ", ".x ").replace(".b ", ".a ").replace(".x ", ".b ")
            )
        trees = {name: ast.parse(code) for name, code in own.items()}
        return fingerprint([Root("methods.c", "h")], Sources(trees={**trees}))

    assert of(False) == of(False) != of(True)


@pytest.mark.parametrize("option", [{"attention_backend": "_native_math"}, {"vae_tiling": True}])
def test_what_computes_the_same_in_another_way_is_another_backbone(option: dict[str, Any]) -> None:
    plain, other = load_backbone(tiny_folder("sd1")), load_backbone(tiny_folder("sd1"), **option)
    assert describe_backbone(plain) != describe_backbone(other)
    assert describe_backbone(plain) == describe_backbone(load_backbone(tiny_folder("sd1"), vae_slicing=True))
