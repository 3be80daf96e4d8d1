"""YAML's safe loader, narrowed to the core schema of YAML 1.2 and to what a configuration needs."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from methods.limits import MAX_DEPTH, MAX_DIGITS

_TAG = "tag:yaml.org,2002:"


class CoreLoader(yaml.SafeLoader):
    """Null, truth values, numbers, text, lists and mappings of text keys, each key once; no anchors."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not read; write the value out", event.start_mark
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_core_mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """A mapping whose keys are text and differ."""
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, "a mapping by its tag, but not by its form")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise self._wrong(key_node, f"the key {str(key)[:40]!r} is not text; quote it")
            if key in found:
                raise self._wrong(key_node, f"the key {key!r} is given twice")
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def construct_core_list(self, node: yaml.SequenceNode) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node, "a list by its tag, but not by its form")
        return [self.construct_object(one, deep=True) for one in node.value]

    def construct_core_bool(self, node: yaml.ScalarNode) -> bool:
        return self._scalar(node, _BOOL).lower() == "true"

    def construct_core_null(self, node: yaml.ScalarNode) -> None:
        self._scalar(node, _NULL)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        text = self._scalar(node, _INT)
        if len(text) > MAX_DIGITS:
            raise self._wrong(node, "a whole number of too many digits")
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))

    def construct_core_float(self, node: yaml.ScalarNode) -> float:
        text = self._scalar(node, _FLOAT).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_core_text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))

    def construct_unknown(self, node: yaml.Node) -> None:
        raise self._wrong(node, f"the tag {node.tag[:60]} is not read")

    def _scalar(self, node: yaml.ScalarNode, pattern: re.Pattern[str]) -> str:
        """Text of a value; one with an explicit tag may not be what its tag says."""
        text = str(self.construct_scalar(node))
        if not pattern.fullmatch(text):
            raise self._wrong(node, f"{text[:40]!r} is not what its tag says")
        return text

    @staticmethod
    def _wrong(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
        return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)

for name, pattern, first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):  # YAML takes the first that matches: whole numbers before others
    CoreLoader.add_implicit_resolver(f"{_TAG}{name}", re.compile(rf"^(?:{pattern.pattern})$"), first)
for name, construct in (
    ("null", CoreLoader.construct_core_null),
    ("bool", CoreLoader.construct_core_bool),
    ("int", CoreLoader.construct_core_int),
    ("float", CoreLoader.construct_core_float),
    ("str", CoreLoader.construct_core_text),
    ("seq", CoreLoader.construct_core_list),
    ("map", CoreLoader.construct_core_mapping),
):
    CoreLoader.add_constructor(f"{_TAG}{name}", construct)
CoreLoader.add_constructor(None, CoreLoader.construct_unknown)
