"""Modules that are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import inspect, sys
from methods.later import load_later
load_later("heavy", "nonesuch_module", "json")
import heavy
import heavy as short
assert inspect.getmodule(inspect) is inspect  # looks at every module
assert not hasattr(heavy, "__wrapped__")
assert "loaded" not in sys.argv, "loaded too early"
assert {use} == 3 and "loaded" in sys.argv
import heavy.part
assert short is heavy is sys.modules["heavy"] and heavy.part.SIX == 6 and heavy.__path__
assert sys.argv.count("loaded") == 1 and "nonesuch_module" not in sys.modules
"""


def test_a_module_is_executed_once_when_it_is_used(tmp_path: Path) -> None:
    package = tmp_path / "heavy"
    package.mkdir()
    package.joinpath("__init__.py").write_text("import sys\nsys.argv.append('loaded')\nTHREE = 3\n")
    package.joinpath("part.py").write_text("from heavy import THREE\nSIX = 2 * THREE\n")
    for use in ("heavy.THREE", "__import__('heavy.part').THREE", "getattr(heavy, 'THREE')"):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}){CODE.format(use=use)}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
