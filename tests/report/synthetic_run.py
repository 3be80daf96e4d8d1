"""A run folder as `spid bench` leaves it, with rendered people for pictures and figures drawn from chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.description import card
from benchmarks.metrics.base import MetricInfo
from benchmarks.schema import Row
from methods.files import save_json, write_bytes
from methods.images import save_png
from methods.pocket.world import FACTORS, Context, render, sample_person

PROMPTS = (
    ("style-1", "a pencil sketch of a {} in a library", "Style", {"style": "sketch", "scene": "library"}),
    ("style-2", "a watercolor of a {} at the beach", "Style", {"style": "watercolor", "scene": "beach"}),
    ("view-1", "a photo of a {} turned left in the desert", "View", {"pose": "left", "scene": "desert"}),
    ("background-1", "a photo of a {} in snowy mountains", "Background", {"scene": "mountains"}),
    ("accessory-1", "a {} with a hat in a forest", "Accessory", {"accessory": "hat", "scene": "forest"}),
    ("action-1", "a {} with a balloon in a city", "Action", {"action": "balloon", "scene": "city"}),
    ("clothing-1", "a photo of a {} wearing a yellow hoodie", "Clothing",
     {"clothing": "hoodie", "clothing_color": "yellow", "scene": "garden"}),
    ("attribute-1", "a photo of a laughing {} under the stars", "Attribute",
     {"expression": "laughing", "scene": "night sky"}),
)  # fmt: skip
METHODS = ("none", "uniform", "spatialid", "facewise", "infinite-id")

_LEVEL = {  # identity, text adherence, scene kept, quality, background leakage
    "none": (0.04, 0.291, 1.0, 0.71, 0.0),
    "uniform": (0.58, 0.243, 0.62, 0.66, 0.21),
    "spatialid": (0.55, 0.279, 0.83, 0.69, 0.08),
    "facewise": (0.46, 0.271, 0.74, 0.68, 0.12),
    "infinite-id": (0.61, 0.262, 0.70, 0.67, 0.15),
}


def metric(
    name: str, title: str, direction: str, span: tuple[float, float] = (0, 1), **more: Any
) -> dict[str, Any]:
    """A metric's card as run.json holds it."""
    info = MetricInfo(
        name=name,
        title=title,
        direction=direction,  # type: ignore[arg-type]
        range=span,
        model=more.pop("model", "pocket face recogniser (scoring)"),
        preprocessing=more.pop("preprocessing", "aligned crop, 112 x 112, [-1, 1]"),
        definition=more.pop("definition", f"{title}, computed for every picture on its own."),
        source=more.pop("source", "typemovie/IBench"),
        licence=more.pop("licence", "Apache-2.0"),
        **more,
    )
    return card(info, None)


CARDS = (
    metric("id_sim", "Identity", "higher", (-1, 1)),
    metric("id_sim_zero", "Identity, misses as 0", "higher", (-1, 1)),
    metric("clip_t", "Text adherence", "higher", (-1, 1), model="pocket CLIP"),
    metric("clip_i_scene", "Scene kept", "higher", (-1, 1), model="pocket CLIP"),
    metric("iq", "Quality", "higher", model="pocket quality model", licence="PolyForm-Noncommercial-1.0.0"),
    metric("leakage", "Background leakage", "lower"),
    metric("no_face", "Face not found", "lower"),
    metric("pose_div", "Pose difference", "none", (0, 180), model="pocket landmarks"),
    metric("iq_ibench", "Quality, as IBench codes it", "higher", compat="ibench"),
    metric("fid", "FID", "lower", (0, float("inf")), level="set", model="pocket CLIP features"),
)


@dataclass(frozen=True)
class Plan:
    """What a synthetic run holds."""

    people: int = 6
    methods: Sequence[str] = METHODS
    prompts: Sequence[tuple[str, str, str, dict[str, str]]] = PROMPTS
    names: Sequence[str] = ()
    shift: float = 0.0
    """Added to the identity similarity of every method: what a change of code did."""
    failures: bool = True
    pictures: bool = True
    suite: str = "ibench"
    seed: int = 0


def write_run(folder: Path, plan: Plan | None = None) -> Path:
    """Write run.json, samples.jsonl, sets.json, pictures/ and references/ into `folder`; returns it."""
    plan = plan or Plan()
    rng = np.random.default_rng(plan.seed)
    names = list(plan.names) or [f"person-{number:04d}" for number in range(1, plan.people + 1)]
    rows: list[Row] = []
    for index, name in enumerate(names):
        reference = _reference(folder, index, plan)
        easy = rng.normal(0, 0.06)  # some people are easier than others, for every method
        for prompt_id, text, category, truth in plan.prompts:
            hard = rng.normal(0, 0.02)
            for method in plan.methods:
                plain = method == "none"
                if plain and index:
                    continue
                identity = None if plain else name
                key = f"{method} {identity} {prompt_id}"
                rows.append(
                    _sample(
                        plan,
                        rng,
                        folder,
                        key=key,
                        method=method,
                        identity=identity,
                        prompt_id=prompt_id,
                        text=text,
                        category=category,
                        truth=truth,
                        easy=easy,
                        hard=hard,
                        person=index,
                        reference=None if plain else reference,
                    )  # fmt: skip
                )
    write_bytes(folder / "samples.jsonl", b"".join(row.to_line() for row in rows))
    save_json(folder / "run.json", _run(plan))
    sets = {
        method: {"fid": {"value": 20 + 5 * i, "status": "ok", "reason": ""}}
        for i, method in enumerate(plan.methods)
    }
    save_json(folder / "sets.json", {"methods": sets})
    return folder


