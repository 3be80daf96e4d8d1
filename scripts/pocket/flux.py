"""`pocket-flux`: a FLUX-shaped miniature on the latents and captions of the pocket U-Net, which teaches it.

A `FluxPipeline` folder as diffusers writes it: FluxTransformer2DModel of width 256 with 3 double and 6 single
blocks over 64 packed 2 x 2 patches, CLIP for the pooled text, T5 for the words, the pocket VAE. Rectified
flow (Liu et al. 2022; Esser et al. 2024): x_t = (1 - t) x + t eps, the network predicts a velocity, t is
logit-normal.
As FLUX.1-dev it is distilled under guidance, which it takes as an input (Meng et al. 2023): the target is not
eps - x but what the pocket U-Net under that guidance predicts at the same point (`flux_teacher`). A target
without the noise of the data takes a fraction of the pictures, and one pass does the work of two. As FLUX's,
both text encoders stay as they are: CLIP is the U-Net's, T5 has had its lesson before (`flux_words`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from methods.backbone.families.flux import image_ids, pack, unpack
from scripts.pocket.autoencoder import encode_dataset
from scripts.pocket.captions import Captions
from scripts.pocket.common import Course, save_grid, start_from
from scripts.pocket.dataset import Dataset, pick
from scripts.pocket.diffusion import (
    AVERAGE,
    PREVIEW_PROMPTS,
    SHARD,
    build_text_encoder,
    face_weights,
)
from scripts.pocket.flux_steps import compile_blocks, prepare
from scripts.pocket.flux_teacher import Teacher
from scripts.pocket.flux_words import teach
from scripts.pocket.muon import SharedMuon
from scripts.pocket.tokenizer import WORDS, build_tokenizer

BATCH = 64
PEAK_RATE = 1e-3
CAPTION_DROP = 0.05
LESSON = 0.06
"""Share of the time that T5's lesson has; a third of the steps where steps are counted."""
STRONGEST = 6.0
SHOWN_GUIDANCE = 4.0
T5_LENGTH = 48
"""The longest caption has 49 pieces."""
DEFAULTS = {
    "spid_family": "pocket-flux",
    "size": 128,
    "steps": 20,
    "guidance": SHOWN_GUIDANCE,
    "max_sequence_length": T5_LENGTH,
}


def build_t5_tokenizer() -> T5Tokenizer:
    """T5's own tokenizer class with a piece for every word of the world, and letters for all others."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789,.!?'\"-:;()*&/#"
    words = dict.fromkeys(part for word in WORDS for part in (word, f"{word},"))
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(f"▁{word}", -1.0) for word in words] + [(letter, -4.0) for letter in letters]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=T5_LENGTH)


def build_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """An untrained T5 encoder: width 256, two layers, four heads."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=256,
            d_kv=64,
            d_ff=512,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def build_transformer(channels: int) -> FluxTransformer2DModel:
    """The untrained network on packed latents `[N,64,4*channels]`: 3 double and 6 single blocks of width 256.

    The last layer and the gates of all blocks start at zero (adaLN-zero, Peebles & Xie 2023).
    """
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * channels,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=32,
        num_attention_heads=8,
        joint_attention_dim=256,
        pooled_projection_dim=256,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )
    for name, parameter in model.named_parameters():
        if "norm1.linear" in name or "norm1_context.linear" in name or ".norm.linear" in name:
            nn.init.zeros_(parameter)
        if name.startswith("proj_out"):
            nn.init.zeros_(parameter)
    return model


class Words(nn.Module):
    """Both text encoders: captions to CLIP's pooled state `[N,256]` and T5's words `[N,T,256]`, which FLUX
    reads, and CLIP's words `[N,T,256]`, which its teacher reads."""

    def __init__(self, clip: CLIPTextModel, t5: T5EncoderModel) -> None:
        super().__init__()
        self.clip, self.t5 = clip, t5

    def forward(self, clip_ids: Tensor, t5_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.clip(clip_ids)
        return seen.pooler_output, self.t5(t5_ids)[0], seen.last_hidden_state


def assemble(
    autoencoder: Path,
    tokenizers: tuple[CLIPTokenizer, T5Tokenizer],
    words: Words,
    transformer: FluxTransformer2DModel,
) -> FluxPipeline:
    """The complete FluxPipeline around the trained parts."""
    vae = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32)
    vae.register_to_config(_name_or_path="", shift_factor=0.0)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0),
        vae=vae,
        text_encoder=words.clip,
        tokenizer=tokenizers[0],
        text_encoder_2=words.t5,
        tokenizer_2=tokenizers[1],
        transformer=transformer,
    )


@torch.no_grad()
def preview(pipeline: FluxPipeline, path: Path, prompts: tuple[str, ...] = PREVIEW_PROMPTS) -> None:
    """Generate two pictures per prompt in 20 steps and write them as a grid."""
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline(
        [p for p in prompts for _ in range(2)],
        width=128,
        height=128,
        num_inference_steps=20,
        guidance_scale=SHOWN_GUIDANCE,
        max_sequence_length=T5_LENGTH,
        generator=[torch.Generator().manual_seed(i) for i in range(2 * len(prompts))],
        output_type="np",
    ).images
    save_grid((pictures * 255).round().astype(np.uint8), 8, path)


