"""The wheel: complete, and enough to make a picture where there is no checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAIN_JOB = """
import json, sys
from spatialid_cli.app import main

codes = [
    main(["render", "--person", "7", "--output", "people"]),
    main(["generate", "--reference", "people/person-0007.png", "--prompt", "a {person} at the beach",
          "--steps", "4", "--output", "out"]),
]
modules = {name: module.__file__ for name, module in sys.modules.items()
           if name.split(".")[0] in ("methods", "benchmarks", "spatialid_cli") and module.__file__}
import methods.paths
print(json.dumps({"codes": codes, "modules": modules, "configs": str(methods.paths.configs_dir())}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by its own build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("spid-*.whl")
    return built


def test_configurations_weights_and_nothing_else_travel(wheel: Path, pocket_weights: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {
        f"methods/_configs/{path.relative_to(ROOT / 'configs')}" for path in ROOT.glob("configs/**/*.yaml")
    }
    weights = {str(path.relative_to(ROOT)) for path in pocket_weights.rglob("*") if path.is_file()}
    assert configs and configs <= names
    assert weights and weights <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "benchmarks", "methods", "spatialid_cli", "spid",
    }  # fmt: skip


def test_an_installed_wheel_makes_a_picture_without_the_checkout(
    wheel: Path, pocket_weights: Path, tmp_path: Path
) -> None:
    """Into a folder of its own; the libraries come from this environment, whose .pth files are not read."""
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", MAIN_JOB],
        cwd=work,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(site), *sorted(libraries)]),
            "SPID_CACHE": str(tmp_path / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["codes"] == [0, 0], done.stderr
    assert answer["modules"] and all(Path(file).is_relative_to(site) for file in answer["modules"].values())
    assert Path(answer["configs"]) == site / "methods" / "_configs"
    assert len(list((work / "out").glob("000_spatialid_*.png"))) == 1
    assert (site / "bin" / "spid").is_file()
