"""Malformed inputs of every kind, drawn from a seed, and the readers that take them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from people import portrait
from PIL import Image
from safetensors.torch import save
from tiny import tiny_backbone

from benchmarks.claims.read import read_claims
from benchmarks.request import Request, parse_method
from benchmarks.run_file import read_sets
from benchmarks.samples import read_samples
from benchmarks.store import RunFolder
from benchmarks.suites.ibench import read_checkout
from benchmarks.suites.read import read_suite
from methods.adapters import check_adapter_config
from methods.config import build, load_yaml, read_setting
from methods.faces.packs import find_pack
from methods.fitting.celebrities import celebrity_names
from methods.images import load_picture, read_metadata
from methods.paths import configs_dir
from methods.prompts import expand
from methods.registry import method_config, method_names
from methods.request import request_of
from methods.textfile import read_json
from methods.training.config import read_config
from methods.training.log import TrainingLog
from methods.training.sources import _read_metadata
from methods.weights import load_weights
from methods.weights import read_metadata as weights_metadata
from spatialid_cli.prompt_file import read_prompt_file
from spatialid_cli.reproduce import read_job
from spatialid_cli.request import BackboneFile

RESULTS = Path(__file__).resolve().parents[2] / "results" / "smoke"

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    7,
    10**30,
    -(10**400),
    0.5,
    float("nan"),
    float("inf"),
    -1e308,
    1e400,
    "",
    " ",
    "x",
    "-5",
    "nan",
    "1e999",
    "\0",
    "a\nb",
    "\x1b[31m",
    "\u2028",
    "\u202e",
    "\udcff",
    "{person",
    "{person:9}",
    "~nosuchuser/x",
    "../../etc/passwd",
    "https://example.org/x",
    "/dev/zero",
    "a" * 5000,
    [],
    [[]],
    {},
    {"a": 1},
    [1, "x", None],
    {"": []},
    ["x"] * 50,
    "2020-99-99",
    "&a",
    "*a",
    "!!int x",
    "C:\\x\\y.png",
)
TOKENS = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"[" * 3000,
    b"{" * 3000,
    b"]",
    b"}",
    b"!!python/object:x ",
    b"&a *a",
    b"1" * 5000,
    b": : :",
    b"- - - ",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"\r",
    b"\n\n",
    b"'",
    b'"',
    b"%YAML 9",
    b"\x1b[2J",
    b"\xf0\x9f",
    b"--s 1000000000",
    b"--w nan",
    b"--x",
    b"?",
    b"<<: ",
    b"!!set {",
    b"!!binary x",
)


class Reader(NamedTuple):
    """A file that is good, and what reads it."""

    name: str
    good: bytes
    read: Callable[[Path], object]


def mangled(rng: random.Random, good: bytes, name: str) -> bytes:
    """A good file with a few things wrong; JSON and YAML also with values of other kinds."""
    if name.endswith((".json", ".jsonl", ".yaml")) and rng.random() < 0.5:
        value = json.loads(good) if name.endswith(".json") else None
        if value is not None:
            return json.dumps(_other(rng, value), ensure_ascii=rng.random() < 0.5).encode(errors="replace")
        lines = good.split(b"\n")
        at = rng.randrange(len(lines))
        key, colon, _ = lines[at].partition(b":")
        if colon:
            value = json.dumps(rng.choice(VALUES)).encode(errors="replace")
            lines[at] = key + b": " + value
        rng.random() < 0.3 and lines.insert(at, lines[at])
        return b"\n".join(lines)
    content = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(5):
            case 0:
                del content[at:]
            case 1:
                content[at:at] = rng.choice(TOKENS)
            case 2:
                content[at : at + rng.randint(1, 30)] = rng.choice(TOKENS)
            case 3 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case _:
                content[at:at] = content[max(0, at - 40) : at]
    return bytes(content)


def _other(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        changed = {**value, key: _other(rng, value[key])}
        if rng.random() < 0.2:
            changed.pop(key)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        return [*value[:at], _other(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)


def readers(folder: Path) -> list[Reader]:
    """Every reader of files, with the path at which it looks for them below `folder`."""
    backbone = tiny_backbone("sd1")
    picture = folder / "good.png"
    Image.fromarray(portrait(3, 64).pixels).save(picture)
    job = {
        "method": "none",
        "method_options": {},
        "prompt": "a dog",
        "negative_prompt": "",
        "seed": 3,
        "width": 64,
        "height": 64,
        "steps": 2,
        "guidance": 4.0,
        "scheduler": "ddim",
        "id_weight": 1.0,
        "id_start": 0.0,
        "id_end": 1.0,
        "backbone": "pocket",
        "backbone_options": {},
        "dtype": "float32",
        "device": "cpu",
        "face_select": "largest",
        "batch_size": 1,
    }
    line = json.dumps({"file_name": "a.png", "identity": "a", "prompt": "a person"})
    pack = {"name": "p", "licence": "l", "det_size": 640, "threshold": 0.5}
    suite = (configs_dir() / "suites" / "smoke.yaml").read_bytes()
    training = (configs_dir() / "train" / "uniform.yaml").read_bytes()
    claims = next(iter(sorted((configs_dir() / "claims").glob("*.yaml")))).read_bytes()
    options = (configs_dir() / "methods" / "spatialid.yaml").read_bytes()
    rows = b"".join((RESULTS / "samples.jsonl").read_bytes().splitlines(keepends=True)[:3])
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "samples" / "run.json").write_bytes((RESULTS / "run.json").read_bytes())
    tensors = save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, {"spid": "{}"})
    return [
        Reader("prompts.txt", b"a {person} --n x --w 64 --d 7\n# no\na dog\n", read_prompt_file),
        Reader(
            "names.txt", b"Ada Lovelace\nEmmy Noether\n", lambda path: celebrity_names(str(path), backbone)
        ),
        Reader("suite.yaml", suite, read_suite),
        Reader("train.yaml", training, read_config),
        Reader("claims/x.yaml", claims, lambda path: read_claims(path.parent)),
        Reader(
            "method.yaml",
            options,
            lambda path: build(method_config("spatialid"), load_yaml(path), where=str(path)),
        ),
        Reader(
            "backbone.yaml",
            b"name_or_path: pocket\ndtype: float32\nvae_slicing: true\n",
            lambda path: build(BackboneFile, load_yaml(path), where=str(path)),
        ),
        Reader("data/metadata.jsonl", f"{line}\n{line}\n".encode(), lambda path: _read_metadata(path.parent)),
        Reader(
            "adapter/config.json",
            b'{"method": "uniform", "backbone": "sd1", "version": 1}',
            lambda path: check_adapter_config(path, method="uniform", backbone=backbone),
        ),
        Reader(
            "run/run.json",
            (RESULTS / "run.json").read_bytes(),
            lambda path: RunFolder(path.parent).read_description(),
        ),
        Reader("samples/samples.jsonl", rows, lambda path: read_samples(path.parent)),
        Reader("sets/sets.json", (RESULTS / "sets.json").read_bytes(), lambda path: read_sets(path.parent)),
        Reader(
            "request.json",
            json.dumps(Request("smoke", ("none",), seeds=(1, 2), size=(64, 64), steps=3).as_dict()).encode(),
            lambda path: Request.from_dict(read_json(path), where=str(path)),
        ),
        Reader("pack/pack.json", json.dumps(pack).encode(), lambda path: find_pack(_with_onnx(path.parent))),
        Reader(
            "IBench/data/prompts/x_template.json",
            b'{"datas": [{"num": 0, "prompt": "a {person}", "prompt_attr": ["x"], "prompt_style": []}]}',
            _checkout,
        ),
        Reader("training/log.jsonl", b'{"step": 1, "loss": 0.5}\n{"step": 2}\n', _log),
        Reader("weights.safetensors", tensors, lambda path: (load_weights(path), weights_metadata(path))),
        Reader("weights.bin", tensors, load_weights),
        Reader("picture.png", picture.read_bytes(), lambda path: (load_picture(path), read_metadata(path))),
        Reader("job.json", json.dumps(job).encode(), _job),
    ]


def texts(rng: random.Random) -> tuple[str, Callable[[], object]]:
    """A malformed text of a flag, and what takes it."""
    value = rng.choice(VALUES)
    text = value if isinstance(value, str) else json.dumps(value)
    word = "".join(rng.choice("{}[]():=,.!&*a1 \0\n\x1b\u2028'\"-~") for _ in range(rng.randint(0, 12)))
    given = rng.choice((text, word, f"{word}={text}", f"{text}{word}"))
    method = rng.choice(method_names())
    fields = list(method_config(method).__dataclass_fields__) or ["x"]
    field = rng.choice([*fields, "x"])
    return rng.choice(
        [
            (f"prompt {given!r}", lambda: expand(given)),
            (f"setting {given!r}", lambda: read_setting(given, where="--set", example="a=1")),
            (f"column {given!r}", lambda: parse_method(f"{method}[{field}={given}]")),
            (
                f"{method}.{field}={value!r}",
                lambda: build(method_config(method), {field: value}, where="--set"),
            ),
            (
                f"request {field} {value!r}",
                lambda: request_of({"prompts": given, rng.choice(REQUEST): value}),
            ),
        ]
    )


REQUEST = (
    "methods",
    "references",
    "seed",
    "num_images",
    "steps",
    "guidance",
    "width",
    "id_weight",
    "id_start",
    "scheduler",
    "face_select",
    "method_options",
    "adapter",
    "batch_size",
    "backbone",
    "backbone_options",
    "nonesuch",
)


def _with_onnx(folder: Path) -> Path:
    (folder / "det.onnx").touch()
    return folder


def _checkout(path: Path) -> object:
    from benchmarks.suites import load_suite

    root = path.parents[2]
    (root / "data" / "images").mkdir(exist_ok=True)
    people = [{"num": 0, "path": "a.png"}]
    (root / "data" / "images" / "x_images.json").write_text(json.dumps({"datas": people}))
    return read_checkout(root, load_suite("ibench"))


def _log(path: Path) -> None:
    with TrainingLog(path.parent, after=1):
        pass


def _job(path: Path) -> object:
    """The job in a picture: put in as it is, whatever it is."""
    data = path.with_name("good.png").read_bytes()
    body = b"tEXtspid\0" + path.read_bytes()
    import zlib

    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    made = path.with_name("job.png")
    made.write_bytes(data[:33] + chunk + data[33:])
    return read_job(made)
