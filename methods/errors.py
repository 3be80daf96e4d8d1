"""The errors that reach a user: one line of what happened, one of what to do next.

`exit_code` is what the command line returns: 2 for misuse (a wrong flag, an unusable picture),
1 for a failure that no other call would have avoided.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ENDLESS = re.compile(r"\S{1000,}")
"""A word that no line of a terminal holds: a key of a damaged file, quoted in a message."""


class SpidError(Exception):
    """Something failed; `message` names the file or flag, `hint` the next thing to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = _ENDLESS.sub(lambda word: f"{word[0][:100]}...", message)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(SpidError):
    """The request itself cannot be served as it stands."""

    exit_code = 2


class PictureError(UsageError):
    """A picture file that cannot or must not be read."""


class FaceError(UsageError):
    """A picture from which no single face could be taken; the subclass says why."""


class NoFaceError(FaceError):
    """No face was found on any rung of the detection ladder."""


class SeveralFacesError(FaceError):
    """More than one face under the policy `error`."""


class TinyFaceError(FaceError):
    """The selected face is too small to embed."""


class NotRenderedError(FaceError):
    """A photograph was given to the pocket models, which know rendered people only."""


class WeightsError(SpidError):
    """A weights file that is missing, corrupt, unsafe or made for something else."""


class MissingWeightsError(WeightsError):
    """A weights file that is not there: another path, a download or a training serves the request."""

    exit_code = 2


class NonFiniteError(SpidError):
    """A computation left the finite numbers."""


class MissingDependencyError(SpidError):
    """An optional package is needed; the hint holds the exact install command."""


def unknown_name(what: str, name: str, known: Iterable[str], *, listing: str | None = None) -> UsageError:
    """The error for a name nobody knows, with the nearest known one.

    listing: where the known ones are listed, when they are too many for one line
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else listing or f"Known: {', '.join(names)}."
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    return UsageError(f"Unknown {what} {shown!r}.", hint=hint)
