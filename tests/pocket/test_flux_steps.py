"""Steps of the pocket-flux training: attention as products changes nothing, and gradients are float32's."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from scripts.pocket.flux_steps import Products, prepare

Step = tuple[Tensor, dict[str, Tensor]]


@pytest.fixture
def transformer() -> FluxTransformer2DModel:
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1, in_channels=8, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=24, pooled_projection_dim=12, guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


def step(transformer: FluxTransformer2DModel, *, half: bool = False) -> Step:
    rng = torch.Generator().manual_seed(1)
    image, text = torch.randn(2, 16, 8, generator=rng), torch.randn(2, 6, 24, generator=rng)
    places = torch.zeros(16, 3)
    places[:, 1], places[:, 2] = torch.arange(16) // 4, torch.arange(16) % 4
    transformer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        predicted = transformer(
            hidden_states=image, encoder_hidden_states=text,
            pooled_projections=torch.randn(2, 12, generator=rng), timestep=torch.tensor([0.2, 0.9]),
            img_ids=places, txt_ids=torch.zeros(6, 3), guidance=torch.tensor([1.0, 3.5]), return_dict=False,
        )[0]  # fmt: skip
    predicted.float().square().mean().backward()
    return predicted.detach().float(), {
        name: weight.grad.clone()
        for name, weight in transformer.named_parameters()
        if weight.grad is not None
    }


def test_products_equal_the_kernel_with_their_gradients(transformer: FluxTransformer2DModel) -> None:
    before, gradients = step(transformer)
    assert gradients["transformer_blocks.0.attn.add_q_proj.weight"].abs().max() > 0
    prepare(transformer, "cpu")
    assert all(isinstance(processor, Products) for processor in transformer.attn_processors.values())
    after, again = step(transformer)

    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_an_autocast_step_keeps_its_residual_streams_in_float32(transformer: FluxTransformer2DModel) -> None:
    seen: dict[str, torch.dtype] = {}
    block = transformer.single_transformer_blocks[1]
    block.register_forward_hook(
        lambda _, inputs, output: seen.update(text=output[0].dtype, image=output[1].dtype)
    )
    _, exact = step(transformer)
    prepare(transformer, "cpu")
    _, half = step(transformer, half=True)

    assert seen == {"text": torch.float32, "image": torch.float32}
    for name, gradient in exact.items():
        assert (half[name] - gradient).norm() <= 0.05 * gradient.norm() + 1e-8, name
