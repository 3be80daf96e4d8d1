"""A family as a third party would bring it: a tiny DiT with one joint site, trained as a rectified flow."""

from contextlib import contextmanager

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from methods.backbone.attention import attend, split_heads
from methods.backbone.denoiser import Projections
from methods.backbone.families.registry import Parts
from methods.backbone.noise import RectifiedFlow
from methods.backbone.text import ClipEncoder
from methods.hooks import Pass, RowLayout, Site

WIDTH, HEADS, TEXT = 32, 4, 16


class ToyTransformer(nn.Module):
    """2 x 2 patches of 4 channels and the text's tokens attend to all; the velocity of the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.velocity = nn.Linear(16, WIDTH), nn.Linear(WIDTH, 16)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))


class ToyDenoiser:
    hooks = frozenset({"image_attention", "keys_values", "after_block"})
    guidance = "rows"
    multiple = 16

    def __init__(self, network: ToyTransformer) -> None:
        self.network = network
        size = {"width": WIDTH, "heads": HEADS, "head_dim": WIDTH // HEADS}
        self.sites = (Site(name="joint", index=0, kind="joint", cell=2, text=TEXT, **size),)

    def latent_shape(self, width, height):
        return 4, height // 8, width // 8

    def projections(self, site):
        return Projections(self.network.q, self.network.k, self.network.v, self.network.out)

    def modules(self):
        return (self.network,)

    @contextmanager
    def attached(self, hooks, capture=None):
        net, site = self.network, self.sites[0]

        def predict(x, time, text, step=None):
            step = step or Pass(RowLayout(len(x), False), tuple(x.shape[-2:]))
            patches = nn.functional.pixel_unshuffle(x, 2)
            rows = torch.cat([text.key, net.patch(patches.flatten(2).mT) + time], dim=1)
            query, key, value = (split_heads(layer(rows), HEADS) for layer in (net.q, net.k, net.v))
            key, value = hooks.keys_values(site, step, query, key, value)
            image = attend(query, key, value)[:, TEXT:]
            added = hooks.image_attention(site, step, query[:, :, TEXT:], image)
            hidden = net.out(image if added is None else image + added)
            after = hooks.after_block(site, step, hidden)
            velocity = net.velocity(hidden if after is None else hidden + after).mT
            return nn.functional.pixel_shuffle(velocity.unflatten(2, patches.shape[2:]), 2)

        yield predict


class Toy:
    names, pipelines = ("toy",), ("ToyPipeline",)
    components = ("transformer", "vae", "text_encoder", "tokenizer")
    options = ()

    def load(self, source, options):
        network = ToyTransformer()
        network.load_state_dict(load_file(next((source.folder / "transformer").glob("*.safetensors"))))
        text = ClipEncoder(
            [CLIPTokenizer.from_pretrained(source.folder / "tokenizer")],
            [CLIPTextModel.from_pretrained(source.folder / "text_encoder")],
            options.placement,
        )
        vae, noise = AutoencoderKL.from_pretrained(source.folder / "vae"), RectifiedFlow({"shift": 3.0})
        return Parts("toy", ToyDenoiser(network), noise, text, vae, (64, 64), 4, 3.0, "euler")


FAMILY = Toy()
