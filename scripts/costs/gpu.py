"""Step times of networks of real size with random weights, by method, compiled and not, and the most memory.

Only times and bytes are read, which do not depend on what weights hold. Every network and mode is a part with
a process and a share of the time of its own: what compiles for too long ends with its part, and the cases
before it stand. A case takes turns with `none`, as many rounds as its share allows.

`pulid` has the sizes of the public files, and so has what `spatialid` gates on FLUX, but looks at faces
through the small tower that is shipped, which happens once per person, in the round that warms up. `uniform`
has four tokens.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from methods.backbone.backbone import Backbone
from methods.backbone.device import seeded
from methods.contract import Method
from methods.errors import UsageError
from methods.hooks import Identity, Job
from methods.registry import check_backbone, get_method, method_names
from methods.sampling import sample
from scripts.costs.methods import PROMPT, rendered_people
from scripts.costs.networks import random_backbone
from scripts.costs.turns import clock_of, ratio, take_turns

if TYPE_CHECKING:
    from methods.pulid.method import Pulid

BENCHMARK = str(Path(__file__).resolve().parents[1] / "benchmark.py")
MODES = ("plain", "compiled")
NO_TIME = "the time of this part was up"
PULID_DEPTH = 10
SAFE = 0.9
"""Of its share, what a part plans with: the last round may take longer than planned."""


def run(
    sizes: Sequence[str],
    device: torch.device,
    *,
    names: Sequence[str],
    steps: int,
    rounds: int,
    seconds: float,
    keep: Callable[[dict[str, Any]], object],
) -> dict[str, Any]:
    """What results/gpu.json holds: every part in a process of its own, all of them within `seconds`.

    keep: called with what is there after every part

    Raises UsageError for CUDA where there is none.
    """
    from methods.provenance import library_versions

    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("There is no CUDA device here.", hint="Give --device cpu with a toy network.")
    found: dict[str, Any] = {
        "definition": "seconds of a picture by its steps, text and a tiny VAE included; ratio to none: "
        "medians and quartiles of rounds that take turns; the most memory while a picture is made, weights "
        "included (on a CPU: of the process)",
        "device": device_name(device),
        "steps": steps,
        "versions": library_versions(),
        "networks": {size: {} for size in sizes},
    }
    ends = time.monotonic() + seconds
    parts = [(size, mode) for mode in MODES for size in sizes]
    for number, (size, mode) in enumerate(parts):
        share = (ends - time.monotonic()) / (len(parts) - number)
        print(f"{size}, {mode}: at most {share:.0f} s ...", file=sys.stderr, flush=True)
        call = [sys.executable, BENCHMARK, "gpu", "--alone", f"{size},{mode}", "--device", str(device)]
        call += ["--steps", str(steps), "--rounds", str(rounds), "--seconds", str(int(SAFE * share))]
        call += ["--methods", ",".join(names)]
        found["networks"][size][mode] = _gathered(call, share)
        keep(found)
    return found


def _gathered(call: Sequence[str], seconds: float) -> dict[str, Any]:
    """The lines of a part, also of one that did not end in time; not `met` where it failed or has no rows."""
    try:
        ended = subprocess.run(call, capture_output=True, timeout=seconds)
        lines = ended.stdout
        fault = (ended.stderr.decode().strip().splitlines() or ["failed"])[-1] if ended.returncode else None
    except subprocess.TimeoutExpired as late:
        lines, fault = late.stdout or b"", NO_TIME
    part: dict[str, Any] = {"rows": {}, "not measured": {}}
    for line in lines.decode().splitlines():
        if line.startswith("{") and line.endswith("}"):
            known = json.loads(line)
            part["rows"] |= known.pop("rows", {})
            part["not measured"] |= known.pop("not measured", {})
            part |= known
    if fault is not None:
        part["ended early"] = fault
        waiting = set(part.pop("planned", ())) - set(part["rows"])
        part["not measured"] |= dict.fromkeys(sorted(waiting), fault)
    part.pop("planned", None)
    part["met"] = bool(part["rows"]) and fault in (None, NO_TIME)
    return part


def measure(
    size: str,
    mode: str,
    device: torch.device,
    *,
    names: Sequence[str],
    steps: int,
    rounds: int,
    seconds: float,
    **compiling: Any,
) -> Iterator[dict[str, Any]]:
    """One part: facts and plan first, then the row of every method as soon as it is known.

    seconds: share of the time; a case gets an even part of what is left, and at least one round
    compiling: options of torch.compile
    """
    ends = time.monotonic() + seconds
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    backbone = random_backbone(size, device, dtype)
    planned, refused = runnable(backbone, names)
    yield {
        "parameters": sum(
            one.numel() for module in backbone.denoiser.modules() for one in module.parameters()
        ),
        "dtype": str(dtype).removeprefix("torch."),
        "pixels": list(backbone.default_size),
        "planned": planned,
        "not measured": refused,
    }
    if mode == "compiled":
        backbone.denoiser.compile(**compiling)
    with TemporaryDirectory() as folder:
        [person] = rendered_people(Path(folder), 1)
        for number, name in enumerate(planned):
            case_ends = time.monotonic() + (ends - time.monotonic()) / (len(planned) - number)
            methods = with_rivals(name, backbone)
            yield {"rows": _rows(backbone, methods, name, person, steps, rounds, case_ends)}


def runnable(backbone: Backbone, names: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Methods that run on the backbone, `none` first, and why the others do not."""
    planned: list[str] = []
    refused: dict[str, str] = {}
    for name in dict.fromkeys(("none", *(names or method_names()))):
        try:
            check_backbone(get_method(name).info, backbone)
            planned.append(name)
        except UsageError as error:
            refused[name] = str(error)
    return planned, refused


