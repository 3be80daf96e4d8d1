"""Bounds of text files of others, whatever their format."""

from __future__ import annotations

MAX_DEPTH = 64
"""Brackets within brackets."""
MAX_DIGITS = 300
"""Of a whole number: what a float can still hold."""
