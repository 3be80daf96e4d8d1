"""Help: complete, quick, and without any heavy import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import Spid

COMMANDS = (
    "generate", "train", "bench", "score", "suites", "metrics", "render", "show", "methods", "claims",
    "report", "compare", "doctor", "fetch", "ui", "export",
)  # fmt: skip
GOLDEN = Path(__file__).parent / "golden_options.txt"
HEAVY = ("torch", "numpy", "pandas", "PIL", "yaml", "skia", "diffusers", "transformers", "scipy", "rich")


def test_help_lists_exactly_the_commands_that_exist(spid: Spid) -> None:
    shown = spid("--help")
    assert shown.code == 0
    assert tuple(re.findall(r"^  (\w+) {2,}\S", shown.out, flags=re.MULTILINE)) == COMMANDS


def test_options_are_those_of_the_golden_file(spid: Spid) -> None:
    lines = []
    for command in COMMANDS:
        shown = spid(command, "--help")
        assert shown.code == 0
        lines += [
            f"{command} {name}" for name in re.findall(r"^  (--[a-z-]+)", shown.out, flags=re.MULTILINE)
        ]
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from spatialid_cli.app import main; main(sys.argv[1:]);"
        f"sys.exit(', '.join(m for m in {HEAVY!r} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_listing_the_methods_imports_no_torch() -> None:
    code = (
        "import sys; from spatialid_cli.app import main; main(['methods', '--json']);"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_arguments_show_the_help(spid: Spid) -> None:
    shown = spid()
    assert shown.code == 0
    assert shown.out.startswith("Usage: spid")