def with_rivals(name: str, backbone: Backbone) -> dict[str, Method]:
    """`none`, the method's host where it has one, and the method, with random weights that both share."""
    from methods.pulid.method import Pulid
    from methods.spatialid.method import SpatialID

    method = get_method(name).untrained(backbone)
    rivals: dict[str, Method] = {"none": get_method("none").untrained(backbone)}
    if isinstance(method, SpatialID):
        if isinstance(method.host, Pulid):
            method.host = _public_size(method.host, backbone)
        rivals[method.host.info.name] = method.host
    elif isinstance(method, Pulid):
        method = _public_size(method, backbone)
    return {**rivals, name: method}


def _public_size(small: Pulid, backbone: Backbone) -> Pulid:
    """PuLID with encoder and attentions of the public files' widths over the small one's tower."""
    from methods.pulid.adapter import PulidAdapter
    from methods.pulid.folder import Looks
    from methods.pulid.sizes import Sizes

    tower, sizes = small.reader.tower, small.adapter.sizes
    wanted = Sizes(
        id_dim=sizes.id_dim,
        scales=sizes.scales,
        depth=PULID_DEPTH - PULID_DEPTH % len(sizes.scales),
        attentions=sizes.attentions,
        hidden=sizes.hidden,
    )
    with seeded(0), backbone.device:
        adapter = PulidAdapter(wanted, backbone.sites, small.adapter.intervals)
    looks = Looks("pocket", tower.encoder.fingerprint, tower.layers, grey=False)
    return type(small).ready(adapter, backbone, looks=looks)


def _rows(
    backbone: Backbone,
    methods: dict[str, Method],
    name: str,
    person: Identity,
    steps: int,
    rounds: int,
    ends: float,
) -> dict[str, Any]:
    """The row of one method against `none`, and against its host where it has one."""
    width, height = backbone.default_size
    job = Job(PROMPT, width, height, backbone.defaults.guidance, identity=person, steps=steps)
    peak = 0

    def picture(case: str) -> None:
        nonlocal peak
        if backbone.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(backbone.device)
        sample(backbone, [job], methods[case])
        if case == name:
            peak = _peak(backbone.device)

    cases = {case: (lambda _, case=case: picture(case)) for case in methods}
    seconds = take_turns(
        cases, rounds=rounds, clock=clock_of(backbone.device), enough=lambda: time.monotonic() > ends
    )
    per_step = {case: [value / steps for value in times] for case, times in seconds.items()}
    facts = {"rounds": len(per_step[name]), "peak_mebibytes": round(peak / 2**20)}
    found = {name: {**ratio(per_step[name], per_step["none"]), **facts}}
    for host in methods.keys() - {"none", name}:
        found[f"{name} over {host}"] = ratio(per_step[name], per_step[host])
    return found


def _peak(device: torch.device) -> int:
    """Bytes: of the device since the last reset; on a CPU of the process since it began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_name(device: torch.device) -> str:
    """The name of the accelerator, or of the kind of processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
