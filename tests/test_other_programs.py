"""Pictures of A1111 and ComfyUI: what they say of their making, wherever it stands in the file."""

from __future__ import annotations

import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from command import Spid
from PIL import Image, PngImagePlugin

from methods.images import read_metadata
from methods.other_programs import comment, read_other

A1111 = (
    "a photo of a woman, <lora:film:0.8>\nin the rain\nNegative prompt: blurry, text\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 12345678901, Size: 512x768, "
    'Model hash: 6ce0161689, Model: "v1-5, pruned", Lora hashes: "film: aa, b: cc", Version: v1.10.1'
)
GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": ["11", 0], "steps": 25, "cfg": 7.0, "sampler_name": "dpmpp_2m", "scheduler": "karras",
        "denoise": 1.0, "model": ["10", 0], "positive": ["6", 0], "negative": ["7", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a castle, NaN", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"},
          "is_changed": ["NAN"]},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "film.safetensors", "strength_model": 0.7,
                                                  "model": ["4", 0]}},
    "11": {"class_type": "PrimitiveInt", "inputs": {"value": 42}},
}  # fmt: skip
COMFY = {
    "program": "ComfyUI", "prompt": "a castle, NaN", "negative_prompt": "blurry", "seed": 42, "steps": 25,
    "sampler": "dpmpp_2m", "schedule": "karras", "guidance": 7.0, "denoise": 1.0, "model": "sd15.safetensors",
    "loras": "film.safetensors:0.7",
}  # fmt: skip
FLUX: dict[str, Any] = {
    "1": {"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["2", 0], "guider": ["3", 0], "sampler": ["4", 0], "sigmas": ["5", 0]}},
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}},
    "3": {"class_type": "BasicGuider", "inputs": {"model": ["6", 0], "conditioning": ["7", 0]}},
    "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 20, "model": ["6", 0]}},
    "6": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
    "7": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["8", 0]}},
    "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}  # fmt: skip
WORKFLOW: dict[str, Any] = {
    "nodes": [
        {"id": 3, "type": "KSampler", "widgets_values": [9, "randomize", 30, 5, "euler", "normal", 1],
         "inputs": [{"name": "model", "link": 1}, {"name": "positive", "link": 2},
                    {"name": "negative", "link": 3}]},
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["xl.safetensors"]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a boat"]},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["fog"]},
        {"id": 8, "type": "Note", "widgets_values": {"text": "odd"}},
    ],
    "links": [[1, 4, 0, 3, 0, "MODEL"], [2, 6, 0, 3, 1, "CONDITIONING"],
              [3, 7, 0, 3, 2, "CONDITIONING"], None],
}  # fmt: skip


def png(path: Path, **texts: str) -> Path:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text) if not text.isascii() else info.add_text(name, text)
    Image.new("RGB", (16, 16)).save(path, pnginfo=info)
    return path


def behind_the_pixels(path: Path, name: str, text: str) -> Path:
    """As ImageMagick writes: a zTXt chunk between the pixels and the end."""
    Image.new("RGB", (16, 16)).save(path)
    data = path.read_bytes()
    body = name.encode() + b"\0\0" + zlib.compress(text.encode("latin-1"))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    path.write_bytes(data[:-12] + chunk + data[-12:])
    return path


def with_comment(path: Path, stored: bytes, tag: int = 0x9286) -> Path:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[tag] = stored
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    return path


