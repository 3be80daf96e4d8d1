"""Train the pocket models from nothing, one stage at a time or all in order.

    python scripts/train_pocket.py all                    # everything, more than three hours on two cores
    python scripts/train_pocket.py diffusion --minutes 60 # one stage with its own budget, resumed if begun
    python scripts/train_pocket.py adapter --restart

Work in progress (data set, latents, checkpoints, logs, pictures) lies in `.training/`; finished weights
go to `methods/pocket/weights/`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from methods.compat import ensure_torchvision
from methods.paths import pocket_dir

DEFAULT_MINUTES = {
    "autoencoder": 94.0,
    "recogniser": 8.0,
    "scoring": 6.0,
    "detector": 6.0,
    "dual-encoder": 8.0,
    "probes": 15.0,
    "quality": 12.0,
    "stylespace": 12.0,
    "face-reader": 8.0,
    "diffusion": 60.0,
    "adapter": 20.0,
    "decoder": 20.0,
}


def _stages(weights: Path, work: Path) -> dict[str, Callable[..., dict[str, Any]]]:
    from scripts.pocket import (
        adapters,
        autoencoder,
        detector,
        diffusion,
        dual_encoder,
        face_reader,
        probes,
        quality_model,
        recogniser,
        stylespace,
    )

    data = work / "dataset"
    vae = work / "autoencoder" / "vae"
    reader = work / "face-reader" / "reader.safetensors"

    def detector_stage(**options: Any) -> dict[str, Any]:
        figures = detector.train(data, weights / "face", work / "detector", **options)
        shutil.copyfile(weights / "face" / "det.onnx", weights / "face-scoring" / "det.onnx")
        return figures

    return {
        "autoencoder": lambda **o: autoencoder.train(
            data, weights / "face" / "rec.onnx", vae, work / "autoencoder", **o
        ),
        "recogniser": lambda **o: recogniser.train(data, weights / "face", work / "recogniser", **o),
        "scoring": lambda **o: recogniser.train_scoring(
            data, weights / "face-scoring", work / "scoring", **o
        ),
        "detector": detector_stage,
        "dual-encoder": lambda **o: dual_encoder.train(data, weights / "clip", work / "dual-encoder", **o),
        "probes": lambda **o: probes.train(data, weights / "probes", work / "probes", **o),
        "quality": lambda **o: quality_model.train(data, weights / "quality", work / "quality", **o),
        "stylespace": lambda **o: stylespace.train(
            data, weights / "face" / "rec.onnx", weights / "stylespace", work / "stylespace", **o
        ),
        "face-reader": lambda **o: face_reader.train(
            data, vae, weights / "face" / "rec.onnx", work / "face-reader", **o
        ),
        "diffusion": lambda **o: diffusion.train(data, vae, reader, weights / "sd", work / "diffusion", **o),
        "adapter": lambda **o: adapters.train("uniform", weights, reader, work / "adapter", **o),
        "decoder": lambda **o: autoencoder.refine_decoder(
            data, weights / "sd" / "vae", work / "decoder", **o
        ),
    }


def main() -> None:
    """Parse, render the data set if it is not there, run the stages, print their figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["all", "dataset", *DEFAULT_MINUTES])
    parser.add_argument("--minutes", type=float, help="wall-clock budget of the stage")
    parser.add_argument("--steps", type=int, help="step budget; replaces the wall-clock one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--restart", action="store_true", help="forget the checkpoint of the stage")
    parser.add_argument("--work", type=Path, default=Path(".training"))
    parser.add_argument("--weights", type=Path, default=pocket_dir())
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` itself is not installed
    ensure_torchvision()
    from scripts.pocket.dataset import build

    if not (arguments.work / "dataset" / "captions.json").is_file():
        build(
            arguments.work / "dataset",
            per_name=220,
            people=4500,
            per_person=14,
            seed=20261121,
            workers=2,
        )
    if arguments.stage == "dataset":
        return
    stages = _stages(arguments.weights, arguments.work)
    chosen = (
        DEFAULT_MINUTES if arguments.stage == "all" else {arguments.stage: DEFAULT_MINUTES[arguments.stage]}
    )
    for name, minutes in chosen.items():
        figures = stages[name](
            minutes=arguments.minutes or minutes,
            steps=arguments.steps,
            resume=not arguments.restart,
            seed=arguments.seed,
        )
        print(json.dumps({name: figures}), flush=True)


if __name__ == "__main__":
    main()
