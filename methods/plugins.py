"""Names of one kind of thing that a user may ask for: built in, or announced by an installed package.

A package announces what it adds through an entry point of the kind's group, for instance

    [project.entry-points."spid.methods"]
    louder = "louder:Louder"

Nothing of it is imported before it is asked for by name. What is wrong with one plug-in is told when that
one is asked for, and by `spid doctor`; it never keeps anything else from working. Imports no torch.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar

from methods.errors import MissingDependencyError, SpidError, UsageError, unknown_name

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)
"""What a plug-in may be called: names stand in lists, brackets, paths and tables."""


class Origin(NamedTuple):
    """The installed package that a plug-in comes with."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @classmethod
    def read(cls, text: object) -> Origin | None:
        """Inverse of `str`; None for anything else, as stands in what was made without a plug-in."""
        package, space, version = text.rpartition(" ") if isinstance(text, str) else ("", "", "")
        return cls(package, version) if space else None


@dataclass(frozen=True)
class PlugIn:
    """One entry point. target: `module:attribute`; fault: what is wrong with it, None when nothing is."""

    kind: str
    name: str
    target: str
    origin: Origin
    fault: str | None = None


PREFIX = "spid."
"""Begins the group of every registry."""

REGISTRIES: dict[str, Registry[Any]] = {}
"""Every registry that was imported, by the group of its entry points."""


