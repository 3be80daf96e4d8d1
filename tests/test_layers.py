"""The house rules that code can check: who imports whom, what may open a file, what stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("methods", "benchmarks", "spatialid_cli")
"""Bottom to top; a module imports from its own layer and those below."""

CODE = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
EVERYTHING = [*CODE, *sorted((ROOT / "scripts").rglob("*.py"))]

TORCH_FREE = (
    "methods",
    "methods.errors",
    "methods.paths",
    "methods.registry",
    "methods.contract",
    "methods.hooks",
    "methods.config",
    "methods.images",
    "methods.prompts",
    "methods.provenance",
    "methods.pocket",
    "methods.pocket.world",
    "benchmarks",
    "benchmarks.schema",
    "benchmarks.request",
    "benchmarks.suites",
    "benchmarks.live",
    "benchmarks.store",
    "benchmarks.metrics.catalogue",
    "benchmarks.metrics.evaluate",
    "spatialid_cli.app",
    "spatialid_cli.outputs",
    "spatialid_cli.request",
)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def called(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_downwards(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for name in imported(tree_of(path))
        if name.split(".")[0] in (*above, "tests", "scripts")
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", LAYERS[:-1])
def test_no_string_starts_a_layer_above(layer: str) -> None:
    """A module to run, in a command line or for importlib, is an arrow as an import is."""
    above = LAYERS[LAYERS.index(layer) + 1 :]
    named = re.compile(rf"(?:^|\s)(?:-m\s*)?(?:{'|'.join(above)})(?:\.\w+)+(?:$|[\s:])")
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.value!r}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and named.search(node.value)
    ]
    assert wrong == []


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Module -> first-party modules that it knows: at import, within functions, and for types alone."""
    modules = {module_of(path): path for path in CODE}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {one if one in modules else node.module for one in inner}
        graph[name] = (found & modules.keys()) - {name}
    return graph


def rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms: folders below a layer, and files that stand in a layer themselves."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    found: dict[str, set[str]] = {}
    for name, targets in graph.items():
        found.setdefault(room(name), set()).update(map(room, targets))
    return {name: targets - {name} for name, targets in found.items()}


def in_circles(graph: dict[str, set[str]]) -> list[str]:
    """Who belongs to a circle, or stands between two."""
    for _ in range(2):  # from the ground up, then, turned round, from the roof down
        while ground := {name for name, targets in graph.items() if not targets & graph.keys()}:
            graph = {name: targets for name, targets in graph.items() if name not in ground}
        graph = {name: {one for one, targets in graph.items() if name in targets} for name in graph}
    return sorted(graph)


def test_circles_are_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert in_circles(graph) == ["b", "c"]
    found = import_graph()
    assert "methods.uniform.task" in found["methods.uniform.method"]  # imported by a function
    assert "methods.backbone.backbone" in found["methods.contract"]  # a type


def test_no_file_belongs_to_a_circle_of_imports() -> None:
    assert in_circles(import_graph()) == []


def test_imports_of_methods_point_downwards() -> None:
    """An arrow that runs up closes a circle of rooms."""
    graph = {name: targets for name, targets in import_graph().items() if name.startswith("methods.")}
    assert in_circles(rooms(graph)) == []


def test_the_loop_knows_no_network_and_no_schedule_by_name() -> None:
    """Nor a method: only the words of a batch, the backbone and the kernels that watch it."""
    tree = tree_of(ROOT / "methods" / "sampling.py")
    names = {
        "methods.backbone.attention",
        "methods.backbone.backbone",
        "methods.backbone.vae",
        "methods.contract",
        "methods.errors",
        "methods.hooks",
        "methods.together",
    }
    assert {name for name in imported(tree) if name.startswith(LAYERS)} <= names
    code = ast.unparse(tree).lower()
    words = (
        "unet",
        "u-net",
        "transformer",
        "flux",
        "sdxl",
        "epsilon",
        "v_prediction",
        "flow",
        "ddim",
        "euler",
    )
    assert [word for word in words if re.search(rf"\b{word}", code)] == []


def test_options_of_methods_need_no_torch() -> None:
    configs = sorted(module_of(path) for path in (ROOT / "methods").glob("*/config.py"))
    folders = {path.parent.name for path in (ROOT / "methods").glob("*/method.py")} - {"fitting"}
    assert folders <= {name.split(".")[1] for name in configs}
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *configs], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_command_line_imports_no_heavy_library_at_the_top() -> None:
    heavy = {"torch", "diffusers", "transformers", "numpy", "pandas", "skia", "onnxruntime", "insightface"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "spatialid_cli").glob("*.py"))
        for node in tree_of(path).body
        for name in imported(node)
        if name.split(".")[0] in heavy and not isinstance(node, ast.If | ast.FunctionDef | ast.ClassDef)
    ]
    assert wrong == []


def test_light_modules_import_no_torch() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *TORCH_FREE], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_one_loader_opens_weights_and_trainings_their_own_checkpoints() -> None:
    calls = [
        (path, call) for path in EVERYTHING for name, call in called(tree_of(path)) if name == "torch.load"
    ]
    assert {*relative([path for path, _ in calls])} <= {
        "methods/weights.py",
        "scripts/pocket/common.py",
    }
    for _, call in calls:
        (safe,) = [keyword.value for keyword in call.keywords if keyword.arg == "weights_only"]
        assert isinstance(safe, ast.Constant) and safe.value is True


@pytest.mark.parametrize(
    "forbidden",
    [
        "yaml.load",
        "yaml.full_load",
        "yaml.unsafe_load",
        "pickle.load",
        "pickle.loads",
        "eval",
        "exec",
        "os.system",
    ],
)
def test_nothing_in_a_file_executes(forbidden: str) -> None:
    users = [path for path in EVERYTHING if any(name == forbidden for name, _ in called(tree_of(path)))]
    assert relative(users) == []


@pytest.mark.parametrize("keyword", ["trust_remote_code", "allow_pickle", "shell"])
def test_no_call_asks_for_code_from_elsewhere(keyword: str) -> None:
    users = [
        path
        for path in EVERYTHING
        for _, call in called(tree_of(path))
        for word in call.keywords
        if word.arg == keyword and ast.unparse(word.value) != "False"
    ]
    assert relative(users) == []


def test_files_are_of_one_purpose() -> None:
    paths = [*EVERYTHING, *sorted((ROOT / "tests").rglob("*.py"))]
    assert relative([path for path in paths if len(path.read_text().splitlines()) > 400]) == []


def test_no_path_of_a_machine_stands_in_the_tree() -> None:
    pattern = re.compile("/(?:" + "home|root|Users|work" + r")/[a-z]")
    texts = [
        *EVERYTHING,
        *sorted((ROOT / "tests").rglob("*.py")),
        *sorted((ROOT / "configs").rglob("*.yaml")),
        *(path for path in (ROOT / "scripts").iterdir() if path.is_file()),
        ROOT / "README.md",
        ROOT / ".github" / "CONTRIBUTING.md",
        ROOT / "pyproject.toml",
    ]
    assert relative([path for path in texts if pattern.search(path.read_text(encoding="utf-8"))]) == []


def test_one_door_for_paths_that_begin_with_a_tilde() -> None:
    """`~nobody/x` is one line and exit code 2 because `user_path` says it."""
    asked = [path for path in EVERYTHING if "expanduser" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(ROOT).as_posix() for path in asked] == ["methods/paths.py"]
