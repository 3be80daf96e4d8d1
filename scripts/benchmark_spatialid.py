"""What the masks of `spatialid` cost over `uniform`: seconds of sampling as a ratio, on one backbone.

    python scripts/benchmark_spatialid.py [--backbone pocket] [--repeats 7] [--steps 25]

Prints JSON. Of the weights only the number of tokens matters, so the adapter is an untrained one of four, as
public ones have (`benchmark_methods.py` takes those that are shipped), and the identity an arbitrary vector.
Runs of the methods alternate and the fastest counts; on a CPU it is processor time, not wall time, so that
other work on the machine disturbs the ratio least.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.contract import Method
from methods.hooks import Identity, Job
from methods.sampling import sample
from methods.spatialid.config import Config
from methods.spatialid.method import SpatialID
from methods.uniform.method import Uniform


def measure(backbone: Backbone, *, steps: int, repeats: int) -> dict[str, object]:
    """Fastest seconds of one guided picture by each method, and their ratios to `uniform`."""
    clock = time.process_time if backbone.device.type == "cpu" else time.perf_counter
    methods: dict[str, Method] = {"uniform": Uniform.untrained(backbone)}
    for name in ("readme", "ibench"):
        methods[f"spatialid {name}"] = SpatialID.untrained(backbone, Config(preset=name))
    width, height = backbone.default_size
    embedding = torch.nn.functional.normalize(torch.ones(512), dim=0)
    job = Job("a portrait of a person", width, height, 4.0, identity=Identity("a", embedding), steps=steps)
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, method in methods.items():
            start = clock()
            sample(backbone, [job], method)
            if repeat:
                seconds[name].append(clock() - start)
    fastest = {name: min(values) for name, values in seconds.items()}
    return {
        "backbone": backbone.name,
        "size": [width, height],
        "steps": steps,
        "threads": torch.get_num_threads(),
        "device": str(backbone.device),
        "clock": clock.__name__,
        "seconds": {name: round(value, 4) for name, value in fastest.items()},
        "ratio": {name: round(value / fastest["uniform"], 4) for name, value in fastest.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    backbone = load_backbone(options.backbone)
    print(json.dumps(measure(backbone, steps=options.steps, repeats=options.repeats), indent=2))


if __name__ == "__main__":
    main()
