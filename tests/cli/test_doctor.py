"""`spid doctor`: facts, problems and the line that mends each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Spid
from installed import Install, install  # noqa: F401

from spatialid_cli import diagnosis, machine

ROOT = Path(diagnosis.__file__).parents[1]


def test_facts_are_complete(spid: Spid) -> None:
    answer = spid("doctor", "--json").json
    facts = answer["facts"]
    assert {"spid", "devices", "onnxruntime", "pocket models", "face packs", "storage", "licences"} <= set(
        facts
    )
    assert "CPUExecutionProvider" in facts["onnxruntime"]["providers"]
    assert facts["onnxruntime"]["telemetry"] == "off"
    assert facts["devices"]["torchvision"]
    assert "Noncommercial" in facts["licences"]["pyiqa (extra iqa)"]


def test_missing_weights_are_a_problem_with_a_fix(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "pocket_dir", lambda: tmp_path)
    outcome = spid("doctor")
    assert outcome.code == 1
    assert "pocket model 'sd'" in outcome.out and "fix: pip install" in outcome.out


def test_nothing_imports_torch_while_all_is_well() -> None:
    code = (
        "import sys; from spatialid_cli.diagnosis import diagnose; facts = diagnose().facts['devices']; "
        "assert 'libraries load' in facts['torch'] and facts['torchvision'], facts; "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _other_torch(at: Path, version: str = "cuda = None\n") -> None:
    """A package `torch` whose library is cut off in the middle, found before the installed one."""
    (at / "torch" / "lib").mkdir(parents=True)
    (at / "torch" / "__init__.py").touch()
    (at / "torch" / "version.py").write_text(version)
    for name in ("libtorch_python.so", "libtorch_python.dylib", "torch_python.dll"):
        (at / "torch" / "lib" / name).write_bytes(b"\x7fELF\x02\x01\x01")


def test_a_torch_that_does_not_import_is_a_finding_and_no_crash(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _other_torch(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = spid("doctor")
    assert outcome.code == 1, outcome.err
    assert "torch does not import" in outcome.out and "fix: pip install torch" in outcome.out
    assert "onnxruntime" in outcome.out and "licences" in outcome.out


@pytest.mark.parametrize(
    ("text", "cuda", "hip"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0", None),
        ("cuda = None\nhip = '6.2.41133'\n", None, "6.2.41133"),
        ("cuda = '12.8\n", None, None),
    ],
)
def test_what_torch_is_built_for_is_read_from_its_version_file(
    text: str, cuda: str | None, hip: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _other_torch(tmp_path, text)
    monkeypatch.syspath_prepend(tmp_path)
    assert machine.torch_build() == machine.TorchBuild(tmp_path / "torch", cuda, hip)


DRIVER = """
#include <stddef.h>
#include <string.h>
int cuInit(unsigned flags) { return flags; }
int cuDriverGetVersion(int *v) { *v = 12080; return 0; }
int cuDeviceGetCount(int *n) { *n = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = index + 7; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == 7 ? "first card" : "second card", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)(device - 6) << 34; return 0; }
"""


@pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="no C compiler for a driver"
)
def test_devices_are_those_of_the_driver_and_a_build_that_cannot_use_them_is_told(tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libcuda.so.1", "driver.c"], cwd=tmp_path, check=True)
    code = (
        "from pathlib import Path\n"
        "from spatialid_cli.diagnosis import Diagnosis, _cuda\n"
        "from spatialid_cli.machine import TorchBuild\n"
        "for build in ('12.4', '13.0', None):\n"
        "    found = Diagnosis({'devices': {}})\n"
        "    usable = _cuda(found, TorchBuild(Path(), build, None))\n"
        "    print(usable, found.facts['devices'], [one.what for one in found.optional])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    good, old, without = done.stdout.splitlines()
    devices = (
        "{'cuda': 'driver for CUDA 12.8', 'cuda:0': 'first card, 16 GiB', 'cuda:1': 'second card, 32 GiB'}"
    )
    assert good == f"True {devices} []"
    assert old == f"False {devices} ['torch is built for CUDA 13.0, which the driver is too old for']"
    assert without == f"False {devices} ['torch is built without CUDA although there is a CUDA device']"


def test_the_nested_folder_of_a_published_pack_is_recognised(
    spid: Spid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ".insightface" / "models"
    for folder in ("antelopev2/antelopev2", "buffalo_l", "empty"):
        (home / folder).mkdir(parents=True)
    for folder in ("antelopev2/antelopev2", "buffalo_l"):
        (home / folder / "det.onnx").write_bytes(b"not read here")
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = spid("doctor", "--json").json
    packs = answer["facts"]["face packs"]
    assert "nested" in packs["antelopev2"] and "nested" not in packs["buffalo_l"]
    assert packs["empty"] == "unusable"
    assert any("no .onnx files" in item["what"] for item in answer["optional"])


def test_both_onnxruntimes_and_unequal_opencvs_are_problems(
    spid: Spid, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = diagnosis.library_version
    extra = {"onnxruntime-gpu": "1.31.1", "opencv-python": "5.0.0", "opencv-python-headless": "4.11.0"}
    monkeypatch.setattr(diagnosis, "library_version", lambda name: extra.get(name) or installed(name))
    problems = " ".join(item["what"] + item["fix"] for item in spid("doctor", "--json").json["problems"])
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problems
    assert "opencv-python-headless==5.0.0" in problems


def test_plug_ins_of_every_kind_are_listed_by_a_process_that_did_nothing_else(install: Install) -> None:  # noqa: F811
    groups = ["method_cards", "methods", "families", "face_encoders", "metrics", "suites"]
    points = {f"spid.{group}": {"mine": "nowhere:THING"} for group in groups}
    folder = install("many-kinds", points, {})
    code = "import json; from spatialid_cli.diagnosis import diagnose; print(json.dumps(diagnose().facts))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout)["plug-ins"]
    assert facts == {f"{group}: mine": "many-kinds 1.0 (nowhere:THING), unusable" for group in sorted(groups)}


def test_every_registry_is_asked() -> None:
    found = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("methods", "benchmarks")
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"= Registry\(", file.read_text())
    }
    assert found == set(diagnosis._REGISTRIES)
