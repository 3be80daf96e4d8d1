"""Before any test module imports diffusers."""

from __future__ import annotations

from methods.compat import ensure_torchvision

ensure_torchvision()
