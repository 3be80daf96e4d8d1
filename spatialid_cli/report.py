"""`spid report`: one or several runs as one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spatialid_cli import console


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of spid bench.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file; default report.html in the first run's folder.", show_default=False
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Method the leaderboard compares with at first; default uniform, else none.",
            show_default=False,
        ),
    ] = None,
    claims: Annotated[
        Path | None,
        typer.Option(help="Folder of a claims ledger to take in; see spid claims.", show_default=False),
    ] = None,
    pictures: Annotated[int, typer.Option(help="At most so many samples with a picture.", min=1)] = 2000,
) -> None:
    """Write runs as one self-contained HTML page.

    Leaderboard, pictures, failures, definitions.
    """
    from benchmarks.report import write_report
    from methods.errors import UsageError

    if output is not None and output.is_dir():
        raise UsageError(f"--output {output}: is a folder.", hint="Name the HTML file to write.")
    written = write_report(
        runs,
        output or runs[0] / "report.html",
        baseline=baseline,
        most_pictures=pictures,
        claims=claims,
    )
    console.log(f"{written.stat().st_size / 1e6:.1f} MB, complete in itself: open it in any browser")
    console.out(str(written))
