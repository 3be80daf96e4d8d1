"""torchvision's compatibility: the operators against known answers, the libraries that need them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from methods.compat import nms

PREAMBLE = "from methods.compat import ensure_torchvision as e; state = e(); assert e() == state; "


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_importing_the_module_imports_neither_torch_nor_torchvision():
    code = "import sys, methods.compat; print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_state_is_named_and_torchvision_is_not_imported_by_asking():
    assert run("import sys; print(state, 'torchvision' in sys.modules)") in (
        "native False",
        "declared False",
        "absent False",
    )


EVERYTHING = """
import json, torch, torchvision
from torchvision.ops import nms, batched_nms, roi_align
b = torch.tensor([[0., 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
s = torch.tensor([.5, .9, .8])
found = {"operators": [nms(b, s, 0.5).tolist(), batched_nms(b, s, torch.tensor([0, 1, 0]), 0.5).tolist(),
         list(roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0., 0, 4, 4]])], 2).shape)]}
def attempt(name, code):
    try:
        exec(code, {})
        found[name] = "imported"
    except BaseException as error:
        found[name] = repr(error)
attempt("diffusion", "import open_clip, timm; from transformers import CLIPImageProcessor; "
        "from diffusers import StableDiffusionPipeline; CLIPImageProcessor()")
attempt("pyiqa", "import pyiqa")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    """What one fresh process finds, for these imports take seconds."""
    return json.loads(run(EVERYTHING).splitlines()[-1])


def test_everything_that_needs_torchvision_imports(everything: dict[str, Any]) -> None:
    assert everything["diffusion"] == "imported"


@pytest.mark.skipif(importlib.util.find_spec("pyiqa") is None, reason="the extra 'iqa' is not installed")
def test_pyiqa_imports(everything: dict[str, Any]) -> None:
    assert everything["pyiqa"] == "imported"


def test_a_failed_import_can_be_repaired_afterwards():
    code = (
        "try:\n    import torchvision\nexcept RuntimeError:\n    pass\n"
        "from methods.compat import ensure_torchvision\n"
        "ensure_torchvision()\nimport torchvision.ops\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_torchvision_reaches_nms_and_keeps_its_fallbacks(everything: dict[str, Any]) -> None:
    assert everything["operators"] == [[1, 2], [1, 2, 0], [1, 1, 2, 2]]


def greedy(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    """The definition, one pair at a time."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            a, b = boxes[i], boxes[j]
            w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
            if w * h / union > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_nms_is_the_greedy_definition(threshold: float):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 1 + torch.rand(60, 2, generator=generator) * 15], dim=1)
    scores = torch.rand(60, generator=generator)
    assert nms(boxes, scores, threshold).tolist() == greedy(boxes.tolist(), scores.tolist(), threshold)


def test_nms_of_nothing_and_of_empty_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).dtype == torch.int64
    assert nms(torch.zeros(2, 4), torch.tensor([1.0, 2.0]), 0.5).tolist() == [1, 0]
