"""What the four perception trainings share: data, budget, checkpoints, log and ONNX export."""

from __future__ import annotations

import os
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from methods.errors import WeightsError
from scripts.pocket.common import Course
from scripts.pocket.dataset import Dataset, person_of


# ------------------------------------------------------------------ data
def open_dataset(folder: Path) -> Dataset:
    """Open a rendered data set, or say how to make one."""
    if not (Path(folder) / "meta.npz").is_file():
        raise WeightsError(
            f"{folder} holds no rendered data set.",
            hint="Run `python scripts/train_pocket.py dataset` first.",
        )
    return Dataset(Path(folder))


def identity_targets(numbers: NDArray[np.integer]) -> NDArray[np.float32]:
    """The renderer's own parameters of people, float32 [P,F].

    Numeric parameters are standardised over these people; words become one-hot blocks.
    """
    people = [person_of(int(number)) for number in numbers]
    columns: list[NDArray[np.float32]] = []
    for field in fields(people[0]):
        values = [getattr(person, field.name) for person in people]
        if isinstance(values[0], str):
            words = sorted(set(values))
            columns.append(np.eye(len(words), dtype=np.float32)[[words.index(value) for value in values]])
        else:
            block = np.asarray(values, dtype=np.float32).reshape(len(people), -1)
            columns.append((block - block.mean(0)) / (block.std(0) + 1e-3))
    return np.concatenate(columns, axis=1)


def prefetch(make: Callable[[int], Any], first: int, depth: int = 3) -> Iterator[Any]:
    """Yield make(first), make(first + 1), ... computed ahead in one thread.

    Batch `i` depends on `i` alone, so a resumed training sees the batches it would have seen.
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        cv2.setNumThreads(1)
        index = first
        while not stop.is_set():
            try:
                item = make(index)
            except BaseException as error:  # handed to the consumer, which raises it
                item = error
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            index += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


# ------------------------------------------------------------------ pictures
def to_tensor(pictures: NDArray[Any], mean: float = 127.5, std: float = 127.5) -> Tensor:
    """uint8 [N,H,W,3] to float32 [N,3,H,W], (x - mean) / std, channels_last in memory."""
    tensor = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    return tensor.float().sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)


def degrade(picture: NDArray[Any], rng: np.random.Generator, strength: float = 1.0) -> NDArray[Any]:
    """Light photometric damage: what an autoencoder, a camera or a JPEG does to a picture."""
    if rng.random() < 0.5:
        gain = rng.normal(1.0, 0.08 * strength) + rng.normal(0.0, 0.025 * strength, 3)
        lift = rng.normal(0.0, 6.0 * strength)
        ramp = np.arange(256, dtype=np.float32)[:, None]
        table = np.clip((ramp - 127.5) * gain + 127.5 + lift, 0, 255).astype(np.uint8)
        picture = cv2.LUT(picture, table[:, None, :])
    choice = rng.random()
    if choice < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.0 + 0.8 * strength))
    elif choice < 0.4:
        size, scale = picture.shape[0], rng.uniform(0.75 - 0.3 * min(strength, 1.5), 0.95)
        small = cv2.resize(picture, (int(size * scale),) * 2, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    elif choice < 0.5:
        ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))])
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)) if ok else picture
    if rng.random() < 0.15:
        noise = rng.normal(0.0, rng.uniform(1.0, 6.0) * strength, picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return picture


# ------------------------------------------------------------------ training
def begin(
    folder: Path,
    modules: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    minutes: float,
    steps: int | None,
    resume: bool,
    seed: int,
) -> Course:
    """A course as the perception models take it: few steps, so a short warm-up and frequent log lines."""
    return Course(
        folder,
        modules,
        optimizer,
        minutes=minutes,
        steps=steps,
        resume=resume,
        seed=seed,
        warmup=40,
        clip=5.0,
        log_every=20,
    )


def batches(course: Course, make: Callable[[int], Any]) -> Iterator[Any]:
    """The batch of every step that `course` still takes, made ahead by `prefetch`."""
    yield from (batch for _, batch in zip(course.steps(), prefetch(make, course.budget.step), strict=False))


# ------------------------------------------------------------------ export
def export_onnx(
    model: nn.Module,
    example: Tensor,
    path: Path,
    *,
    input_name: str,
    output_names: list[str],
    dynamic: dict[str, dict[int, str]],
) -> None:
    """Write an inference graph whose large weights are stored as float16 and computed in float32.

    Every large initialiser becomes float16 followed by a Cast, which onnxruntime folds when it
    loads the file: half the size, float32 arithmetic, and no operator that lacks a half kernel.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with warnings.catch_warnings():
        # the newer exporter needs a package (onnxscript) that nothing else here does
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model.eval().float(),
            (example,),
            str(temporary),
            input_names=[input_name],
            output_names=output_names,
            dynamic_axes=dynamic,
            opset_version=17,
            dynamo=False,
        )
    proto = onnx.load(str(temporary))
    graph = proto.graph
    casts = []
    for initialiser in graph.initializer:
        array = numpy_helper.to_array(initialiser)
        if array.dtype != np.float32 or array.size < 64:
            continue
        name = initialiser.name
        initialiser.CopyFrom(numpy_helper.from_array(array.astype(np.float16), name + ".half"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [name + ".half"], [name], name="Cast." + name, to=onnx.TensorProto.FLOAT
            )
        )
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(temporary))
    os.replace(temporary, path)


def half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict as it is stored: floating point as float16, everything else as it is."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
