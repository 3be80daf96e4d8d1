"""What things cost: one JSON a sub-command, on standard output and with --output in a file.

    python scripts/benchmark.py methods --output results/methods_cost.json    # ratio of every method to none
    python scripts/benchmark.py diffusers           # the loop against diffusers' own
    python scripts/benchmark.py fits --output results/fits_cost.json          # minutes and memory
    python scripts/benchmark.py generate            # from a new process to a picture
    python scripts/benchmark.py harness             # share of a run that is harness
    python scripts/benchmark.py aggregation         # 100,000 samples to results
    python scripts/benchmark.py gpu --output results/gpu.json     # networks of SDXL's and FLUX's size

Ratios are medians of rounds in one run, cases taking turns. The exit code is 1 where a target is missed
or a part of `gpu`, which ends within --seconds (510), measured nothing. What is measured and how stands in
scripts/costs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BEGUN = time.monotonic()

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from methods.compat import ensure_torchvision  # noqa: E402
from methods.errors import SpidError, unknown_name  # noqa: E402
from methods.files import save_json  # noqa: E402


def methods(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every method costs over none, its host over it, and what sharing saves."""
    from methods.registry import method_names
    from scripts.costs.methods import run

    names = split(arguments.methods) or method_names()
    return run(names, backbone=arguments.backbone, steps=arguments.steps, rounds=arguments.rounds)


def diffusers(arguments: argparse.Namespace) -> dict[str, Any]:
    """none and uniform over diffusers' own pipeline and IP-Adapter."""
    from scripts.costs.diffusers import run

    return run(arguments.backbone, steps=arguments.steps, rounds=arguments.rounds)


def fits(arguments: argparse.Namespace) -> dict[str, Any]:
    """Minutes and memory of every fit and training."""
    from scripts.costs.fits import FITS, TRAININGS, measure, run

    if arguments.alone:
        return measure(arguments.alone, arguments.steps)
    known = [*FITS, *TRAININGS]
    names = split(arguments.cases) or known
    if unknown := sorted(set(names) - set(known)):
        raise unknown_name("case", unknown[0], known)
    return run(names, arguments.steps, lambda found: keep(found, arguments.output))


def generate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of `spid generate` on the pocket models."""
    from scripts.costs.generate import run

    return run(arguments.rounds)


def harness(arguments: argparse.Namespace) -> dict[str, Any]:
    """The share of a bench that is neither denoising, decoding nor metrics."""
    from scripts.costs.harness import run

    return run(arguments.limit, split(arguments.methods))


def aggregation(arguments: argparse.Namespace) -> dict[str, Any]:
    """Results, tables and parquet of a large run, and taking it up again."""
    from scripts.costs.aggregation import MEASUREMENTS, run

    if arguments.alone:
        return dict(MEASUREMENTS[arguments.alone](arguments.folder))
    return run(arguments.samples, arguments.folder)


def gpu(arguments: argparse.Namespace) -> dict[str, Any]:
    """Step times of random networks of real size by method, compiled and not, and peak memory."""
    import torch

    from scripts.costs.gpu import measure, run
    from scripts.costs.networks import NETWORKS

    device, sizes = torch.device(arguments.device), split(arguments.networks)
    common: dict[str, Any] = {"names": split(arguments.methods), "steps": arguments.steps}
    common |= {"rounds": arguments.rounds, "seconds": arguments.seconds}
    if arguments.alone:
        size, mode = split(arguments.alone)
        common["seconds"] -= time.monotonic() - BEGUN  # the share includes what was imported until here
        for found in measure(size, mode, device, **common):
            print(json.dumps(found), flush=True)
        return {}
    if unknown := sorted(set(sizes) - set(NETWORKS)):
        raise unknown_name("network", unknown[0], NETWORKS)
    return run(sizes, device, keep=lambda found: keep(found, arguments.output), **common)


def split(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def keep(found: dict[str, Any], output: Path | None) -> None:
    """Write the figures where a file is asked for."""
    if output is not None:
        save_json(output, found)


def missed(found: Any) -> Iterator[bool]:
    """Whether something anywhere in the figures says that its target was missed."""
    if isinstance(found, dict):
        yield found.get("within") is False or found.get("met") is False
        for value in found.values():
            yield from missed(value)
    elif isinstance(found, list):
        for value in found:
            yield from missed(value)


def parser() -> argparse.ArgumentParser:
    """One sub-command a measurement."""
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="what", required=True)

    def add(run: Any, **numbers: int) -> argparse.ArgumentParser:
        one = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        one.set_defaults(run=run)
        for name, value in numbers.items():
            one.add_argument(f"--{name}", type=int, default=value)
        one.add_argument("--output", type=Path, help="also write the JSON to this file")
        return one

    one = add(methods, rounds=7, steps=25)
    one.add_argument("--methods", default="", help="list; all unless given")
    one.add_argument("--backbone", default="pocket", help="also pocket-flux, at random where it is missing")
    one = add(diffusers, rounds=7, steps=25)
    one.add_argument(
        "--backbone", default="pocket", help="also pocket-flux, at random where it is missing; or a folder"
    )
    one = add(fits, steps=8)
    one.add_argument("--cases", default="", help="list; all unless given")
    one.add_argument("--alone", help=argparse.SUPPRESS)
    add(generate, rounds=3)
    one = add(harness, limit=8)
    one.add_argument("--methods", default="none,uniform")
    one = add(aggregation, samples=100_000)
    one.add_argument("--folder", type=Path, help="keep the run here; one that is there is used again")
    one.add_argument("--alone", help=argparse.SUPPRESS)
    one = add(gpu, rounds=7, steps=8, seconds=510)
    one.add_argument("--networks", default="sdxl,flux", help="list of sdxl, flux, toy-sdxl, toy-flux")
    one.add_argument("--methods", default="", help="list; all that run unless given")
    one.add_argument("--device", default="cuda")
    one.add_argument("--alone", help=argparse.SUPPRESS)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print; 1 where a target is missed."""
    arguments = parser().parse_args(argv)
    if arguments.run is not aggregation:  # which counts its memory, and needs no torch
        ensure_torchvision()
    try:
        found = arguments.run(arguments)
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    keep(found, arguments.output)
    alone = getattr(arguments, "alone", None) is not None
    print(json.dumps(found, indent=None if alone else 2))
    return 0 if alone else int(any(missed(found)))


if __name__ == "__main__":
    sys.exit(main())
