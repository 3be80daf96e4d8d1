"""What torch would find on this machine, told without importing it where possible.

`import torch` takes seconds and runs no kernel either. What goes wrong in practice is found below it: files
that are missing, shared libraries that do not load, a driver that is too old for the build.
"""

from __future__ import annotations

import ast
import ctypes
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

_TORCH = {"win32": "torch_python.dll", "darwin": "libtorch_python.dylib"}
_DRIVER = {"win32": "nvcuda.dll"}


@dataclass(frozen=True)
class TorchBuild:
    """What an installed torch was built for.

    folder: of the package. cuda, hip: releases such as `13.0`; None where it was built without.
    """

    folder: Path
    cuda: str | None
    hip: str | None

    def load(self) -> None:
        """Load its shared libraries, as `import torch` does; where that fails, torch has the last word.

        Raises ImportError or OSError of `import torch`, which looks for CUDA's libraries in more places.
        """
        try:
            ctypes.CDLL(str(self.folder / "lib" / _TORCH.get(sys.platform, "libtorch_python.so")))
        except OSError:
            import torch  # noqa: F401


def torch_build() -> TorchBuild | None:
    """The torch that `import torch` would find, by the text of its version file; None where there is none."""
    spec = PathFinder.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    try:
        parsed = ast.parse((folder / "version.py").read_bytes())
    except (OSError, SyntaxError, ValueError):
        parsed = ast.Module([], [])
    stated = {}
    for line in parsed.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
            stated[target.id] = value.value
    return TorchBuild(folder, stated.get("cuda"), stated.get("hip"))


@dataclass(frozen=True)
class CudaDriver:
    """NVIDIA's driver and the devices that it shows to this process (`CUDA_VISIBLE_DEVICES` counts).

    release: the newest CUDA that it runs, (major, minor). devices: name and memory in bytes of each.
    """

    release: tuple[int, int]
    devices: tuple[tuple[str, int], ...]

    def runs(self, cuda: str) -> bool:
        """Whether programs built for a CUDA release run: within a major release, any does."""
        return self.release[0] >= int(cuda.partition(".")[0])


def cuda_driver() -> CudaDriver | None:
    """Ask the driver by its own library; None where there is none or it does not start."""
    try:
        driver = ctypes.CDLL(_DRIVER.get(sys.platform, "libcuda.so.1"))
    except OSError:
        return None
    number = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(number)):
        return None
    release = (number.value // 1000, number.value % 1000 // 10)
    devices = []
    driver.cuDeviceGetCount(ctypes.byref(number))
    for index in range(number.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        devices.append((name.value.decode(errors="replace"), memory.value))
    return CudaDriver(release, tuple(devices))
