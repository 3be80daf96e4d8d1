"""`spid compare`: has a run become worse than another? The job for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spatialid_cli import console, options

if TYPE_CHECKING:
    from benchmarks.compare import Change, Comparison


def compare(
    run: Annotated[Path, typer.Argument(help="Folder of the run to judge.", show_default=False)],
    baseline: Annotated[Path, typer.Argument(help="Folder of the run to judge it by.", show_default=False)],
    fail_on: Annotated[
        str | None,
        typer.Option(
            help='What counts as a regression, as "id_sim<-0.01, leakage>0.02": a change beyond the margin '
            "whose 95 % interval excludes zero. Default: every significant change for the worse.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Compare two runs of one suite sample by sample.

    Exit code 1 when something became worse. With --fail-on also when a rule cannot be judged, or when people,
    samples, methods or values that the baseline has are gone, or a picture became unusable.
    """
    from benchmarks.compare import compare as compare_runs
    from benchmarks.compare import parse_rules

    found = compare_runs(run, baseline, parse_rules(fail_on) if fail_on is not None else ())
    if as_json:
        console.out_json(found.as_dict())
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(1)


def _print(found: Comparison) -> None:
    columns = ["method", "metric", "before", "after", "change", "95 % interval", "p", "n", "verdict"]
    console.out_table(columns, [_row(change) for change in found.changes])
    over = "samples" if all(change.unit == "sample" for change in found.changes) else "people"
    console.log(
        f"{found.pairs} pairs of samples, {found.identities} people; "
        f"intervals over {over}; p corrected by Holm's method."
    )
    if found.unpaired:
        console.warn(f"{found.unpaired} samples are in one run only and were left out.")
    for reason in found.refused.values():
        console.warn(f"{reason}: not compared.")
    for change in found.changes:
        if change.lost:
            console.warn(f"{change.method} {change.metric}: {change.lost} values of the baseline are gone.")
    unknown = [change for change in found.changes if change.verdict == "unknown"]
    if unknown:
        console.warn(f"{len(unknown)} changes rest on fewer than five units and were not judged.")
    for change in found.regressions:
        why = f" (rule {change.rule})" if change.rule else ""
        console.log(f"regression: {change.method} {change.metric} {change.delta:+.4f}{why}")
    for reason in found.failures:
        console.warn(f"the gate fails: {reason}")
    if found.passed:
        console.log("no regression")


def _row(change: Change) -> list[str]:
    if change.delta is None:
        return [change.method, change.metric, *["n/a"] * 5, str(change.n), change.verdict]
    interval = "n/a" if change.low is None else f"[{change.low:+.4f}, {change.high:+.4f}]"
    p = "n/a" if change.p_holm is None else f"{change.p_holm:.3f}"
    return [
        change.method, change.metric, f"{change.before:.4f}", f"{change.after:.4f}", f"{change.delta:+.4f}",
        interval, p, str(change.n), change.verdict,
    ]  # fmt: skip
