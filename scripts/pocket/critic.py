"""Judges of the pocket VAE besides pixels: a patch critic, who the conditioning recogniser sees, and what
a reader of small things in a face reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from methods.faces.geometry import TEMPLATE, similarity_transforms
from scripts.pocket.details import DetailReader


class PatchCritic(nn.Module):
    """Realness of overlapping patches (PatchGAN, Isola et al. 2017, section 3.2.2) with spectral norms
    (Miyato et al. 2018): float `[N,3,H,W]` in [-1,1] to logits `[N,1,H/8,W/8]`, receptive field 38 pixels.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        channels = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(channels, channels[1:], strict=False):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        layers.append(spectral_norm(nn.Conv2d(channels[-1], 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


def critic_loss(critic: PatchCritic, real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the critic (Lim and Ye 2017); `made` is detached."""
    return F.relu(1.0 - critic(real)).mean() + F.relu(1.0 + critic(made.detach())).mean()


class SeenIdentity(nn.Module):
    """The conditioning recogniser in torch, read from its ONNX file: frozen, differentiable in its input.

    Only the operators of our own export are known; another file's raise ValueError.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self._names: dict[str, str] = {}
        for number, constant in enumerate(graph.initializer):
            value = torch.from_numpy(numpy_helper.to_array(constant).copy())
            self.register_buffer(f"c{number}", value.float() if value.is_floating_point() else value)
            self._names[constant.name] = f"c{number}"
        self._nodes = [
            (
                node.op_type,
                list(node.input),
                node.output[0],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in graph.node
        ]
        self._input, self._output = graph.input[0].name, graph.output[0].name

    def forward(self, crops: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Aligned crops float32 `[N,3,112,112]` in [-1,1] (RGB) -> unit embeddings `[N,512]` and the
        activations after every PReLU, from fine to coarse."""
        values: dict[str, Tensor] = {self._input: crops}
        seen: list[Tensor] = []

        def get(name: str) -> Tensor:
            return values[name] if name in values else getattr(self, self._names[name])

        for kind, inputs, output, attributes in self._nodes:
            x = get(inputs[0])
            if kind == "Cast":
                y = x
            elif kind == "Conv":
                pads = attributes.get("pads", [0, 0, 0, 0])
                bias = get(inputs[2]) if len(inputs) > 2 else None
                y = F.conv2d(x, get(inputs[1]), bias, attributes.get("strides", 1), pads[:2])
            elif kind == "PRelu":
                y = torch.where(x >= 0, x, x * get(inputs[1]))
                seen.append(y)
            elif kind == "Add":
                y = x + get(inputs[1])
            elif kind == "Relu":
                y = F.relu(x)
            elif kind == "AveragePool":
                y = F.avg_pool2d(x, attributes["kernel_shape"], attributes.get("strides"))
            elif kind == "Flatten":
                y = x.flatten(attributes.get("axis", 1))
            elif kind == "Gemm":
                y = F.linear(x, get(inputs[1]), get(inputs[2]))
            elif kind == "BatchNormalization":
                scale, shift, mean, variance = (get(name) for name in inputs[1:5])
                y = F.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))
            else:
                raise ValueError(f"the recogniser uses the operator {kind}, which this reader does not know")
            values[output] = y
        return F.normalize(values[self._output], dim=-1), seen


def aligned(pixels: Tensor, landmarks: np.ndarray) -> Tensor:
    """Differentiable 112 x 112 crops by five landmarks `[N,5,2]` (pixels) of pictures `[N,3,H,W]`."""
    size = pixels.shape[-1]
    forward = torch.from_numpy(similarity_transforms(landmarks, TEMPLATE))
    whole = torch.cat([forward, torch.tensor([[[0.0, 0.0, 1.0]]]).double().expand(len(forward), 1, 3)], dim=1)
    back = torch.linalg.inv(whole)[:, :2]
    axis = torch.arange(112, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    places = torch.einsum("nij,hwj->nhwi", back, points).float()
    grid = (places + 0.5) / size * 2.0 - 1.0
    grid = grid.to(pixels.device)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def identity_loss(
    judge: SeenIdentity, restored: Tensor, target: Tensor, landmarks: np.ndarray
) -> tuple[Tensor, Tensor]:
    """(1 - cosine of who is seen, mean L1 of the first layers' activations) of two batches `[N,3,H,W]`."""
    made, made_layers = judge(aligned(restored, landmarks))
    with torch.no_grad():
        true, true_layers = judge(aligned(target, landmarks))
    who = (1.0 - (made * true).sum(-1)).mean()
    return who, _relative_l1(made_layers[:3], true_layers[:3])


def detail_loss(
    reader: DetailReader, restored: Tensor, target: Tensor, landmarks: np.ndarray
) -> tuple[Tensor, Tensor]:
    """(divergence of what is read, mean L1 of the fine layers' activations) of two batches `[N,3,H,W]`.

    The divergence is KL(target || restored) of eye colour and marks, summed; nats a picture.
    """
    made, made_layers = reader.seen(aligned(restored, landmarks))
    with torch.no_grad():
        true, true_layers = reader.seen(aligned(target, landmarks))
    read = torch.zeros((), device=restored.device)
    for name, logits in made.items():
        truth = F.log_softmax(true[name].float(), dim=-1)
        guess = F.log_softmax(logits.float(), dim=-1)
        read = read + F.kl_div(guess, truth, reduction="batchmean", log_target=True)
    return read, _relative_l1(made_layers, true_layers)


def _relative_l1(made: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Mean over layers of the L1 distance of activations, as a share of the true ones' mean magnitude."""
    shares = [(m - t).abs().mean() / t.abs().mean() for m, t in zip(made, true, strict=True)]
    return torch.stack(shares).mean()
