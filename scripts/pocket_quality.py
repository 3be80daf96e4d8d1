"""Measure the shipped pocket models and print one JSON.

    python scripts/pocket_quality.py                                # all, about ten minutes on two cores
    python scripts/pocket_quality.py --parts text,uniform --count 64 # a quick look
    python scripts/pocket_quality.py --parts twin_text,pulid         # the FLUX-shaped twin

Progress goes to standard error. `--output FILE` writes the JSON there as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from methods.compat import ensure_torchvision
from methods.errors import SpidError
from methods.files import save_json
from methods.paths import pocket_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` itself is not installed

from scripts.pocket.quality import PARTS, measure  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help=f"comma-separated, of {','.join(PARTS)}")
    parser.add_argument("--count", type=int, default=512, help="generated pictures per part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=25, help="sampling steps")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures per U-Net call")
    parser.add_argument("--weights", type=Path, default=pocket_dir(), help="folder of the pocket models")
    parser.add_argument("--vae", type=Path, help="part autoencoder: another VAE than the models' own")
    parser.add_argument("--output", type=Path, help="also write the JSON to this file")
    arguments = parser.parse_args(argv)
    ensure_torchvision()
    try:
        figures = measure(
            [part.strip() for part in arguments.parts.split(",") if part.strip()],
            weights=arguments.weights,
            count=arguments.count,
            seed=arguments.seed,
            steps=arguments.steps,
            batch_size=arguments.batch_size,
            vae=arguments.vae,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except SpidError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if arguments.output:
        save_json(arguments.output, figures)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
