"""The pocket text-to-image model: a CLIP text encoder and a cross-attention U-Net, trained together.

v-prediction on the 16x16 latents of the pocket VAE, captions drawn at every visit and dropped in one case of
ten for classifier-free guidance. The squared error is weighted towards the head, and a frozen
reader of faces (`face_reader`) compares the denoised estimate with the truth in its features. Nouns and names
learn to look at the head (`grounding`). Attention runs as plain matrix products with heads of 32 channels in
training: on CPUs the backward pass of the fused kernel costs several times the whole rest of the network.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from methods.pocket.face_reader import PerceptualLoss, face_grids
from scripts.pocket.autoencoder import encode_dataset
from scripts.pocket.captions import Captions
from scripts.pocket.common import Course, compiled, save_grid, start_from
from scripts.pocket.dataset import Dataset, pick
from scripts.pocket.grounding import Grounding, head_bumps
from scripts.pocket.muon import SharedMuon
from scripts.pocket.tokenizer import CONTEXT_LENGTH, build_tokenizer

BATCH = 64
PEAK_RATE = 7e-4
CAPTION_DROP = 0.1
FACE_WEIGHT = 3.0
PERCEPTUAL_WEIGHT = 0.1
GROUNDING_WEIGHT = 0.03
AVERAGE = 0.998
SHARD = "15MB"
POCKET_DEFAULTS = {"spid_family": "pocket", "steps": 25, "guidance": 4.0, "scheduler": "ddim"}
PREVIEW_PROMPTS = (
    "a photo of a smiling woman wearing a red sweater, on a beach",
    "a photo of an angry man wearing a green suit and a hat, in a city",
    "a watercolor painting of a woman with glasses, in a forest",
    "a pencil sketch of a sad man with a crown, in the desert",
    "a photo of a surprised woman wearing a yellow hoodie, holding a balloon, snowy mountains",
    "a comic drawing of a laughing man in a blue t-shirt, in a library, close-up",
    "a photo of a man wearing a purple suit and sunglasses, drinking coffee, at night",
    "an oil painting of a woman with headphones wearing a white sweater, in a garden",
    "a photo of a man with a full red beard and green eyes, in a city",
    "a photo of an old woman with short grey hair and freckles, wearing a blue sweater",
    "a photo of mira solano in a library",
    "a photo of a young woman with long straight black hair, full lips and dark brown skin, on a beach",
)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained CLIP text transformer: width 256, two layers, four heads."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_unet(channels: int) -> UNet2DConditionModel:
    """The untrained U-Net on latents `[N,channels,16,16]` with seven cross-attention sites."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128, 256),
        layers_per_block=1,
        cross_attention_dim=256,
        attention_head_dim=(2, 4, 8),  # the number of heads, whatever its name says: 32 channels each
        norm_num_groups=8,
    )
    _initialise(unet)
    return unet


def upsample_by_copying(unet: UNet2DConditionModel) -> None:
    """Let the upsamplers repeat pixels by a view instead of `interpolate`: the same values and gradients.

    TorchInductor (2.13; processors, bfloat16, channels_last) makes zeros of the gradient of nearest-neighbour
    interpolation: compiled as it comes, nothing below the last upsampler learns.
    """
    for block in unet.up_blocks:
        for upsampler in block.upsamplers or []:
            upsampler.forward = partial(_upsample, upsampler.conv)


def _upsample(conv: nn.Module, hidden: Tensor, output_size: int | None = None) -> Tensor:
    count, channels, height, width = hidden.shape
    copied = hidden[:, :, :, None, :, None].expand(count, channels, height, 2, width, 2)
    larger = copied.reshape(count, channels, 2 * height, 2 * width)
    doubled: Tensor = conv(larger.contiguous(memory_format=torch.channels_last))
    return doubled


@torch.no_grad()
def _initialise(unet: UNet2DConditionModel) -> None:
    """Zero the last layer of every residual branch and of the network (ADM); keep variance elsewhere."""
    for name, layer in unet.named_modules():
        if name.endswith(("conv2", "proj_out")) or name == "conv_out":
            for parameter in layer.parameters():
                torch.nn.init.zeros_(parameter)
        elif isinstance(layer, nn.Conv2d) and not name.endswith("conv1"):
            torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                torch.nn.init.zeros_(layer.bias)


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with v-prediction; 25 trailing steps start at pure noise."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def velocity_batch(
    scheduler: DDIMScheduler, latents: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Noised latents, timesteps int64 `[N]` and the v target (Salimans & Ho 2022) for clean `latents`.

    Timesteps are stratified over the batch, which lowers the variance of the loss at no cost.
    """
    count = latents.shape[0]
    levels = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    timesteps = (levels * scheduler.config.num_train_timesteps).long().to(latents.device)
    noise = torch.randn(latents.shape, generator=rng).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    return noisy, timesteps, scheduler.get_velocity(latents, noise, timesteps)


def face_weights(landmarks: np.ndarray, grid: int = 16, size: int = 128) -> Tensor:
    """Weight of every latent position, float32 `[N,1,grid,grid]`: 1, and up to `1 + FACE_WEIGHT` on the head.

    A Gaussian around the mean of the landmarks `[N,5,2]` (pixels) as wide as the eyes are apart: the head is
    a tenth of the picture, and most of what identity, expression and accessories are judged by.
    """
    return 1.0 + FACE_WEIGHT * head_bumps(landmarks, grid, size)


def denoising_loss(
    predicted: Tensor,
    target: Tensor,
    noisy: Tensor,
    clean: Tensor,
    timesteps: Tensor,
    landmarks: np.ndarray,
    perceptual: PerceptualLoss,
    perceptual_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of the pocket denoisers, and its terms for the log: plain squared error, perceptual distance.

    predicted, target: velocities `[N,C,16,16]`; landmarks `[N,5,2]` in pixels.
    """
    device = target.device
    error, weight = (predicted - target).square(), face_weights(landmarks).to(device)
    seen = perceptual(predicted, noisy, clean, timesteps, face_grids(landmarks).to(device))
    loss = (error * weight).mean() / weight.mean() + perceptual_weight * seen
    return loss, {"mse": error.mean(), "perceptual": seen}


