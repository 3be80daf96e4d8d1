"""The U-Net in training: upsamplers that copy pixels equal interpolation, in values and gradients."""

from __future__ import annotations

import torch

from scripts.pocket.diffusion import build_unet, upsample_by_copying


def test_copying_upsamplers_equal_interpolation_with_their_gradients() -> None:
    torch.manual_seed(0)
    unet = build_unet(4)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.02)
    for block in unet.up_blocks:
        for upsampler in block.upsamplers or []:
            torch.nn.init.normal_(upsampler.conv.weight, std=0.02)
    latents, words = torch.randn(2, 4, 16, 16), torch.randn(2, 8, 256)

    def run() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        unet.zero_grad()
        predicted = unet(latents, torch.tensor([10, 700]), words).sample
        predicted.square().sum().backward()
        return predicted.detach(), {
            name: weight.grad.clone() for name, weight in unet.named_parameters() if weight.grad is not None
        }

    before, gradients = run()
    assert gradients["up_blocks.0.resnets.0.conv_shortcut.weight"].abs().max() > 0  # below two upsamplers
    upsample_by_copying(unet)
    after, again = run()

    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-3, atol=1e-5, msg=name)
