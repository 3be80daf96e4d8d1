"""What pictures of AUTOMATIC1111 (and its relatives) and of ComfyUI say of how they were made.

    A1111    the text `parameters` of a PNG, or UserComment in the EXIF of JPEG and WebP
    ComfyUI  the graph as JSON: `prompt` (as it ran) and `workflow` (as it was drawn), texts of a PNG; in WebP
             EXIF's Model and Make begin with these words

A graph has no place for "the prompt": it is read back from the sampler whose picture was saved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from methods.errors import PictureError, SpidError
from methods.textfile import parse_json

Graph = dict[str, dict[str, Any]]
"""Node -> `class_type` and `inputs`; an input is a value or [node, output]."""

USER_COMMENT, MODEL, MAKE = 0x9286, 0x0110, 0x010F
"""EXIF tags; the first belongs to the Exif directory."""

_SETTING = re.compile(r'\s*(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_NAMES = {
    "Steps": "steps", "Sampler": "sampler", "Schedule type": "schedule", "CFG scale": "guidance",
    "Seed": "seed", "Size": "size", "Model": "model", "Model hash": "model_hash", "VAE": "vae",
    "Clip skip": "clip_skip",
    "Denoising strength": "denoise", "Distilled CFG Scale": "distilled_guidance", "Lora hashes": "loras",
    "Version": "version",
}  # fmt: skip
_LINKS = (
    "positive",
    "conditioning",
    "conditioning_1",
    "conditioning_2",
    "conditioning_to",
    "conditioning_from",
)
_HELD = ("value", "seed", "int", "float", "string")
_TEXTS = ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "string", "value")
_WIDGETS = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "SaveImage": ("filename_prefix",),
}
"""What the values in a drawn node mean, by their places; '' for those that say nothing here."""
_LONGEST = 20_000
"""Letters of a line of settings."""
_FAR = 64
"""Nodes that are asked on the way from a sampler to what it reads."""


def read_other(texts: Mapping[str, str], exif: Mapping[int, Any]) -> dict[str, Any] | None:
    """Program, prompt and settings of a picture that another program made; None for one that says nothing.

    texts: of a PNG, by keyword; exif: values by tag, those of the Exif directory included
    """
    parameters = texts.get("parameters") or comment(exif.get(USER_COMMENT))
    last = (parameters or "").strip().rpartition("\n")[2]
    if parameters and "Steps:" in last and len(last) <= _LONGEST and _SETTING.match(last):
        return read_parameters(parameters)
    for name, tag in (("prompt", MODEL), ("workflow", MAKE)):
        stored = exif.get(tag)
        word = f"{name}:"
        given = texts.get(name)
        if given is None and isinstance(stored, str) and stored.startswith(word):
            given = stored.removeprefix(word)
        if given and (graph := _graph(given, name)):
            return read_graph(graph)
    return None


def comment(stored: Any) -> str | None:
    """A UserComment as text: UTF-16 of either order, ASCII, or UTF-8 without the eight letters before it."""
    if isinstance(stored, str):
        return stored
    if not isinstance(stored, bytes) or len(stored) < 8:
        return None
    head, body = stored[:8], stored[8:]
    if head == b"UNICODE\0":
        big = body.decode("utf-16-be", "replace")
        little = body.decode("utf-16-le", "replace")
        # the wrong order makes ideographs of Latin letters
        return max((big, little), key=lambda text: sum(one.isascii() for one in text)).lstrip("\ufeff")
    if head in (b"ASCII\0\0\0", b"\0" * 8):
        return body.decode("utf-8", "replace").rstrip("\0")
    return None


def read_parameters(text: str) -> dict[str, Any]:
    """A1111's text: the prompt, `Negative prompt:` and what follows, a last line of settings."""
    *words, last = text.strip().splitlines()
    joined = "\n".join(words)
    prompt, _, negative = joined.partition("Negative prompt:")
    found: dict[str, Any] = {"program": "A1111", "prompt": prompt.strip()}
    if negative.strip():
        found["negative_prompt"] = negative.strip()
    for name, value in _SETTING.findall(last):
        value = value.strip()
        if value.startswith('"'):
            value = _unquoted(value)
        found[_NAMES.get(name.strip(), name.strip())] = _number(value)
    return found


def read_graph(graph: Graph) -> dict[str, Any]:
    """The prompt and settings of the sampler that the saved picture comes from."""
    found: dict[str, Any] = {"program": "ComfyUI"}
    sampler = _sampler(graph)
    if sampler is None:
        return found
    inputs = _inputs(graph, sampler)
    guider = _follow(graph, inputs.get("guider"))
    guided = {**inputs, **(_inputs(graph, guider) if guider is not None else {})}
    for name, link in (("prompt", guided.get("positive", guided.get("conditioning"))),
                       ("negative_prompt", guided.get("negative"))):  # fmt: skip
        if said := list(dict.fromkeys(_texts(graph, link, set()))):
            found[name] = "\n".join(said)
    parts = [inputs, guided] + [
        _inputs(graph, node)
        for name in ("noise", "sampler", "sigmas")
        if (node := _follow(graph, inputs.get(name))) is not None
    ]
    wanted = {
        "seed": ("seed", "noise_seed"), "steps": ("steps",), "sampler": ("sampler_name",),
        "schedule": ("scheduler",), "guidance": ("cfg",), "denoise": ("denoise",),
    }  # fmt: skip
    for name, keys in wanted.items():
        values = (_value(graph, part.get(key)) for part in parts for key in keys)
        if (value := next((one for one in values if one is not None), None)) is not None:
            found[name] = value
    found |= _model(graph, guided.get("model"))
    return found


