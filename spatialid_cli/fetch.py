"""`spid fetch`: bring the public models that the pocket world stands in for, when somebody asks for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from methods.errors import UsageError
from spatialid_cli import console, options

if TYPE_CHECKING:
    from methods.downloads import Download


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="What to bring; without a name, what there is.")
    ] = None,
    agree: Annotated[
        bool, typer.Option("--agree", help="Agree to the licences without being asked.")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print the exact files; bring nothing.")] = False,
    as_json: Annotated[bool, options.as_json()] = False,
) -> None:
    """Download models by name, checked by size and SHA-256; goes on where it broke off.

    Nothing else in spid downloads anything but what a hub id names. Licences are shown and asked for.
    """
    from methods.downloads import catalogue, fetch, find, offline

    chosen = [find(name) for name in names or []]
    if not chosen or listing or offline():
        _print(chosen or list(catalogue().values()), whole=bool(chosen), as_json=as_json)
        if chosen and not listing:
            raise UsageError(
                "The network is switched off (HF_HUB_OFFLINE).",
                hint="Unset it, or put the files above in place by hand.",
            )
        return
    for item in chosen:
        _agree(item, agree)
    for item in chosen:
        with console.progress(f"fetching {item.name}", unit="MB") as advance:
            folder = fetch(item, lambda name, done, total: advance(done // 10**6, total // 10**6, name))
        console.log(f"{item.name}: {folder}")
    if as_json:
        console.out_json([_described(item) for item in chosen])
    else:
        for item in chosen:
            console.out(f"{item.name}: spid generate {item.command}")


def _agree(item: Download, agreed: bool) -> None:
    console.log(f"{item.name}: {item.title}\n  licence: {item.licence} ({item.licence_url})")
    if agreed:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{item.name}: nobody is there to agree to its licence.", hint="Read it, then give --agree."
        )
    if not typer.confirm("Do you agree?", err=True):
        raise UsageError(f"{item.name}: not fetched.", hint="It is used under its licence only.")


def _print(items: list[Download], *, whole: bool, as_json: bool) -> None:
    if as_json:
        console.out_json([_described(item) for item in items])
        return
    if not whole:
        rows = [(item.name, "there" if item.present else "", item.title, item.licence) for item in items]
        console.out_table(("name", "state", "what", "licence"), rows)
        return
    for item in items:
        console.out(f"{item.name}: {item.title}; {item.licence} ({item.licence_url})")
        rows = [
            (
                file["path"],
                str(file["size"] or "not stated"),
                file["sha256"] or "as the hub announces",
                file["url"],
            )
            for file in _described(item)["files"]
        ]
        console.out_table(("file", "bytes", "SHA-256", "from"), rows)
        console.out(f"into: {item.folder}")


def _described(item: Download) -> dict[str, Any]:
    return {
        "name": item.name,
        "title": item.title,
        "licence": item.licence,
        "licence_url": item.licence_url,
        "folder": str(item.folder),
        "present": item.present,
        "use": item.command,
        "files": [
            {"path": one.path, "url": one.url, "size": one.size, "sha256": one.sha256} for one in item.files
        ],
    }
