"""`spid bench`: run a suite with many methods, or take up a run where it stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from methods.paths import user_path
from spatialid_cli import console, options

if TYPE_CHECKING:
    from benchmarks.request import Request
    from benchmarks.runner import Outcome
    from benchmarks.store import Shard

_WHAT = "What to run"
_MODEL = "Models"
_WORK = "How to work"
_OUT = "Output"
_LISTED = 20  # samples that are not ok, shown at the end

_BESIDE_RESUME = (
    "resume",
    "output",
    "shard",
    "num_processes",
    "start_jitter",
    "launch",
    "jobs",
    "partition",
    "slurm",
    "address",
    "keep_going",
    "strict",
    "verify",
    "as_json",
)
"""All others are settled by the run in the folder."""


def bench(
    context: typer.Context,
    suite: Annotated[
        str | None,
        typer.Option(help="ibench, pocket, smoke, or a YAML file; see spid suites.", rich_help_panel=_WHAT),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="all, or a list like none,uniform,spatialid[preset=F]; the suite's own by default.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Checkout of the public IBench repository, for ibench.", rich_help_panel=_WHAT),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Only this set of the suite; repeatable.", rich_help_panel=_WHAT),
    ] = None,
    limit: Annotated[int | None, options.limit(_WHAT)] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="default, compat:ibench, all, or a list of names; see spid metrics.",
            show_default=False,
            rich_help_panel=_WHAT,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(help="List of seeds, such as 0,1,2.", show_default=False, rich_help_panel=_WHAT),
    ] = None,
    steps: Annotated[int | None, options.steps(_WHAT)] = None,
    guidance: Annotated[float | None, options.guidance(_WHAT)] = None,
    true_cfg: Annotated[float, options.true_cfg(_WHAT)] = 1.0,
    scheduler: Annotated[str | None, options.scheduler(_WHAT)] = None,
    face_select: Annotated[str, options.face_select(_WHAT)] = "largest",
    backbone: Annotated[str, options.backbone(_MODEL)] = "pocket",
    face_encoder: Annotated[str | None, options.face_encoder(_MODEL)] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="method=weights; the shipped ones by default. Repeatable.", rich_help_panel=_MODEL),
    ] = None,
    model: Annotated[list[str] | None, options.model(_MODEL)] = None,
    device: Annotated[str | None, options.device(_MODEL)] = None,
    dtype: Annotated[str | None, options.dtype(_MODEL)] = None,
    cpu_offload: Annotated[bool, options.cpu_offload(_MODEL)] = False,
    lora: Annotated[list[str] | None, options.lora(_MODEL)] = None,
    lora_scale: Annotated[float | None, options.lora_scale(_MODEL)] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Pictures per U-Net call; 1 on a CPU, else 8.",
            min=1,
            show_default=False,
            rich_help_panel=_WORK,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Do share I/N only, where machines share no folder.",
            show_default=False,
            rich_help_panel=_WORK,
        ),
    ] = None,
    num_processes: Annotated[
        int,
        typer.Option(
            help="Processes on this machine; more may join in the same --output.",
            min=1,
            rich_help_panel=_WORK,
        ),
    ] = 1,
    start_jitter: Annotated[
        float,
        typer.Option(
            help="Wait for up to so many seconds, at random, before models are read.",
            min=0,
            max=3600,
            rich_help_panel=_WORK,
        ),
    ] = 0.0,
    launch: Annotated[
        str | None,
        typer.Option(
            help="slurm: submit jobs; ray: actors of a cluster.", show_default=False, rich_help_panel=_WORK
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="How many --launch starts.", min=1, show_default=False, rich_help_panel=_WORK),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(help="Of --launch slurm.", show_default=False, rich_help_panel=_WORK),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="Option of sbatch, such as time=240 (minutes) or gpus_per_node=1. Repeatable.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of the Ray cluster; without, this machine.", show_default=False, rich_help_panel=_WORK
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Take up the run in --output with its own options.", rich_help_panel=_WORK
        ),
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Record samples that raise and go on.", rich_help_panel=_WORK),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit code 1 for pictures without a face or with several, too.",
            rich_help_panel=_WORK,
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Hash every picture even of a large run.", rich_help_panel=_WORK),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder; outputs/SUITE by default.", show_default=False, rich_help_panel=_OUT),
    ] = None,
    as_json: Annotated[bool, options.as_json(_OUT)] = False,
) -> None:
    """Run a suite with many methods and write tables.

    The same command takes up a run that was interrupted: what is finished is kept, and the result is what an
    uninterrupted run would have given.

    Samples that are not ok are listed at the end. Exit code 1 when any of them failed: error, non_finite,
    degenerate, no_face_ref, or no picture at all. A picture that shows no face or several (no_face_gen,
    multi_face) says something about its method, not about the run: it fails nothing without --strict.
    """
    from benchmarks.shards import parse_shard
    from methods.errors import UsageError
    from methods.paths import default_output_dir
    from methods.provenance import portable
    from spatialid_cli.bench_work import How, work
    from spatialid_cli.request import collect_backbone, collect_pairs

    if resume:
        if output is None:
            raise UsageError("--resume does not know which run.", hint="Give its folder with --output.")
        options.refuse_others(
            context,
            _BESIDE_RESUME,
            "--resume repeats the run's own options",
            "Leave out --resume to give them again; differences are then named.",
        )
        request = _request_of(output)
        output = user_path(output).absolute()
        if request.root is not None and (root := user_path(request.root)).is_dir():
            os.chdir(root)  # where the paths of the run's options were valid
    else:
        if suite is None:
            raise UsageError("There is no suite.", hint="Give --suite smoke, for instance; see spid suites.")
        from benchmarks.request import Request, split_methods
        from methods.config import build

        wanted = dict(
            suite=suite,
            methods=tuple(split_methods(methods or "")),
            backbone=collect_backbone(
                backbone,
                {
                    "device": device,
                    "dtype": dtype,
                    "cpu_offload": cpu_offload,
                    "face_encoder": face_encoder,
                    "lora": lora or None,
                    "lora_scale": lora_scale,
                },
            ),
            data=None if data is None else str(data),
            sets=tuple(sets or ()),
            limit=limit,
            seeds=_seeds(seeds),
            steps=steps,
            guidance=guidance,
            true_cfg=true_cfg,
            scheduler=scheduler,
            face_select=face_select,
            adapters=collect_pairs("--adapter", adapter or [], "uniform=weights.bin"),
            metrics=_metrics(metrics),
            models=collect_pairs("--model", model or [], "clip=ViT-L-14:openai"),
            batch_size=batch_size,
            root=portable("."),
        )
        request = build(Request, wanted, where="spid bench")
    folder = output or default_output_dir() / Path(request.suite).stem
    options.check_output(folder)
    how = How(
        shard=shard,
        processes=num_processes,
        jitter=start_jitter,
        launch=launch,
        jobs=jobs,
        address=address,
        slurm={
            **collect_pairs("--slurm", slurm or [], "time=240"),
            **({"partition": partition} if partition else {}),
        },
        keep_going=keep_going,
        verify=verify,
    )
    done = work(request, folder, how, as_json=as_json)
    if done is not None:
        _report(done, None if shard is None else parse_shard(shard), strict=strict, as_json=as_json)


def _request_of(folder: Path) -> Request:
    """What the run in a folder was asked for."""
    from benchmarks.metrics.plugins import METRICS
    from benchmarks.request import Request
    from benchmarks.run_file import read_run
    from methods.errors import UsageError
    from methods.plugins import Origin
    from methods.registry import check_origin
    from methods.textfile import read_json
    from spatialid_cli.bench_work import ASKED

    if (folder / ASKED).exists():
        return Request.from_dict(read_json(folder / ASKED, hint="Give the options."), where=ASKED)
    if (folder / "run.json").exists():
        run = read_run(folder)
        for method in run.get("methods", []):
            # which newer plug-ins it meets, the run's own comparison of descriptions says
            check_origin(str(method.get("method")), Origin.read(method.get("package")))
        for card in run.get("metrics", []):
            if (package := Origin.read(card.get("package"))) is not None:
                METRICS.check_origin(card["name"], package)
        return Request.from_dict(run.get("request", {}), where=str(folder / "run.json"))
    raise UsageError(f"There is no run in {folder}.", hint="Begin one with --suite.")


def _report(outcome: Outcome, part: Shard | None, *, strict: bool, as_json: bool) -> None:
    """Tables and what went wrong; exit 1 when any sample failed, or with `strict` was not ok."""
    from benchmarks.live import clock, printable
    from benchmarks.schema import failed

    bad = len(outcome.troubles) if strict else sum(map(failed, outcome.troubles))
    if as_json:
        summary: dict[str, Any] = {
            "output": str(outcome.folder),
            "complete": outcome.complete,
            "missing": outcome.missing,
            "pairs": {**outcome.pairs, "made": outcome.made},
            "cut_prompts": outcome.cut,
            "statuses": outcome.counts,
            "failed": bad,
            "seconds": {name: round(value, 3) for name, value in outcome.seconds.items()},
            "results": outcome.results,
        }
        console.out_json(summary)
    else:
        table = outcome.folder / "tables" / "results.md"
        if outcome.complete and table.is_file():
            console.out(table.read_text(encoding="utf-8").rstrip())
            console.out()
        console.out_fields(
            {
                "folder": str(outcome.folder),
                "pairs": "{planned} planned of {listed} listed; {made} of {pictures} pictures made".format(
                    **outcome.pairs, made=outcome.made
                ),
                "statuses": ", ".join(f"{count} {status}" for status, count in outcome.counts.items()),
                "time": clock(outcome.seconds["wall"]),
            }
        )
    if outcome.cut:
        console.warn(
            f"{outcome.cut} samples have prompts longer than the text encoder reads; rows quote the rest"
        )
    for row in sorted(outcome.troubles, key=failed, reverse=True)[:_LISTED]:
        who = f", {row['identity']}" if row["identity"] else ""
        console.warn(printable(f"{row['status']}: {row['method']}{who}, {row['prompt_id']}: {row['detail']}"))
    if (rest := len(outcome.troubles) - _LISTED) > 0:
        console.warn(f"and {rest} more; samples.jsonl has them all")
    if not outcome.complete:
        share = "" if part is None else f"share {part} is done; "
        console.log(f"{share}{outcome.missing} samples are left to other processes")
    elif not as_json:
        console.log(f"see it: spid report {outcome.folder}")
    if bad:
        raise typer.Exit(1)


def _seeds(text: str | None) -> tuple[int, ...] | None:
    from methods.errors import UsageError

    if text is None:
        return None
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(
            f"--seeds {text!r} is no list of numbers.", hint="For example: --seeds 0,1,2"
        ) from error
    if any(not 0 <= seed < 2**32 for seed in seeds):
        raise UsageError(f"--seeds {text!r}: a seed is out of range.", hint="Give 0 to 2^32 - 1.")
    return seeds


def _metrics(text: str | None) -> str | tuple[str, ...] | None:
    from methods.errors import UsageError

    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError("--metrics names none.", hint="See spid metrics.")
    return names[0] if len(names) == 1 else names