def _model(graph: Graph, link: Any) -> dict[str, Any]:
    """The checkpoint at the end of the chain of a model, and the LoRAs on the way."""
    found: dict[str, Any] = {}
    loras: list[str] = []
    for _ in range(_FAR):
        node = _follow(graph, link)
        if node is None:
            break
        inputs = _inputs(graph, node)
        if isinstance(name := inputs.get("lora_name"), str):
            loras.append(f"{name}:{inputs.get('strength_model', 1)}")
        for key in ("ckpt_name", "unet_name", "model_name"):
            if isinstance(inputs.get(key), str):
                found.setdefault("model", inputs[key])
        link = inputs.get("model")
    return found | ({"loras": ", ".join(loras)} if loras else {})


def _sampler(graph: Graph) -> str | None:
    """The sampler upstream of what was saved; without a saved one the first there is."""
    saved = [
        node for node, one in graph.items() if "Save" in one["class_type"] or "Preview" in one["class_type"]
    ]
    for start in saved:
        for node in _upstream(graph, start):
            if "Sampler" in graph[node]["class_type"] and "Select" not in graph[node]["class_type"]:
                return node
    return next((node for node, one in graph.items() if "KSampler" in one["class_type"]
                 and "Select" not in one["class_type"]), None)  # fmt: skip


def _upstream(graph: Graph, start: str) -> Iterator[str]:
    """Nodes that a node reads, nearest first."""
    seen, front = {start}, [start]
    while front:
        node = front.pop(0)
        yield node
        for value in _inputs(graph, node).values():
            if (other := _follow(graph, value)) is not None and other not in seen:
                seen.add(other)
                front.append(other)


def _texts(graph: Graph, link: Any, seen: set[str]) -> Iterator[str]:
    """Words at the ends of the links of a conditioning; seen: nodes that were asked."""
    node = _follow(graph, link)
    if node is None or node in seen or len(seen) > _FAR:
        return
    seen.add(node)
    inputs = _inputs(graph, node)
    for name in _TEXTS:
        value = inputs.get(name)
        if isinstance(value, str):
            yield value
        elif _follow(graph, value) is not None:
            yield from _texts(graph, value, seen)
    for name in _LINKS:
        yield from _texts(graph, inputs.get(name), seen)


def _value(graph: Graph, value: Any) -> Any:
    """A number or word, also where another node holds it."""
    for _ in range(_FAR):
        node = _follow(graph, value)
        if node is None:
            break
        inputs = _inputs(graph, node)
        value = next(
            (inputs[name] for name in ("value", "seed", "int", "float", "string") if name in inputs), None
        )
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _inputs(graph: Graph, node: str) -> dict[str, Any]:
    inputs: dict[str, Any] = graph[node]["inputs"]
    return inputs


def _follow(graph: Graph, link: Any) -> str | None:
    """The node of a link; None for anything else."""
    if isinstance(link, list) and len(link) == 2 and isinstance(link[0], str | int) and str(link[0]) in graph:
        return str(link[0])
    return None


def _graph(text: str, name: str) -> Graph:
    """The nodes of a graph as it ran, or as it was drawn; {} for what is neither."""
    try:
        content = _json(text, name)
    except SpidError:
        return {}
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        return _drawn(content)
    if not isinstance(content, dict):
        return {}
    return {
        str(node): one
        for node, one in content.items()
        if isinstance(one, dict)
        and isinstance(one.get("class_type"), str)
        and isinstance(one.get("inputs"), dict)
    }


def _drawn(content: Mapping[str, Any]) -> Graph:
    """A workflow as the graph that it runs as, as far as its nodes are known."""
    links = content.get("links")
    sources = {
        link[0]: [str(link[1]), link[2]]
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, list) and len(link) >= 5
    }
    graph: Graph = {}
    for node in content["nodes"]:
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            continue
        values = node.get("widgets_values")
        names = _WIDGETS.get(node["type"], ())
        inputs = dict(zip(names, values, strict=False)) if isinstance(values, list) else {}
        inputs.pop("", None)
        slots = node.get("inputs")
        for slot in slots if isinstance(slots, list) else ():
            if isinstance(slot, dict) and isinstance(slot.get("link"), int) and slot["link"] in sources:
                inputs[str(slot.get("name"))] = sources[slot["link"]]
        graph[str(node.get("id"))] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _json(text: str, name: str) -> Any:
    """JSON, in which ComfyUI writes NaN for what changes at every run."""
    try:
        return parse_json(text, name, error=PictureError)
    except SpidError:
        return parse_json(re.sub(r"(?<=[\[:,\s])NaN(?=[\],}\s])", "null", text), name, error=PictureError)


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _number(text: str) -> str | int | float:
    """A number where the text is one, as it is written otherwise."""
    if re.fullmatch(r"-?\d{1,20}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", text) else text
