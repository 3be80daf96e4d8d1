"""Whether pictures show the reference person: the identity of every method, on people nobody trained on.

Prompts ask for photographs; scene, clothes, expression, light and the rest differ by person and prompt, noise
is the same for all methods. Identity is read by the scoring recogniser, which no method conditions on,
against the one reference photograph; a picture without a face counts as 0. Renders of the person and of a
stranger in the same contexts say what there is to be had: `position` is 1 at the person's renders and 0 at
the stranger's. Methods that fit every person take minutes a person: they come last, and only the first
--fit-people are fitted. Differences from none and uniform are paired, over the people that both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.studies.figures import Figures, Remaining, mean_interval, ratio_interval
from benchmarks.studies.study import Study, Variant
from methods.registry import method_info

BASES = ("none", "uniform")
"""What the other methods are compared with."""


def evaluate(study: Study, variants: Sequence[Variant], fit_people: int, figures: Figures) -> None:
    """Person by person, so that a run that was stopped compares the same people; fits after all others."""
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in variants}
    renders: list[dict[str, Any]] = []
    fits = [one for one in variants if method_info(one.method).kind == "fit"]
    others = [one for one in variants if one not in fits]
    for chosen, people in ((others, study.people), (fits, min(fit_people, study.people))):
        remaining = Remaining()
        for person in range(people if chosen else 0):
            made = len(study.made)
            if person == len(renders):
                renders.append(study.renders_of(person))
            for one in chosen:
                found[one.name].append(study.pictures(one, person))
            figures.keep("renders", similarities(renders))
            figures.keep("methods", rows(found, renders))
            left = remaining.after(people - person - 1, fresh=len(study.made) > made)
            study.report(f"{', '.join(one.name for one in chosen)}: {person + 1} of {people} people{left}")


def similarities(renders: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What renders of the person and of strangers have."""
    return {name: mean_interval(means(renders, name)) for name in ("genuine", "impostor")}


def rows(
    found: Mapping[str, Sequence[Mapping[str, Any]]], renders: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The figures of every method over the people it has."""
    genuine, impostor = means(renders, "genuine"), means(renders, "impostor")
    table = {}
    for name, people in found.items():
        if not people:
            continue
        n, own = len(people), means(people, "similarity")
        table[name] = {
            "people": n,
            "pictures": sum(len(one["similarity"]) for one in people),
            "faces_not_found": sum(value is None for one in people for value in one["similarity"]),
            "similarity": mean_interval(own),
            "position": ratio_interval(own - impostor[:n], genuine[:n] - impostor[:n]),
            "followed": mean_interval(np.array([np.mean(one["followed"]) for one in people])),
        }
        for base in BASES:
            if base != name and found.get(base):
                table[name][f"minus_{base}"] = mean_interval(own - means(found[base][:n], "similarity"))
    return table


def means(people: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """Mean over the pictures of every person, 0 for a picture without a face."""
    return np.array([np.mean([value or 0.0 for value in one[name]]) for one in people])


def table(figures: Mapping[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{'':20}{'people':>7}{'similarity':>24}{'position':>10}{'followed':>10}{'no face':>9}"]
    for name, row in figures["methods"].items():
        similarity = row["similarity"]
        words = f"{similarity['value']:.3f}"
        if similarity["interval"] is not None:
            low, high = similarity["interval"]
            words += f" [{low:.3f}, {high:.3f}]"
        lines.append(
            f"{name:20}{row['people']:7}{words:>24}{row['position']['value']:10.2f}"
            f"{row['followed']['value']:10.2f}{row['faces_not_found']:9}"
        )
    for name, of in figures["renders"].items():
        lines.append(f"{f'renders, {name}':20}{of['n']:7}{of['value']:24.3f}")
    return "\n".join(lines)