def _run(plan: Plan) -> dict[str, Any]:
    missing = metric("dino", "DINO", "higher", (-1, 1), model="dinov2_vitb14")
    return {
        "schema": 1,
        "suite": {"name": plan.suite, "version": "1", "description": "People x prompts, with and without."},
        "backbone": {"name": "pocket", "family": "pocket", "fingerprint": "5f2d" * 16},
        "methods": [{"name": name, "config": {"gain": 1.0}, "weights": None} for name in plan.methods],
        "metrics": [
            *CARDS,
            {**missing, "available": False, "reason": "no weights of dinov2_vitb14 on this machine"},
        ],
        "settings": {"steps": 25, "guidance": 4.0, "width": 128, "height": 128, "scheduler": "ddim"},
        "environment": {"python": "3.12", "torch": "2.13", "device": "cpu"},
    }  # fmt: skip


def _sample(
    plan: Plan, rng: np.random.Generator, folder: Path, *, key: str, method: str, identity: str | None,
    prompt_id: str, text: str, category: str, truth: dict[str, str], easy: float, hard: float, person: int,
    reference: str | None,
) -> Row:  # fmt: skip
    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    level = _LEVEL.get(method, _LEVEL["uniform"])
    chance = rng.random() if plan.failures and identity is not None else 1.0
    status, detail = "ok", ""
    if chance < 0.05:
        status, detail = "no_face_gen", "no face on any rung of the ladder (640, padded, 320)"
    elif chance < 0.06:
        status, detail = "degenerate", "the picture is constant"
    elif chance < 0.07:
        status, detail = "error", "RuntimeError: the sampler stopped at step 12"
    made = status in ("ok", "no_face_gen")
    seen = status == "ok"
    similarity = float(np.clip(level[0] + plan.shift + easy + rng.normal(0, 0.04), -1, 1))
    identified = seen and identity is not None
    metrics = {
        "id_sim": similarity if identified else None,
        "id_sim_zero": (similarity if seen else 0.0) if made and identity is not None else None,
        "clip_t": level[1] + hard + rng.normal(0, 0.008) if made else None,
        "clip_i_scene": min(level[2] + rng.normal(0, 0.03), 1.0) if made and identity else None,
        "iq": level[3] + rng.normal(0, 0.02) if made else None,
        "leakage": abs(level[4] + rng.normal(0, 0.02)) if made and identity else None,
        "no_face": float(not seen) if made else None,
        "pose_div": abs(rng.normal(8, 4)) if identified else None,
        "iq_ibench": level[3] - 0.2 + rng.normal(0, 0.02) if made else None,
    }
    picture = f"pictures/{fingerprint[:2]}/{fingerprint}.png" if status != "error" else None
    if picture and plan.pictures:
        save_png(folder / picture, _picture(person, method, truth, status))
    baseline = hashlib.sha256(f"none None {prompt_id}".encode()).hexdigest()
    return Row(
        id=fingerprint, method=method, identity=identity, prompt_id=prompt_id, prompt=text.format("person"),
        category=category, set="pocket_short", seed=0, status=status, detail=detail, picture=picture,
        reference=reference, baseline=None if identity is None else baseline,
        metrics={name: None if value is None else float(value) for name, value in metrics.items()},
        notes={name: detail or "needs an identity" for name, value in metrics.items() if value is None},
        truth=truth,
    )  # fmt: skip


def _reference(folder: Path, person: int, plan: Plan) -> str:
    path = f"references/{hashlib.sha256(str(person).encode()).hexdigest()}.png"
    if plan.pictures:
        save_png(folder / path, _portrait(person, {"scene": "studio"}, nuisance=0))
    return path


def _picture(person: int, method: str, truth: dict[str, str], status: str) -> Image.Image:
    """Somebody else for the plain backbone, a leaked studio for uniform injection, else what was asked."""
    if status == "degenerate":
        return Image.new("RGB", (128, 128), (32, 32, 32))
    wanted = dict(truth)
    if method == "uniform" and person % 2:
        wanted["scene"] = "studio"
    return _portrait(900 if method == "none" else person, wanted, nuisance=len(method))


def _portrait(person: int, factors: dict[str, str], nuisance: int) -> Image.Image:
    plain = {name: values[0] for name, values in FACTORS.items()} | {"framing": "portrait"}
    context = Context.from_dict({**plain, **factors, "nuisance": nuisance})
    return Image.fromarray(render(sample_person(person), context).pixels)


def relined(rows: Iterable[dict[str, Any]]) -> bytes:
    """samples.jsonl of rows that a test changed, with checks that hold."""
    return b"".join(Row(**{k: v for k, v in row.items() if k != "check"}).to_line() for row in rows)
