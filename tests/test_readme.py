"""Every command of README runs as it stands there; those that need published checkpoints are parsed."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from own import own_methods

from methods.backbone.load import load_backbone
from methods.images import load_picture, read_metadata
from methods.registry import get_method
from spatialid_cli.app import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_the_first_two_commands_are_one_line_each_and_ci_runs_the_second() -> None:
    assert commands()[:2] == [["bash", "scripts/quickstart"], ["bash", "scripts/test"]]
    assert "bash scripts/test" in (ROOT / ".ci" / "run").read_text()
    for script in ("scripts/quickstart", "scripts/test", "scripts/environment", ".ci/run"):
        subprocess.run(["bash", "-n", script], check=True, cwd=ROOT)


@pytest.mark.timeout(900)  # several processes of their own, beside those of the suite
def test_the_quickstart_leaves_a_sheet_of_four_scenes(pocket_weights: Path, tmp_path: Path) -> None:
    """The script itself with all its methods, fitted and sampled briefly, in an environment that stands for
    its own."""
    script = (ROOT / "scripts" / "quickstart").read_text(encoding="utf-8")
    (every,) = re.findall(r'^all="(.*)"$', script, flags=re.MULTILINE)
    compared = re.sub(r"\[.*?\]", "", every).split(",")
    offers = load_backbone("pocket", device="cpu").offers
    assert sorted(compared) == sorted(n for n in own_methods() if not get_method(n).info.missing(offers))
    brief = [f"{name}[steps=2]" if get_method(name).info.kind == "fit" else name for name in compared]
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    for name, module in (("python", ""), ("spid", "-m spatialid_cli.app ")):
        command = environment / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        command.chmod(0o755)
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    (environment / ".spid-iqa").write_text(f"{digest} {ROOT}\n")  # as if it had been installed
    done = subprocess.run(
        ["bash", "scripts/quickstart"],
        cwd=ROOT,
        env={
            **os.environ,
            "VENV": str(environment),
            "OUTPUT": str(tmp_path / "out"),
            "PYTHONPATH": str(ROOT),
            "METHODS": ",".join(brief),
            "STEPS": "4",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "ibench" / "tables" / "results.md").read_text(encoding="utf-8")
    assert all(name in table.splitlines()[0] for name in compared)
    assert (tmp_path / "out" / "ibench" / "report.html").is_file()
    sheet = tmp_path / "out" / "pictures" / "sheet.png"
    assert str(sheet) in done.stdout
    assert str(sheet.with_name("table.csv")) in done.stdout
    width, height = load_picture(sheet).size
    assert width > 4 * 256 and height > 4 * 256
    made = [path for path in sheet.parent.glob("*.png") if path != sheet]
    assert len(made) == 4 * 3 and all(read_metadata(path)["spid"]["steps"] == 4 for path in made)


def test_every_command_and_the_python_example_run(
    pocket_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(
        ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    if made := os.environ.get("SPID_SMOKE_RUN"):  # scripts/test has just made it: the command goes on there
        shutil.copytree(made, tmp_path / "outputs" / "smoke")
    ran = 0
    for command in commands()[2:]:
        assert command[0] == "spid", command
        assert main(command[1:]) == 0, command
        ran += 1
    assert ran >= 9
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert load_picture("beach.png").size == (128, 128)
    sheet = load_picture("outputs/beach/sheet.png")
    assert sheet.width > 4 * 256


@pytest.mark.parametrize("line", [line for block in blocks("console") for line in block.splitlines()])
def test_commands_for_published_checkpoints_are_understood(
    line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need files that are not here, and say so of the first one: every flag was accepted."""
    monkeypatch.chdir(tmp_path)
    prompt, name, *arguments = shlex.split(line)
    assert (prompt, name) == ("$", "spid")
    assert main(arguments) == 2
    first = "me.jpg: no such file." if "me.jpg" in line else "No "  # a folder, a hub model, a file of weights
    assert capsys.readouterr().err.startswith(f"error: {first}")
