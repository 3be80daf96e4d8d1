"""Modules that are loaded when they are first used, for libraries that import much and use little of it.

`import diffusers` of a U-Net and a VAE imports bitsandbytes (with it torch's compiler) and scipy.stats for
quantisers and samplers that most runs never touch: a quarter of the time to the first picture.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_ASKED_OF_ALL = ("__all__", "__path__", "__version__")
"""Special names that only a user of the module asks for; `inspect` asks every module for others."""


def load_later(*names: str) -> None:
    """Let `import NAME` do nothing until something of the module is used. What is missing or loaded stays so.

    importlib.util.LazyLoader does the same but loads when `inspect` looks for the file of every module,
    which torch and dataclasses make it do.
    """
    for name in names:
        spec = None if name in sys.modules else importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            vars(module).pop("__path__", None)  # to import a part of it is to use it
            module.__class__ = _Later
            sys.modules[name] = module


def packages_distributions() -> dict[str, list[str]]:
    """What `importlib.metadata.packages_distributions` gives, from the text of RECORD: seven times as quick.

    The standard one makes an object of every installed file and parses all of every package's metadata.
    """
    found: dict[str, list[str]] = {}
    for one in importlib.metadata.distributions():
        names = (one.read_text("top_level.txt") or "").split()
        if not names and (record := one.read_text("RECORD")):
            lines = [line.partition(",")[0] for line in record.splitlines()]
            heads = [line.partition("/") for line in lines if line.endswith(".py")]
            names = sorted({head if slash else head.removesuffix(".py") for head, slash, _ in heads})
        if not names:
            names = sorted(
                {
                    file.parts[0] if file.parts[1:] else file.stem
                    for file in one.files or ()
                    if file.suffix == ".py"
                }
            )
        for name in names:
            found.setdefault(name, []).append(_name_of(one))
    return found


def _name_of(one: importlib.metadata.Distribution) -> str:
    line = re.search(r"^Name: *(\S+)", one.read_text("METADATA") or "", re.MULTILINE)
    return line[1] if line else one.metadata["Name"]


class _Later(ModuleType):
    """A module that has not been executed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _ASKED_OF_ALL:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        spec = self.__spec__
        assert spec is not None and spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        spec.loader.exec_module(self)
        return getattr(self, name)


@contextmanager
def stand_ins(
    names: Mapping[str, Sequence[str] | Mapping[str, Any]], bare: Sequence[str] = ()
) -> Iterator[None]:
    """Let `from MODULE import NAME` of these names not execute the module until a name is used.

    names: by full name of a module, what others import from it while the context is open: functions, classes
        that are asked only by `isinstance`, mappings; or objects that do for them. A module that is loaded or
        missing stays so; anything else asked of it loads it at once.
    bare: packages of them whose parts are imported without what the package itself imports.
    """
    put: dict[str, _StandIn] = {}
    installed = {
        name: importlib.util.find_spec(name) for name in {module.partition(".")[0] for module in names}
    }
    for module, attributes in names.items():
        if module not in sys.modules and installed[module.partition(".")[0]] is not None:
            put[module] = sys.modules[module] = _StandIn(module, attributes, module in bare)
    beneath = _Beneath(bare)
    sys.meta_path.insert(0, beneath)
    try:
        yield
    finally:
        sys.meta_path.remove(beneath)
        for module, standing in put.items():
            if sys.modules.get(module) is standing:
                del sys.modules[module]
        for package in bare:
            if package in put:
                when_loaded(package, _adopt, before=True)


def _adopt(package: ModuleType) -> None:
    """Parts that were imported before their package become its attributes, as parts do."""
    for name, part in list(sys.modules.items()):
        parent, _, last = name.rpartition(".")
        if parent == package.__name__:
            setattr(package, last, part)


def when_loaded(module: str, action: Callable[[ModuleType], object], before: bool = False) -> None:
    """Call `action` with the module after (or before) its execution, should it ever be imported."""
    if isinstance(loaded := sys.modules.get(module), ModuleType) and not isinstance(loaded, _StandIn):
        action(loaded)
    else:
        sys.meta_path.insert(0, _Watch(module, action, before))


class _Watch(importlib.abc.MetaPathFinder):
    """Finds one module as the others do; whoever executes it acts as well."""

    def __init__(self, module: str, action: Callable[[ModuleType], object], before: bool) -> None:
        self._module, self._action, self._before = module, action, before

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Acting(spec.loader, self._action, self._before)
        return spec


class _Acting(importlib.abc.Loader):
    def __init__(self, loader: Any, action: Callable[[ModuleType], object], before: bool) -> None:
        self._loader, self._action, self._before = loader, action, before

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        if self._before:
            self._action(module)
        self._loader.exec_module(module)
        if not self._before:
            self._action(module)


class _StandIn(ModuleType):
    """In the place of a module while others import names from it."""

    def __init__(self, name: str, attributes: Sequence[str] | Mapping[str, Any], bare: bool) -> None:
        super().__init__(name)
        self._bare = bare
        if (folders := _folders(name)) is not None:
            self.__path__ = folders
        given = attributes if isinstance(attributes, Mapping) else {}
        for attribute in attributes:
            setattr(self, attribute, given.get(attribute) or Name(name, attribute))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if (part := sys.modules.get(f"{self.__name__}.{name}")) is not None:  # half imported, in a circle
            return part
        path = f"{self.__name__}.{name}"
        if self._bare and importlib.machinery.PathFinder.find_spec(path, self.__path__) is not None:
            return importlib.import_module(path)
        return getattr(_executed(self.__name__), name)


def _folders(name: str) -> list[str] | None:
    """Where the parts of a package lie, without importing anything; None for a module that has none."""
    package, *parts = name.split(".")
    spec = importlib.machinery.PathFinder.find_spec(package)
    for part in parts:
        package += f".{part}"
        within = None if spec is None else spec.submodule_search_locations
        spec = importlib.machinery.PathFinder.find_spec(package, within)
    found = None if spec is None else spec.submodule_search_locations
    return None if found is None else list(found)


def _executed(name: str) -> ModuleType:
    """The module itself, executed now where another stands in for it."""
    if isinstance(sys.modules.get(name), _StandIn):
        del sys.modules[name]
    return importlib.import_module(name)


class _Beneath(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Executes a package when a part of it is imported, as Python does with parents."""

    def __init__(self, bare: Sequence[str]) -> None:
        self._bare = bare
        self._specs: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent in self._bare or not isinstance(sys.modules.get(parent), _StandIn):
            return None
        _executed(parent)
        # the package may have imported that part: executed again, its classes would be there twice
        if (part := sys.modules.get(name)) is None:
            return None
        self._specs[name], part.__spec__ = part.__spec__, None  # Python would go by its own
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._specs.pop(module.__name__)


class Name:
    """A function, class asked by `isinstance` or mapping of a module that is imported at its first use."""

    def __init__(self, module: str, name: str) -> None:
        self.__module, self.__name = module, name

    def __real(self) -> Any:
        return getattr(_executed(self.__module), self.__name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__real(), name)

    def __instancecheck__(self, instance: object) -> bool:
        # nothing is an instance of a class whose module nobody has imported
        loaded = sys.modules.get(self.__module)
        return type(loaded) is ModuleType and isinstance(instance, self.__real())

    def __getitem__(self, key: Any) -> Any:
        return self.__real()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self.__real()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__real())
