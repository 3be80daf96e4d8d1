"""Train the pocket models from nothing, one stage at a time or all in order.

    python scripts/train_pocket.py all                           # hours on two cores, in any number of parts
    python scripts/train_pocket.py all --device cuda --minutes 9 # with a GPU: as much as fits into the time
    python scripts/train_pocket.py diffusion --minutes 60        # one stage with its own budget, resumable
    python scripts/train_pocket.py diffusion --initial SNAPSHOT  # from a pipeline folder, not from nothing
    python scripts/train_pocket.py uniform --restart

Work in progress (data set, latents, checkpoints, logs, pictures) lies in `.training/`, with a GPU in memory;
finished weights go to `methods/pocket/weights/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` itself is not installed

from methods.compat import ensure_torchvision  # noqa: E402
from methods.paths import pocket_dir  # noqa: E402

PERCEPTION = {
    "recogniser": ("face/rec.onnx", 8.0),
    "scoring": ("face-scoring/rec.onnx", 6.0),
    "detector": ("face/det.onnx", 6.0),
    "dual-encoder": ("clip/open_clip_model.safetensors", 8.0),
    "probes": ("probes/probes.safetensors", 20.0),
    "details": ("probes/details.safetensors", 10.0),
    "quality": ("quality/musiq.safetensors", 12.0),
    "stylespace": ("stylespace/encoder.safetensors", 12.0),
}
"""Stages that run on the CPU: the file that says whether they are done, and minutes on one core."""
GENERATION = {
    "autoencoder": 100.0,
    "face-reader": 15.0,
    "diffusion": 600.0,
    "uniform": 60.0,
    "infinite-id": 40.0,
    "pidiff": 40.0,
    "flux": 300.0,
    "pulid": 60.0,
}
"""Stages that an accelerator takes, in this order, and minutes on one core."""
SHARES = {
    "autoencoder": 0.24, "face-reader": 0.05, "diffusion": 0.34, "uniform": 0.07, "infinite-id": 0.05,
    "pidiff": 0.05, "flux": 0.15, "pulid": 0.05,
}  # fmt: skip
"""How `all --minutes` shares the time out; what a stage does not use goes to those after it."""
ADAPTERS = ("uniform", "infinite-id", "pidiff", "pulid")
GPU_BATCH = {"autoencoder": 64, "face-reader": 512, "diffusion": 512, "flux": 512}


def stages(
    weights: Path,
    work: Path,
    device: str,
    batch: int | None,
    initial: Path | None,
    previews: int,
    compiling: bool = False,
) -> dict[str, Callable[..., dict[str, Any]]]:
    """The trainings by name; each takes `minutes`, `steps`, `resume` and `seed`."""
    from scripts.pocket import (
        adapters,
        autoencoder,
        details,
        detector,
        diffusion,
        dual_encoder,
        face_reader,
        flux,
        probes,
        quality_model,
        recogniser,
        stylespace,
    )

    data, vae = work / "dataset", work / "autoencoder" / "vae"
    reader, face = work / "face-reader" / "reader.safetensors", weights / "face" / "rec.onnx"
    small = weights / "probes" / "details.safetensors"

    def on_device(name: str) -> dict[str, Any]:
        large = GPU_BATCH[name] if device != "cpu" else None
        chosen = batch or large
        shown = {"previews": previews, "compiling": compiling} if name in ("diffusion", "flux") else {}
        return {"device": device, "initial": initial, **shown, **({"batch": chosen} if chosen else {})}

    def there(path: Path) -> Path | None:
        return path if path.is_file() else None

    def detect(**options: Any) -> dict[str, Any]:
        figures = detector.train(data, weights / "face", work / "detector", **options)
        (weights / "face-scoring").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights / "face" / "det.onnx", weights / "face-scoring" / "det.onnx")
        return figures

    made: dict[str, Callable[..., dict[str, Any]]] = {
        "recogniser": lambda **o: recogniser.train(data, weights / "face", work / "recogniser", **o),
        "scoring": lambda **o: recogniser.train_scoring(
            data, weights / "face-scoring", work / "scoring", **o
        ),
        "detector": detect,
        "dual-encoder": lambda **o: dual_encoder.train(data, weights / "clip", work / "dual-encoder", **o),
        "probes": lambda **o: probes.train(data, weights / "probes", work / "probes", **o),
        "details": lambda **o: details.train(data, weights / "probes", work / "details", **o),
        "quality": lambda **o: quality_model.train(data, weights / "quality", work / "quality", **o),
        "stylespace": lambda **o: stylespace.train(
            data, face, weights / "stylespace", work / "stylespace", **o
        ),
        "autoencoder": lambda **o: autoencoder.train(
            data, there(face), there(small), vae, work / "autoencoder", **on_device("autoencoder"), **o
        ),
        "face-reader": lambda **o: face_reader.train(
            data, vae, there(face), work / "face-reader", **on_device("face-reader"), **o
        ),
        "diffusion": lambda **o: diffusion.train(
            data, vae, reader, weights / "sd", work / "diffusion", **on_device("diffusion"), **o
        ),
        "flux": lambda **o: flux.train(
            data, vae, weights / "sd", weights / "flux", work / "flux", **on_device("flux"), **o
        ),
    }
    settings = [] if device == "cpu" else [f"device={device}", "batch=256"]
    for name in ADAPTERS:
        made[name] = lambda name=name, **o: adapters.train(
            name, weights, reader, work / name, initial=initial, settings=tuple(settings), **o
        )
    return made


def everything(
    run: dict[str, Callable[..., dict[str, Any]]],
    weights: Path,
    minutes: float | None,
    options: dict[str, Any],
    *,
    chosen: Sequence[str] = tuple(GENERATION),
    perceive: Callable[[list[str], float], Callable[[], None]] | None = None,
    report: Callable[[str], object] = print,
    started: float | None = None,
) -> None:
    """All stages in order, the missing ones of perception first or, under one budget, beside the others.

    minutes: for everything together, of which `started` (a time of the monotonic clock) says when they began;
    None gives every stage its own. perceive: starts perception stages beside us and returns how to wait.
    """
    missing = [name for name, (file, _) in PERCEPTION.items() if not (weights / file).is_file()]
    if minutes is None or perceive is None:
        for name in missing:
            report(json.dumps({name: run[name](minutes=PERCEPTION[name][1], **options)}))
        for name in chosen:
            report(json.dumps({name: run[name](minutes=GENERATION[name], **options)}))
        return
    end = (time.monotonic() if started is None else started) + 60 * minutes
    before = sum(SHARES[name] for name in chosen if name not in (*ADAPTERS, "flux"))
    wait = perceive(missing, before * (end - time.monotonic()) / 60) if missing else None
    for place, name in enumerate(chosen):
        if name in ADAPTERS and wait is not None:
            wait()
            wait = None
        left = max(end - time.monotonic(), 1.0) / 60
        share = SHARES[name] / sum(SHARES[later] for later in chosen[place:])
        report(json.dumps({name: run[name](minutes=share * left, **options)}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, render the data set if it is not there, run the stages, print their figures as JSON."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["all", "dataset", *PERCEPTION, *GENERATION])
    parser.add_argument("--minutes", type=float, help="wall-clock budget of the stage, of `all` altogether")
    parser.add_argument("--steps", type=int, help="step budget of each stage; replaces the wall-clock one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--restart", action="store_true", help="forget the checkpoint of the stage")
    parser.add_argument("--device", default="cpu", help="of VAE, reader, U-Net, adapters and FLUX twin")
    parser.add_argument("--batch", type=int, help="pictures a step of these; by the device without it")
    parser.add_argument("--initial", type=Path, help="snapshot of the stage's model to go on from")
    parser.add_argument("--previews", type=int, default=1000, help="steps between sheets; 0: none")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the networks on a processor too: six minutes, then faster",
    )
    parser.add_argument("--work", type=Path, help=".training, or a folder in memory with a GPU")
    parser.add_argument("--weights", type=Path, default=pocket_dir())
    parser.add_argument("--per-name", type=int, default=60, help="pictures of each named person")
    parser.add_argument("--people", type=int, default=6000, help="others in the data set")
    parser.add_argument("--per-person", type=int, default=6, help="pictures of each of them")
    given = parser.parse_args(arguments)

    in_memory = Path("/dev/shm")
    work = given.work or (
        in_memory / "spid" if given.device != "cpu" and in_memory.is_dir() else Path(".training")
    )
    ensure_torchvision()
    from scripts.pocket.dataset import build
    from scripts.pocket.perceive import beside

    if not (work / "dataset" / "captions.json").is_file():
        build(
            work / "dataset",
            per_name=given.per_name,
            people=given.people,
            per_person=given.per_person,
            seed=20261130,
            workers=os.cpu_count() or 1,
        )
    if given.stage == "dataset":
        return
    run = stages(given.weights, work, given.device, given.batch, given.initial, given.previews, given.compile)
    options = {"steps": given.steps, "resume": not given.restart, "seed": given.seed}
    if given.stage == "all":

        def perceive(names: list[str], minutes: float) -> Callable[[], None]:
            return beside(names, minutes, work=work, weights=given.weights, seed=given.seed)

        everything(run, given.weights, given.minutes, options, perceive=perceive, started=started)
        return
    usual = {name: minutes for name, (_, minutes) in PERCEPTION.items()} | GENERATION
    figures = run[given.stage](minutes=given.minutes or usual[given.stage], **options)
    print(json.dumps({given.stage: figures}), flush=True)


if __name__ == "__main__":
    main()