class Registry(Generic[T]):
    """Everything of one kind by name: what is built in, in reading order, then plug-ins alphabetically.

    kind: in words, for messages (`method`). group: of the entry points. built_in: name -> `module:attribute`,
    imported when asked for. check: (name, loaded object) -> what is wrong with a plug-in, or None. beside:
    (loaded object, the other plug-ins with nothing wrong by `check`, imported as they are asked for) -> what
    is wrong with one among the others, or None; a quarrel must be the fault of both: then no order decides.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, str],
        check: Callable[[str, Any], str | None],
        beside: Callable[[T, Iterator[tuple[PlugIn, T]]], str | None] = lambda loaded, others: None,
    ) -> None:
        self.kind, self.group, self.built_in = kind, group, built_in
        self._check, self._beside = check, beside
        self._sound: dict[str, T] = {}
        self._loaded: dict[str, T] = {}
        REGISTRIES[group] = self

    def names(self) -> list[str]:
        """All names that can be asked for; imports nothing, so that a plug-in among them may be broken."""
        return [*self.built_in, *self._points()]

    def usable(self) -> list[str]:
        """The names that load: plug-ins are imported, and those with a fault are left out."""
        return [name for name in self.names() if name in self.built_in or self._fault_of(name) is None]

    def __contains__(self, name: object) -> bool:
        return name in self.built_in or name in self._points()

    def get(self, name: str) -> T:
        """What the name stands for, imported.

        Raises UsageError for an unknown name; MissingDependencyError for a plug-in that lacks something it
        imports, SpidError for one with another fault.
        """
        if name not in self._loaded:
            if name in self.built_in:
                self._loaded[name] = resolve(self.built_in[name])
            elif name in (points := self._points()):
                loaded = self._load(points[name])
                if (fault := self._beside(loaded, self._others(name))) is not None:
                    raise self._broken(points[name], fault)
                self._loaded[name] = loaded
            else:
                raise unknown_name(self.kind, name, self.names())
        return self._loaded[name]

    def origin(self, name: str) -> Origin | None:
        """The package of a plug-in; None for what is built in and for names that nobody announces."""
        point = None if name in self.built_in else self._points().get(name)
        return None if point is None else _origin(point)

    def check_origin(self, name: str, recorded: Origin | None) -> str | None:
        """Whether what a run or a picture was made with is still the same.

        recorded: where it came from then, None for what is built in. Returns a line for people where package
        or version have changed. Raises UsageError for what is gone with its package.
        """
        if name not in self:
            if recorded is None:
                raise unknown_name(self.kind, name, self.names())
            raise UsageError(
                f"The {self.kind} {name!r} came with the package {recorded}, which is not installed.",
                hint=f"Run pip install {recorded.package}=={recorded.version}",
            )
        now = self.origin(name)
        if now == recorded:
            return None
        before, after = recorded or "spid itself", now or "spid itself"
        return f"the {self.kind} {name!r} came from {before}, now it comes from {after}"

    def plug_ins(self) -> list[PlugIn]:
        """Every entry point of the group, imported, with its fault: also those whose name is taken."""
        usable = self._points()
        found = []
        for point in _entry_points(self.group):
            if (fault := self._fault_of_name(point)) is None:
                fault = self._fault_of(point.name) if usable.get(point.name) is point else None
            found.append(PlugIn(self.kind, point.name, point.value, _origin(point), fault))
        return sorted(found, key=lambda one: (one.name, one.origin))

    def forget(self) -> None:
        """Import everything anew when it is asked for again."""
        self._sound.clear()
        self._loaded.clear()

    # ------------------------------------------------------------- entry points
    def _points(self) -> dict[str, EntryPoint]:
        """Plug-ins by name, those left out whose name cannot be theirs."""
        found = [point for point in _entry_points(self.group) if self._fault_of_name(point) is None]
        return {point.name: point for point in sorted(found, key=lambda point: point.name)}

    def _fault_of_name(self, point: EntryPoint) -> str | None:
        if point.name in self.built_in:
            return "its name is taken by a built-in one"
        if not _NAME.fullmatch(point.name):
            return "its name may hold letters, digits, dots, dashes and underscores only"
        rivals = sorted(
            str(_origin(other))
            for other in _entry_points(self.group)
            if other.name == point.name and other is not point
        )
        return f"its name is also announced by {', '.join(rivals)}" if rivals else None

    def _fault_of(self, name: str) -> str | None:
        try:
            self.get(name)
        except SpidError as error:
            return error.message.partition("): ")[2] or error.message
        return None

    def _load(self, point: EntryPoint) -> T:
        """What an entry point names, with nothing wrong by itself."""
        if point.name not in self._sound:
            try:
                loaded = point.load()
            except ImportError as error:
                raise self._broken(
                    point, f"it does not import: {in_a_line(error)}", MissingDependencyError
                ) from error
            except (Exception, SystemExit) as error:  # whatever a stranger's module does when it is imported
                raise self._broken(point, f"it does not import: {in_a_line(error)}") from error
            try:
                fault = self._check(point.name, loaded)
            except Exception as error:
                fault = f"it cannot be looked at: {in_a_line(error)}"
            if fault is not None:
                raise self._broken(point, fault)
            self._sound[point.name] = loaded
        return self._sound[point.name]

    def _others(self, name: str) -> Iterator[tuple[PlugIn, T]]:
        """The plug-ins of other names that have nothing wrong by themselves, alphabetically."""
        for point in self._points().values():
            if point.name != name:
                with contextlib.suppress(SpidError):
                    loaded = self._load(point)
                    yield PlugIn(self.kind, point.name, point.value, _origin(point)), loaded

    def _broken(self, point: EntryPoint, fault: str, kind: type[SpidError] = SpidError) -> SpidError:
        origin = _origin(point)
        return kind(
            f"The plug-in {self.kind} {point.name!r} (package {origin}, {point.value}): {fault}.",
            hint=f"Correct it, or remove it: pip uninstall {origin.package}",
        )


def announced() -> list[str]:
    """Groups of entry points below `spid.` that packages announce, whether anybody reads them or not."""
    return sorted(group for group in entry_points().groups if group.startswith(PREFIX))


def forget() -> None:
    """Look again at what is installed: for a process in which packages come and go."""
    _entry_points.cache_clear()
    for registry in REGISTRIES.values():
        registry.forget()


def resolve(target: str) -> Any:
    """What `module:attribute` names, imported."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _origin(point: EntryPoint) -> Origin:
    if point.dist is None:
        return Origin("unknown", "?")
    return Origin(point.dist.name, point.dist.version)


def in_a_line(error: BaseException) -> str:
    """Class and first 200 letters of what a stranger's code raised."""
    text = " ".join(str(error).split())[:200].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
