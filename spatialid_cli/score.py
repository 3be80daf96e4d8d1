"""`spid score`: the metrics, intervals and report of a run for pictures that something else made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spatialid_cli import console, options

_WHAT = "What is scored"
_HOW = "How"
_OUT = "Output"


def score(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder of pictures, or with a metadata.jsonl; or a run's folder."
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Picture of the person; or a folder, whose files' names begin the pictures' names. A folder "
            "in it holds several photographs of one person.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="One JSON object a line: file_name, prompt, identity, reference, baseline, target, method, "
            "seed, category; DIR/metadata.jsonl where it is there and DIR is no run's folder.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="One prompt a line, in the order of the pictures' paths; a single line is for all.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            help="photo, or pocket for rendered people; photo by default, of a run its backbone's.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="default, all, or a list of names; see spid metrics.", rich_help_panel=_HOW)
    ] = "default",
    face_encoder: Annotated[
        str | None,
        typer.Option(
            help="Recogniser that conditioned the pictures: it does not judge them.",
            show_default=False,
            rich_help_panel=_HOW,
        ),
    ] = None,
    model: Annotated[list[str] | None, options.model(_HOW)] = None,
    device: Annotated[str | None, options.device(_HOW)] = None,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Go on without a metric that does not load.", rich_help_panel=_HOW),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Run folder to write; outputs/score-DIR by default.",
            show_default=False,
            rich_help_panel=_OUT,
        ),
    ] = None,
    as_json: Annotated[bool, options.as_json(_OUT)] = False,
) -> None:
    """Score pictures that something else made.

    Same metrics, definitions and intervals as a run of spid bench, and the same report: spid report OUTPUT.
    A run's folder is measured anew, by the models that measured it unless others are named.
    Killed anywhere, the same command goes on where it was.
    Exit code 1 when a picture or a reference could not be judged.
    """
    from collections import Counter

    from benchmarks.description import fault_lines
    from benchmarks.score import score as measure
    from benchmarks.score_read import METADATA, read_folder, read_metadata_file
    from benchmarks.score_runs import read_own_run
    from methods.errors import UsageError, unknown_name
    from methods.paths import default_output_dir
    from methods.textfile import read_json
    from spatialid_cli.request import collect_pairs

    if family not in (None, "photo", "pocket"):
        raise unknown_name("--pictures", family, ("photo", "pocket"))
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.", hint="Name the folder that holds the pictures.")
    own = metadata is None and (folder / "run.json").is_file()
    listing = metadata or next(
        (file for file in (folder / "run.json", folder / METADATA) if file.is_file()), None
    )
    if listing is not None and (reference or prompts):
        raise UsageError(
            f"{listing} says what the pictures are, and so do --reference or --prompts.",
            hint="Give one of the two.",
        )
    of_pictures = "pocket" if family == "pocket" else "sd1"
    models = collect_pairs("--model", model or [], "face=dlib")
    if face_encoder is not None:
        models.setdefault("face-conditioning", face_encoder)
    if own:
        run = read_own_run(folder)
        scored, models = run.scored, run.models | models
        of_pictures = of_pictures if family else run.family
        if run.without:
            console.warn(f"{run.without} samples of {folder} have no picture, and are left out")
        if run.first_only:
            console.warn(
                f"{folder} was made by an older version, which did not list its people: metrics see the "
                "first photograph of each, and the asked-for pictures of rendered people are not known"
            )
    elif listing is None:
        scored = read_folder(folder, reference, prompts)
    else:
        scored = read_metadata_file(listing, folder)
    target = output or default_output_dir() / f"score-{folder.resolve().name}"
    options.check_output(target)
    with console.progress("scoring", "pictures") as advance:
        results = measure(
            scored,
            target,
            family=of_pictures,
            metrics=[part.strip() for part in metrics.split(",") if part.strip()],
            models=models,
            device=device or "auto",
            keep_going=keep_going,
            progress=advance,
            note=console.log,
        )
    statuses = Counter[str]()
    for of in results["statuses"].values():
        statuses.update(of)
    failed = statuses["error"] + statuses["no_face_ref"]
    if as_json:
        console.out_json({"output": str(target), "failed": failed, "results": results})
    else:
        console.out((target / "tables" / "results.md").read_text(encoding="utf-8").rstrip())
        console.out()
        console.out_fields(
            {"folder": str(target), "statuses": ", ".join(f"{n} {name}" for name, n in statuses.items())}
        )
        console.log(f"see it: spid report {target}")
    for line in fault_lines(read_json(target / "run.json", hint="Score the folder again.")["faults"]):
        console.warn(line)
    for card in results["metrics"]:
        if not card.get("available", True):
            console.log(f"{card['name']} is unavailable: {card['reason']}")
    if failed:
        console.warn(f"{failed} of {len(scored)} pictures could not be judged; samples.jsonl says why")
        raise typer.Exit(1)