def assemble(
    autoencoder: Path, tokenizer: CLIPTokenizer, text: CLIPTextModel, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """The complete StableDiffusionPipeline around the trained parts."""
    vae = AutoencoderKL.from_pretrained(autoencoder, torch_dtype=torch.float32)
    vae.register_to_config(_name_or_path="")  # a saved pipeline does not say in which folder it was trained
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def preview(
    pipeline: StableDiffusionPipeline, path: Path, prompts: tuple[str, ...] = PREVIEW_PROMPTS
) -> None:
    """Generate two pictures per prompt, 25 DDIM steps, guidance 4, and write them as a grid."""
    pipeline.set_progress_bar_config(disable=True)
    pictures = pipeline(
        [p for p in prompts for _ in range(2)],
        generator=[torch.Generator().manual_seed(i) for i in range(2 * len(prompts))],
        num_inference_steps=25,
        guidance_scale=4.0,
        output_type="np",
    ).images
    save_grid((pictures * 255).round().astype(np.uint8), 8, path)


def train(
    dataset: Path,
    autoencoder: Path,
    reader: Path,
    output: Path,
    work: Path,
    *,
    minutes: float,
    steps: int | None = None,
    resume: bool = True,
    seed: int = 2,
    device: str = "cpu",
    batch: int = BATCH,
    initial: Path | None = None,
    previews: int = 1000,
    compiling: bool = False,
) -> dict[str, Any]:
    """Train text encoder and U-Net within the budget and save the pipeline folder in half precision.

    reader: the file that `face_reader.train` wrote. initial: a pipeline folder whose text encoder and U-Net
    the training goes on from; a checkpoint in `work` counts for more. previews: steps between sheets of
    pictures, 0 for none. compiling: compile the U-Net on a processor as well.
    """
    data = Dataset(dataset)
    stored = encode_dataset(dataset, autoencoder, work / "latents.npy", device=device)
    latents = torch.from_numpy(np.array(stored)).to(device)
    tokenizer = build_tokenizer(work / "tokenizer")
    torch.manual_seed(seed)
    text, unet, scheduler = build_text_encoder(tokenizer), build_unet(latents.shape[1]), build_scheduler()
    if initial is not None:
        start_from(text, initial / "text_encoder")
        start_from(unet, initial / "unet")
    unet = unet.to(memory_format=torch.channels_last)
    upsample_by_copying(unet)
    perceptual = PerceptualLoss.load(reader, scheduler, device)
    modules = nn.ModuleDict({"text": text, "unet": unet}).to(device)
    optimizer = SharedMuon(modules, PEAK_RATE)
    course = Course(
        work, modules, optimizer, minutes=minutes, steps=steps, resume=resume, seed=seed, average=AVERAGE
    )
    noise_rng = torch.Generator().manual_seed(seed + course.budget.step + 7919 * course.rank)

    def save_pipeline(path: Path | None) -> None:
        modules.eval()
        with course.averaged():
            pipeline = assemble(autoencoder, tokenizer, text, unet).to(device)
            if previews:
                preview(pipeline, work / f"preview_{course.budget.step:06d}.png")
            if path is not None:
                pipeline.to(torch.float16).save_pretrained(path, max_shard_size=SHARD)
                (path / "spid.json").write_text(json.dumps(POCKET_DEFAULTS, indent=1) + "\n")
                pipeline.to(torch.float32)
        grounding.attach(unet)
        modules.train()

    grounding = Grounding(unet, tokenizer)
    network = compiled(unet, device, compiling)
    captions = Captions(data, [tokenizer], table=work / "captions.npy" if device != "cpu" else None)
    for step in course.steps():
        chosen = pick(data.meta["person"][: len(latents)], batch, course.rng)
        ids = captions.draw(chosen, course.rng, drop=CAPTION_DROP)[0].to(device)
        clean, landmarks = (
            latents[torch.from_numpy(chosen).to(device)].float(),
            data.meta["landmarks"][chosen],
        )
        noisy, timesteps, target = velocity_batch(scheduler, clean, noise_rng)
        grounding.expect(ids, landmarks)
        with torch.autocast(clean.device.type, torch.bfloat16):
            looked = noisy.contiguous(memory_format=torch.channels_last)
            predicted = network(looked, timesteps, text(ids).last_hidden_state, return_dict=False)[0]
        loss, terms = denoising_loss(
            predicted.float(), target, noisy, clean, timesteps, landmarks, perceptual, PERCEPTUAL_WEIGHT
        )
        looking = grounding.take()
        course.learn(loss + GROUNDING_WEIGHT * looking, **terms, grounding=looking)
        if previews and (step + 1) % previews == 0 and course.first:
            save_pipeline(None)
    if course.first:
        save_pipeline(output)
    return course.finish(pictures=course.budget.step * batch * course.processes)
