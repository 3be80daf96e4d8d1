"""Writes a small folder in the shape of the public IBench repository, with everything that is odd in it."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

from PIL import Image

from methods.pocket.references import PLAIN
from methods.pocket.world import Context, render, sample_person

HOME = "/somebody/elsewhere/IBench"
UNICODE = "多重曝光，人像（极简）é.png"


def face(person: int) -> bytes:
    """PNG of a rendered person."""
    portrait = render(sample_person(person), Context.from_dict({**PLAIN, "nuisance": 0}), 128)
    buffer = io.BytesIO()
    Image.fromarray(portrait.pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_checkout(root: Path) -> Path:
    """Two identity lists and two prompt lists; some pictures are missing, damaged or stored elsewhere."""
    images, prompts = root / "data" / "images", root / "data" / "prompts"
    (images / "chineseid").mkdir(parents=True)
    (images / "unsplash50").mkdir()
    prompts.mkdir()
    (images / "chineseid" / "R (9).jpg").write_bytes(face(10_000_401))
    (images / "chineseid" / unicodedata.normalize("NFD", UNICODE)).write_bytes(face(10_000_402))
    (images / "chineseid" / "broken.png").write_bytes(face(10_000_403)[:300])
    (images / "unsplash50" / "anna.png").write_bytes(face(10_000_404))
    (root.parent / "outside.png").write_bytes(face(10_000_405))
    write_list(
        images / "chineseid_images.json",
        [
            {"num": 0, "id": f"{HOME}/data/images/chineseid/R (9).jpg", "gender": "male"},
            {"num": 1, "id": f"{HOME}/data/images/chineseid/{unicodedata.normalize('NFC', UNICODE)}",
             "gender": "female"},
            {"num": 2, "id": f"{HOME}/data/images/chineseid/gone.jpg", "gender": "female"},
            {"num": 3, "id": f"{HOME}/data/images/chineseid/broken.png", "gender": "unknown"},
            {"num": 4, "id": f"{HOME}/../outside.png", "gender": "female"},
        ],
    )  # fmt: skip
    # listed in a folder that has another name in the repository
    write_list(
        images / "unsplash50_images.json",
        [{"num": 0, "id": f"{HOME}/data/images/unsplash_50/anna.png", "gender": "female"}],
    )
    write_list(
        prompts / "unsplash50_template.json",
        [
            {"num": 0, "prompt": "[portrait,] a {person} wearing a hat", "prompt_attr": ["short"],
             "prompt_style": ["Accessory"]},
            {"num": 1, "prompt": "[portrait,]with a {sunset}  behind", "prompt_attr": ["short"],
             "prompt_style": ["background"]},
        ],
    )  # fmt: skip
    write_list(
        prompts / "human_longer_template.json",
        [
            {
                "num": 0,
                "prompt": "A person on a beach.",
                "prompt_attr": ["long"],
                "prompt_style": ["human_longer"],
            }
        ],
    )
    return root


def write_list(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps({"datas": records, "tags": {"category": "imageid"}}), encoding="utf-8")
