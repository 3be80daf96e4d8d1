"""The `spid` application: its commands, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from copy import copy
from typing import Annotated, Any

import typer

from methods.errors import SpidError
from spatialid_cli import console
from spatialid_cli.bench import bench
from spatialid_cli.claims import claims
from spatialid_cli.compare import compare
from spatialid_cli.doctor import doctor
from spatialid_cli.export import export
from spatialid_cli.fetch import fetch
from spatialid_cli.generate import generate
from spatialid_cli.method_flags import MethodFlagsCommand
from spatialid_cli.methods import list_methods
from spatialid_cli.metrics import list_metrics
from spatialid_cli.options import Command
from spatialid_cli.render import render
from spatialid_cli.report import report
from spatialid_cli.score import score
from spatialid_cli.show import show
from spatialid_cli.suites import list_suites
from spatialid_cli.train import train
from spatialid_cli.ui import ui

INTERRUPTED = 130
_COLLECTED_AFTER = 20_000
"""New objects until Python looks for unreachable ones. By its own 700, a sixth of the time to a first picture
goes into searching what was just imported."""

app = typer.Typer(
    name="spid",
    help="Compare identity-preserving personalization methods for text-to-image diffusion.",
    epilog="First steps: spid render --person 7 --output people, then spid generate "
    '--reference people/person-0007.png --prompt "a {person} at the beach".',
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command(cls=MethodFlagsCommand)(generate)
app.command(cls=Command)(train)
app.command(cls=Command)(bench)
app.command(cls=Command)(score)
app.command("suites", cls=Command)(list_suites)
app.command("metrics", cls=Command)(list_metrics)
app.command(cls=Command)(render)
app.command(cls=Command)(show)
app.command("methods", cls=Command)(list_methods)
app.command(cls=Command)(claims)
app.command(cls=Command)(report)
app.command(cls=Command)(compare)
app.command(cls=Command)(doctor)
app.command(cls=Command)(fetch)
app.command(cls=Command)(ui)
app.command(cls=Command)(export)


def _print_version(wanted: bool) -> None:
    if wanted:
        from methods.provenance import spid_version

        console.out(f"spid {spid_version()}")
        raise typer.Exit()


@app.callback()
def spid(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and library messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Compare identity-preserving personalization methods for text-to-image diffusion."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a failure, 2 for misuse, 130 when interrupted."""
    console.prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # `--debug` is accepted anywhere on the line, as an error message tells people to append it.
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    _quieten_libraries(debug)
    gc.set_threshold(_COLLECTED_AFTER)
    try:
        code = _application(given[0])(given, prog_name="spid", standalone_mode=False)
        console.flush_answer()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SpidError as error:
        if debug:
            raise
        console.error(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (spid ... | head); nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _is_parser_error(error):
            console.error(*_explain_parser_error(error, given))
            return 2
        if debug:
            raise
        console.error(_one_line(error), "Run it again with --debug to see where.")
        return 1
    if code == INTERRUPTED:
        console.log("interrupted")
    return code if isinstance(code, int) else 0


def _application(word: str) -> typer.Typer:
    """The application with the command of this name alone; whole where there is none.

    To build the parsers of all commands takes 70 ms, of each start.
    """
    called = [
        one for one in app.registered_commands if word in (one.name, getattr(one.callback, "__name__", None))
    ]
    if not called:
        return app
    alone = copy(app)
    alone.registered_commands = called
    return alone


def _quieten_libraries(debug: bool) -> None:
    """No telemetry ever; library chatter only under --debug. Set before any of them is imported."""
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        os.environ[name] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if debug:
        return
    import logging
    import warnings

    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.ERROR, format="%(name)s: %(message)s")

    class Told(logging.Handler):
        """Our own warnings reach people, in our words."""

        def emit(self, record: logging.LogRecord) -> None:
            console.warn(record.getMessage())

    for name in ("methods", "benchmarks"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.handlers[:] = [Told()]


def _is_parser_error(error: Exception) -> bool:
    # typer carries its own click since 0.25 and used the separate package before; both look like this.
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _explain_parser_error(error: Any, given: Sequence[str]) -> tuple[str, str]:
    context = getattr(error, "ctx", None)
    if context is not None:
        command = context.command_path
    else:  # an option without its value: the parser does not say whose
        command = " ".join(["spid", *(word for word in given[:1] if not word.startswith("-"))])
    return " ".join(error.format_message().split()), f"See {command} --help."


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