def test_a1111(tmp_path: Path, spid: Spid) -> None:
    wanted = {
        "program": "A1111", "prompt": "a photo of a woman, <lora:film:0.8>\nin the rain",
        "negative_prompt": "blurry, text", "steps": 20, "sampler": "DPM++ 2M", "schedule": "Karras",
        "guidance": 6.5, "seed": 12345678901, "size": "512x768", "model_hash": "6ce0161689",
        "model": "v1-5, pruned", "loras": "film: aa, b: cc", "version": "v1.10.1",
    }  # fmt: skip
    files = [
        png(tmp_path / "a.png", parameters=A1111),
        behind_the_pixels(tmp_path / "b.png", "parameters", A1111),
        with_comment(tmp_path / "c.jpg", b"UNICODE\0" + A1111.encode("utf-16-be")),
        with_comment(tmp_path / "d.webp", b"UNICODE\0" + A1111.encode("utf-16-le")),
        with_comment(tmp_path / "e.jpg", b"ASCII\0\0\0" + A1111.encode()),
    ]
    for file in files:
        found = read_metadata(file)
        assert found["other"] == wanted and found["parameters"] == A1111 and found["spid"] is None, file
    shown = spid("show", files[2])
    assert shown.code == 0, shown.err
    for words in ("a photo of a woman", "blurry, text", "12345678901", "DPM++ 2M", "6.5", "v1-5, pruned"):
        assert words in shown.out
    assert spid("show", files[3], "--json").json["other"] == wanted
    accented = A1111.replace("woman", "w\u00f6man \u65e5")
    assert comment(b"UNICODE\0" + accented.encode("utf-16-be")) == accented
    assert read_metadata(png(tmp_path / "f.png", parameters=accented))["other"]["prompt"].startswith(
        "a photo of a w\u00f6"
    )


def test_comfyui(tmp_path: Path, spid: Spid) -> None:
    text = json.dumps(GRAPH).replace('["NAN"]', "[NaN]")  # as ComfyUI writes what changes at every run
    file = png(tmp_path / "a.png", prompt=text, workflow=json.dumps(WORKFLOW))
    assert read_metadata(file)["other"] == COMFY
    shown = spid("show", file)
    assert shown.code == 0 and "negative prompt" in shown.out and "film.safetensors:0.7" in shown.out
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(FLUX)}"
    Image.new("RGB", (16, 16)).save(tmp_path / "b.webp", exif=exif)
    assert read_metadata(tmp_path / "b.webp")["other"] == {
        "program": "ComfyUI", "prompt": "a fox", "seed": 7, "steps": 20, "sampler": "euler",
        "schedule": "simple", "model": "flux1-dev.safetensors",
    }  # fmt: skip
    drawn = read_metadata(png(tmp_path / "c.png", workflow=json.dumps(WORKFLOW)))["other"]
    assert drawn == {
        "program": "ComfyUI", "prompt": "a boat", "negative_prompt": "fog", "seed": 9, "steps": 30,
        "sampler": "euler", "schedule": "normal", "guidance": 5, "denoise": 1, "model": "xl.safetensors",
    }  # fmt: skip


def test_graphs_that_lead_nowhere_or_in_circles_end() -> None:
    loop = {}
    for n in range(90):
        other = [str((n + 1) % 90), 0]
        inputs = {"positive": other, "conditioning_1": other, "model": [str(n), 0], "seed": [str(n), 0]}
        loop[str(n)] = {"class_type": "KSampler", "inputs": inputs}
    assert read_other({"prompt": json.dumps(loop)}, {}) == {"program": "ComfyUI"}
    for text in ("{}", "[]", "{", '{"1": 2}', '{"nodes": 3}', "null", '{"nodes": [1, {"type": "KSampler"}]}'):
        assert read_other({"prompt": text}, {}) in (None, {"program": "ComfyUI"})
    assert read_other({"parameters": "a dog"}, {}) is None
    assert read_other({"parameters": "a\nSteps: " + "x" * 10**6}, {}) is None
    rng = random.Random(3)
    whole = json.dumps(GRAPH)
    for _ in range(300):
        cut = rng.randrange(len(whole))
        hurt = whole[:cut] + rng.choice(['"', "{", "[", "null", "-1", "]"]) + whole[cut + rng.randrange(9) :]
        read_other({"prompt": hurt}, {})
        read_other({"parameters": A1111[: rng.randrange(len(A1111))] + hurt[:40]}, {})


@pytest.mark.parametrize("stored", [b"", b"UNICODE", b"JIS\0\0\0\0\0abc", 7, b"UNICODE\0\xff"])
def test_comments_that_are_none(stored: Any) -> None:
    assert not (comment(stored) or "").strip("\ufffd")
