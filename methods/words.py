"""The one door for words of others that reach a terminal or a table.

Prompts, names, file names and the text in pictures may hold escape sequences that repaint a terminal,
newlines that fake a line of ours, marks that turn the reading direction, or a formula for a spreadsheet.
"""

from __future__ import annotations

import unicodedata

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_FORMULA = ("=", "+", "-", "@", "\t", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets run what begins so, the full-width forms too."""


def visible(text: str, *, keep: str = "") -> str:
    r"""Text with its control characters written out: `\x1b`, `\n`, `\u2028`, `\u202e`, `\udcff`.

    keep: characters that stay as they are, as newlines and tabs where lines are meant
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in keep or not _hidden(one) else _written(one) for one in text)


def in_unicode(text: str) -> str:
    r"""Text that any encoding of Unicode takes: bytes of a file name that are not UTF-8 become `\udcff`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets a leading quote mark.

    Numbers stay numbers; control characters but newline and tab are written out.
    """
    if not isinstance(value, str):
        return value
    text = visible(value, keep="\n\t")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _hidden(one: str) -> bool:
    return one in _TURNING or unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")


def _written(one: str) -> str:
    return one.encode("unicode_escape", "backslashreplace").decode("ascii")
