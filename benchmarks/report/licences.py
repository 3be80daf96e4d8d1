"""Whose work a run rests on: methods, models, and under which licences. Built-in methods need no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from methods.errors import SpidError
from methods.registry import method_info
from methods.shipped import SHIPPED

_BACKBONES = {
    **dict.fromkeys(SHIPPED, "Apache-2.0 (trained by this project on its own renders)"),
    "sd1": "CreativeML OpenRAIL-M for the original weights; see the model's card",
    "sd2": "CreativeML OpenRAIL++-M for the original weights; see the model's card",
    "sdxl": "CreativeML OpenRAIL++-M for the original weights; see the model's card",
}


def describe_methods(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Every method of a run: its entry of run.json, and the card of the registry where it is known here."""
    known = {str(entry["name"]): entry for entry in entries}
    described = []
    for label in names:
        entry = {"config": {}, "weights": None, **known.get(label, {})}
        try:
            card: dict[str, Any] | None = dataclasses.asdict(method_info(str(entry.get("method", label))))
        except SpidError:
            card = None
        described.append({**entry, "name": label, "card": card})
    return described


def models_and_licences(
    metrics: Sequence[Mapping[str, Any]], backbone: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Every model with its licence and what it was used for, the backbone first."""
    family = str(backbone.get("family", ""))
    models: dict[tuple[str, str], list[str]] = {}
    for card in metrics:
        if card.get("available", True) and card.get("model"):
            key = str(card["model"]), str(card.get("licence") or "not stated")
            models.setdefault(key, []).append(str(card["name"]))
    return [
        {
            "name": str(backbone.get("name", "backbone")),
            "licence": str(backbone.get("licence") or _BACKBONES.get(family, "see the model's card")),
            "used": ["generation"],
        },
        *({"name": name, "licence": licence, "used": used} for (name, licence), used in models.items()),
    ]
