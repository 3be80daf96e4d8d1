"""Modules that are loaded when they are first used."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from methods.later import packages_distributions

CODE = """
import inspect, sys
from methods.later import load_later
load_later("heavy", "nonesuch_module", "json")
import heavy
import heavy as short
assert inspect.getmodule(inspect) is inspect  # looks at every module
assert not hasattr(heavy, "__wrapped__")
assert "loaded" not in sys.argv, "loaded too early"
assert {use} == 3 and "loaded" in sys.argv
import heavy.part
assert short is heavy is sys.modules["heavy"] and heavy.part.SIX == 6 and heavy.__path__
assert sys.argv.count("loaded") == 1 and "nonesuch_module" not in sys.modules
"""


def test_a_module_is_executed_once_when_it_is_used(tmp_path: Path) -> None:
    package = tmp_path / "heavy"
    package.mkdir()
    package.joinpath("__init__.py").write_text("import sys\nsys.argv.append('loaded')\nTHREE = 3\n")
    package.joinpath("part.py").write_text("from heavy import THREE\nSIX = 2 * THREE\n")
    for use in ("heavy.THREE", "__import__('heavy.part').THREE", "getattr(heavy, 'THREE')"):
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}){CODE.format(use=use)}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


STANDING = """
import importlib, sys
from methods.later import Name, stand_ins, when_loaded
seen = []
when_loaded("heavy", lambda module: seen.append(module.THREE))
names = {"heavy": ("Kind", "TABLE"), "heavy.bare": {"made": max}, "nonesuch_module": ("x",)}
with stand_ins(names, ["heavy.bare"]):
    from heavy import TABLE, Kind
    from heavy.bare import made
    from heavy.bare import leaf
    assert "nonesuch_module" not in sys.modules and made is max
assert "loaded" not in sys.argv and not isinstance(3, Kind) and "heavy" not in sys.modules
assert leaf.SEVEN == 7 and "bare loaded" not in sys.argv
assert TABLE["a"] == 1 and "a" in TABLE and list(TABLE) == ["a"]
import heavy
assert seen == [3] and sys.argv.count("loaded") == 1 and isinstance(heavy.Kind(), Kind) and Kind() is not None
import heavy.bare
assert "bare loaded" in sys.argv and heavy.bare.leaf is leaf is sys.modules["heavy.bare.leaf"]
assert sys.argv.count("leaf loaded") == 1

with stand_ins({"other": ("unasked",)}):
    import other.part  # a part executes its package, once
    assert sys.argv.count("other loaded") == 1 and sys.argv.count("part loaded") == 1
    assert other.part.__spec__.name == "other.part" and sys.modules["other"].part is other.part
"""


def test_names_stand_in_until_they_are_used(tmp_path: Path) -> None:
    for name, text in {
        "heavy/__init__.py": "import sys\nsys.argv.append('loaded')\nTHREE = 3\nTABLE = {'a': 1}\n"
        "class Kind: pass\n",
        "heavy/bare/__init__.py": "import sys\nsys.argv.append('bare loaded')\nfrom . import leaf\n",
        "heavy/bare/leaf.py": "import sys\nsys.argv.append('leaf loaded')\nSEVEN = 7\n",
        "other/__init__.py": "import sys\nsys.argv.append('other loaded')\nfrom . import part\n",
        "other/part.py": "import sys\nsys.argv.append('part loaded')\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{STANDING}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_distributions_are_those_of_the_standard_library() -> None:
    found, standard = packages_distributions(), importlib.metadata.packages_distributions()
    assert {name: sorted(ones) for name, ones in found.items()} == {
        name: sorted(ones) for name, ones in standard.items()
    }


LIBRARIES = """
import sys
from methods.backbone.families.imports import prepare_imports
prepare_imports()
heavy = (
    "torch._dynamo", "sympy", "peft", "scipy.optimize", "torch.distributed.tensor", "torchvision.models",
)
assert not [name for name in heavy if name in sys.modules], "imported for nothing"

from methods.backbone.load import load_backbone
[encoder] = load_backbone("pocket").text.models
[positions] = [tensor for name, tensor in encoder.named_buffers() if name.endswith("position_ids")]
assert positions.tolist() == [list(range(64))]
assert not [name for name in heavy if name in sys.modules], "imported to load tensors"

import transformers.models.clip
from transformers.utils import import_utils
found, _, misses, _ = import_utils.create_import_structure_from_path.cache_info()
assert found > 300, (found, misses)
structure = import_utils.create_import_structure_from_path
folder = transformers.models.clip.__path__[0]
assert "CLIPTextModel" in str(structure(folder)) and structure(folder) == structure.__wrapped__(folder)
assert transformers.CLIPTextModel is transformers.models.CLIPTextModel

import torch
import torch.distributed.tensor as tensors
import torch.distributed.tensor.placement_types as placements
from torch.distributed.fsdp import fully_shard
assert tensors.placement_types is placements and placements.Replicate is tensors.Replicate

assert torch.compile(lambda x: x.sin() + 1, backend="eager")(torch.zeros(2)).tolist() == [1, 1]
from diffusers.models.attention_processor import Attention
assert id(Attention) in torch._dynamo.trace_rules._allowed_callable_ids, "its decorator was lost"

import torchvision.transforms.v2
import transformers.image_processing_utils
boxes = torch.tensor([[0, 0, 1, 1.0]])
assert torchvision.models.resnet18 and torchvision.ops.nms(boxes, torch.ones(1), 0.5).tolist() == [0]
assert transformers.image_processing_utils.tvF.resize is torchvision.transforms.v2.functional.resize

import diffusers.models.transformers as all_of_them
from diffusers import FluxTransformer2DModel
assert all_of_them.transformer_2d.Transformer2DModel is all_of_them.Transformer2DModel

import peft
from diffusers.hooks import layerwise_casting
one = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), peft.LoraConfig(target_modules=["0"]))
assert sum(isinstance(part, layerwise_casting.BaseTunerLayer) for part in one.modules()) == 1

from transformers.loss import loss_for_object_detection
assert loss_for_object_detection.linear_sum_assignment([[1, 0], [0, 1]])[0].tolist() == [0, 1]
"""


def test_libraries_import_what_is_used_and_all_of_it_when_it_is() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


UNTRIED = """
import sys
from methods.backbone.families import imports
imports._TRIED["torch"] = "1.0"
imports.prepare_imports()
assert "peft" in sys.modules and "torch._dynamo" in sys.modules
from methods.later import _StandIn
assert not [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]
"""


def test_other_releases_are_imported_as_they_are() -> None:
    done = subprocess.run([sys.executable, "-c", UNTRIED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
