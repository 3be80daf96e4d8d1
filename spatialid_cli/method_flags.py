"""Flags of `spid generate` for the options of the methods that a command line names.

They come from each method's `Config`: a new method, a plug-in's too, has flags without an edit here. An
option `style_from` is `--style-from` for the main method where no flag of the command has that name, and
`--METHOD-style-from` for every method of the line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

import typer

from spatialid_cli.options import Command

_KEPT = "spid.method_options"
_DEFAULT = "spatialid"


class MethodFlagsCommand(Command):
    """A command whose flags depend on its --method and --compare."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        taken = {name for param in self.params for name in param.opts}
        self.params = [*self.params, *_flags(_chosen(args), taken)]
        return list(super().parse_args(ctx, args))


def own_options(context: typer.Context) -> Mapping[str, Mapping[str, Any]]:
    """Method -> options that were given by flags of their own."""
    return context.meta.get(_KEPT, {})


def _chosen(args: Sequence[str]) -> list[str]:
    """The main method first, then the compared ones, as far as the words of a line tell."""
    given: dict[str, str] = {}
    for word, after in zip(args, [*args[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if flag in ("--method", "--compare"):
            given[flag] = value if equals else after
    compared = [name.strip() for name in given.get("--compare", "").split(",") if name.strip()]
    return list(dict.fromkeys([given.get("--method", _DEFAULT), *compared]))


def _flags(methods: Sequence[str], taken: set[str]) -> list[Any]:
    """Parameters of the parser for the options of some methods."""
    from methods.errors import SpidError
    from methods.registry import method_config

    parameters: list[Any] = []
    targets: dict[str, Any] = {}
    for method in methods:
        try:
            config = method_config(method)
        except SpidError:  # the command itself says what is wrong with the name
            continue
        told = _told(config)
        for one in fields(config):
            word = one.name.replace("_", "-")
            plain, full = f"--{word}", f"--{method}-{word}"
            names = [full] if method != methods[0] or plain in taken else [plain, full]
            argument = f"own_{len(targets)}"
            targets[argument] = (method, one.name, names[0])
            help_text = told.get(one.name, "") or "See spid methods."
            option = typer.Option(
                *names, help=help_text, show_default=False, rich_help_panel=f"Options of {method}"
            )
            parameters.append(
                inspect.Parameter(
                    argument,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[str | None, option],
                )
            )
    return [_keeping(parameter, *targets[parameter.name]) for parameter in _parsed(parameters)]


def _parsed(parameters: Sequence[inspect.Parameter]) -> list[Any]:
    """The parser's own objects for parameters of a function."""

    def nothing(**given: Any) -> None:
        """Never called."""

    nothing.__signature__ = inspect.Signature(list(parameters))  # type: ignore[attr-defined]
    nothing.__annotations__ = {one.name: one.annotation for one in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(nothing)
    return [one for one in typer.main.get_command(app).params if str(one.name).startswith("own_")]


def _keeping(parameter: Any, method: str, option: str, flag: str) -> Any:
    """The parameter, its value kept as the method's option instead of given to the command."""

    def keep(context: typer.Context, param: Any, value: str | None) -> str | None:
        if value is not None:
            from methods.textfile import parse_yaml

            read = parse_yaml(value, f"{flag} {value!r}", hint="Quote it.")
            context.meta.setdefault(_KEPT, {}).setdefault(method, {})[option] = read
        return value

    parameter.expose_value = False
    parameter.callback = keep
    return parameter


def _told(config: type[Any]) -> dict[str, str]:
    """Option -> what the docstring of its class says of it, in lines of `name, name: text`."""
    told: dict[str, str] = {}
    for names, text in _entries(inspect.getdoc(config) or ""):
        first = re.split(r"(?<=[.;])\s", " ".join(text.split()))[0].rstrip(";.")
        told |= dict.fromkeys(names, first)
    return told


def _entries(text: str) -> Iterator[tuple[list[str], str]]:
    for found in re.finditer(r"^([a-z_]+(?:, [a-z_]+)*):[ ]+(.+(?:\n[ ]+.+)*)", text, re.MULTILINE):
        yield found[1].split(", "), found[2]
