"""A real, tiny face pack in insightface's format: its 'faces' are red squares of about 40 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from methods.faces.geometry import TEMPLATE

STRIDES = (8, 16, 32)
BOX = 40.0  # half a side in pixels: neighbouring cells that fire overlap enough to be suppressed
LANDMARKS = (TEMPLATE - 56) * (2 * BOX / 112)  # [5, 2] from the box's centre


def constant(name: str, value: object, kind: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


def detector(fixed: int | None = None) -> onnx.ModelProto:
    """SCRFD-shaped, nine outputs. Only stride 16 ever fires: where a 32 px window is red enough."""
    nodes, weights, outputs = [], [], []
    weights += [constant("red", [[[[1]], [[-0.5]], [[-0.5]]]]), constant("column", [-1, 1], np.int64)]
    nodes.append(helper.make_node("Conv", ["input", "red"], ["redness"]))
    for stride in STRIDES:
        size, half = [2 * stride] * 2, stride // 2
        names = {kind: f"{kind}_{stride}" for kind in ("score", "bbox", "kps")}
        weights.append(constant(f"need_{stride}", 0.9 if stride == 16 else 9.0))
        weights.append(constant(f"gain_{stride}", 20.0))
        weights.append(constant(f"none_{stride}", 0.0))
        sides = np.array([[BOX - half, BOX - half, BOX + half, BOX + half]])  # from the cell's corner
        weights.append(constant(f"box_{stride}", sides / stride))
        weights.append(constant(f"points_{stride}", (LANDMARKS + half).reshape(1, 10) / stride))
        nodes += [
            helper.make_node(
                "AveragePool",
                ["redness"],
                [f"mean_{stride}"],
                kernel_shape=size,
                strides=[stride] * 2,
                pads=[half] * 4,
            ),
            helper.make_node("Sub", [f"mean_{stride}", f"need_{stride}"], [f"over_{stride}"]),
            helper.make_node("Mul", [f"over_{stride}", f"gain_{stride}"], [f"logit_{stride}"]),
            helper.make_node("Sigmoid", [f"logit_{stride}"], [f"map_{stride}"]),
            helper.make_node("Reshape", [f"map_{stride}", "column"], [f"one_{stride}"]),
            helper.make_node("Concat", [f"one_{stride}"] * 2, [f"two_{stride}"], axis=1),
            helper.make_node("Reshape", [f"two_{stride}", "column"], [names["score"]]),
            helper.make_node("Mul", [names["score"], f"none_{stride}"], [f"zero_{stride}"]),
            helper.make_node("Add", [f"zero_{stride}", f"box_{stride}"], [names["bbox"]]),
            helper.make_node("Add", [f"zero_{stride}", f"points_{stride}"], [names["kps"]]),
        ]
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            shape = [f"n_{stride}", width]
            outputs.append(helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, shape))
    side: list[str | int] = ["height", "width"] if fixed is None else [fixed, fixed]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *side])
    return finished(nodes, [given], outputs, weights)


def recogniser() -> onnx.ModelProto:
    """Colours of an 8 x 8 grid, mixed into 512 numbers."""
    mix = np.random.default_rng(0).normal(size=(192, 512)) / 14
    nodes = [
        helper.make_node("AveragePool", ["data"], ["grid"], kernel_shape=[14, 14], strides=[14, 14]),
        helper.make_node("Flatten", ["grid"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["embedding"]),
    ]
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, ["n", 3, 112, 112])
    made = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 512])
    return finished(nodes, [given], [made], [constant("mix", mix)])


def attributes() -> onnx.ModelProto:
    """A third kind of model, which must be left out: real packs hold landmark and age models too."""
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, 96, 96])
    made = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 96, 96])
    return finished([helper.make_node("Identity", ["data"], ["out"])], [given], [made], [])


def finished(nodes, inputs, outputs, weights) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def write_pack(folder: Path, *, fixed: int | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(attributes(), folder / "a_genderage.onnx")
    onnx.save(detector(fixed), folder / "det.onnx")
    onnx.save(recogniser(), folder / "rec.onnx")
    return folder


def person(size: int = 128, *centres: tuple[int, int], side: int = 40, tint: int = 0) -> Image.Image:
    """Grey, with a red square at each centre; `tint` colours a patch inside, which makes the person."""
    picture = Image.new("RGB", (size, size), (127, 127, 127))
    draw = ImageDraw.Draw(picture)
    for x, y in centres or ((size // 2, size // 2),):
        draw.rectangle((x - side // 2, y - side // 2, x + side // 2 - 1, y + side // 2 - 1), (255, 0, 0))
        draw.rectangle((x - 3, y - 3, x + 2, y + 2), (255, tint, tint))
    return picture