def flow_batch(clean: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noised latents and their times float32 `[N]` in (0, 1), of clean latents `[N,C,H,W]`.

    Times are logit-normal (Esser et al. 2024, section 3.1), stratified over the batch.
    """
    count = len(clean)
    levels = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    time = torch.sigmoid(torch.special.ndtri(levels.clamp(1e-4, 1 - 1e-4))).to(clean.device)
    noise = torch.randn(clean.shape, generator=rng).to(clean.device)
    at = time[:, None, None, None]
    return (1 - at) * clean + at * noise, time


def train(
    dataset: Path,
    autoencoder: Path,
    teacher: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 5,
    device: str = "cpu",
    batch: int = BATCH,
    initial: Path | None = None,
    previews: int = 1000,
    compiling: bool = False,
) -> dict[str, Any]:
    """Distil the transformer within the budget; save the pipeline in half precision.

    teacher: folder of the pocket U-Net's pipeline. initial: a pipeline folder whose transformer to go on
    from; a checkpoint in `work` counts for more. previews: steps between sheets of pictures, 0 for none.
    compiling: compile the transformer on a processor as well.
    """
    data = Dataset(dataset)
    cache = work.parent / "diffusion" / "latents.npy"
    latents = torch.from_numpy(np.array(encode_dataset(dataset, autoencoder, cache, device=device))).to(
        device
    )
    tokenizers = build_tokenizer(work / "tokenizer"), build_t5_tokenizer()
    captions = Captions(data, tokenizers, table=work / "captions.npy" if device != "cpu" else None)
    source = Teacher(teacher, device)
    torch.manual_seed(seed)
    words = Words(build_text_encoder(tokenizers[0]), build_t5(tokenizers[1])).to(device)
    start_from(words.clip, teacher / "text_encoder")
    teach(
        words.t5, words.clip, captions, len(latents), work / "words",
        minutes=LESSON * minutes, steps=steps and max(1, steps // 3), resume=resume, seed=seed, device=device,
    )  # fmt: skip
    words.requires_grad_(False).eval()
    transformer = build_transformer(latents.shape[1])
    if initial is not None:
        start_from(transformer, initial / "transformer")
    transformer.to(device)
    optimizer = SharedMuon(transformer, PEAK_RATE)
    course = Course(
        work, transformer, optimizer, minutes=(1 - LESSON) * minutes, steps=steps, resume=resume, seed=seed,
        average=AVERAGE,
    )  # fmt: skip
    noise_rng = torch.Generator().manual_seed(seed + course.budget.step + 7919 * course.rank)
    prepare(transformer, device)
    compile_blocks(transformer, device, compiling)

    def save_pipeline(path: Path | None) -> None:
        transformer.eval()
        with course.averaged():
            pipeline = assemble(autoencoder, tokenizers, words, transformer).to(device)
            if previews:
                with torch.compiler.set_stance("force_eager"):  # one sheet is not worth compiling for
                    preview(pipeline, work / f"preview_{course.budget.step:06d}.png")
            if path is not None:
                pipeline.to(torch.float16).save_pretrained(path, max_shard_size=SHARD)
                (path / "spid.json").write_text(json.dumps(DEFAULTS, indent=1) + "\n")
                pipeline.to(torch.float32)
        transformer.train()

    with torch.no_grad():
        empty = words.clip(captions.empty[0].to(device)).last_hidden_state
    for step in course.steps():
        chosen = pick(data.meta["person"][: len(latents)], batch, course.rng)
        ids = [tokens.to(device) for tokens in captions.draw(chosen, course.rng, drop=CAPTION_DROP)]
        clean = latents[torch.from_numpy(chosen).to(device)].float()
        noisy, time = flow_batch(clean, noise_rng)
        guidance = 1 + (STRONGEST - 1) * torch.rand(batch, generator=noise_rng).to(device)
        with torch.autocast(clean.device.type, torch.bfloat16):
            with torch.no_grad():
                pooled, read, states = words(*ids)
            target = source.velocity(noisy, time, states, empty, guidance)
            predicted = _predict(transformer, noisy, time, (pooled, read), guidance)
        error, weight = (predicted - target).square(), face_weights(data.meta["landmarks"][chosen]).to(device)
        course.learn((error * weight).mean() / weight.mean(), mse=error.mean())
        if previews and (step + 1) % previews == 0 and course.first:
            save_pipeline(None)
    if course.first:
        save_pipeline(output)
    return course.finish(pictures=course.budget.step * batch * course.processes)


def _predict(call: Any, noisy: Tensor, time: Tensor, text: tuple[Tensor, Tensor], guidance: Tensor) -> Tensor:
    """The network's velocity `[N,C,H,W]`, float32; `call` is the transformer."""
    pooled, states = text
    height, width = noisy.shape[-2:]
    tokens = call(
        hidden_states=pack(noisy), encoder_hidden_states=states, pooled_projections=pooled, timestep=time,
        img_ids=image_ids(height, width, noisy.device), guidance=guidance, return_dict=False,
        txt_ids=torch.zeros(states.shape[1], 3, device=noisy.device),
    )[0]  # fmt: skip
    return unpack(tokens.float(), height, width)
