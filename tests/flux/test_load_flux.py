"""FLUX from folders and files, whole, quantised, offloaded, with a LoRA; and what is refused in one line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from test_equals_flux_pipeline import job_of, reference
from tiny import tiny_folder
from tiny_flux import KINDS, WIDTH, flux_backbone, flux_folder, flux_pipeline

from methods.backbone.families import flux_pipeline as family
from methods.backbone.load import load_backbone
from methods.errors import MissingDependencyError, MissingWeightsError, UsageError, WeightsError
from methods.sampling import sample


def latents(backbone, kind="dev", **changes):
    return sample(backbone, [job_of(kind, **changes)])[0].latents


def transformer_file(folder: Path, kind: str) -> Path:
    """The transformer alone in one file, as people share them."""
    path = folder / f"{kind}.safetensors"
    state = load_file(flux_folder(kind) / "transformer" / "diffusion_pytorch_model.safetensors")
    save_file(state, path, metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_transformer_file_beside_a_folder(kind, tmp_path):
    """The file decides whether guidance is embedded, whatever the folder says."""
    other = "schnell" if kind == "dev" else "dev"
    backbone = load_backbone(transformer_file(tmp_path, kind), config=flux_folder(other), device="cpu")
    assert backbone.denoiser.guidance == ("embedded" if kind == "dev" else "none")
    same = load_backbone(transformer_file(tmp_path, kind), config=flux_folder(kind), device="cpu")
    assert torch.equal(latents(same, kind), latents(flux_backbone(kind), kind))
    assert same.fingerprint != backbone.fingerprint  # the rest decides the picture as well


def test_the_shipped_configuration_is_that_of_the_public_files():
    """Names and shapes of the original layout, as published, convert to the shipped configuration's."""
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    config = FluxTransformer2DModel.load_config(Path(family.__file__).with_name("flux_transformer"))
    with torch.device("meta"):
        wanted = FluxTransformer2DModel.from_config(config).state_dict()
        converted = convert_flux_transformer_checkpoint_to_diffusers(original_layout())
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in wanted.items()
    }


def original_layout() -> dict[str, torch.Tensor]:
    """Names and shapes of flux1-dev.safetensors (black-forest-labs/flux, model.py), without values."""
    width, mlp = 3072, 4 * 3072
    linears = {"img_in": (64, width), "txt_in": (4096, width)}
    for name, inputs in (("time_in", 256), ("vector_in", 768), ("guidance_in", 256)):
        linears |= {f"{name}.in_layer": (inputs, width), f"{name}.out_layer": (width, width)}
    shapes = {}
    for block in range(19):
        for stream in ("img", "txt"):
            own = f"double_blocks.{block}.{stream}"
            linears |= {
                f"{own}_mod.lin": (width, 6 * width),
                f"{own}_attn.qkv": (width, 3 * width),
                f"{own}_attn.proj": (width, width),
                f"{own}_mlp.0": (width, mlp),
                f"{own}_mlp.2": (mlp, width),
            }
            shapes |= {f"{own}_attn.norm.{role}_norm.scale": (128,) for role in ("query", "key")}
    for block in range(38):
        own = f"single_blocks.{block}"
        linears |= {
            f"{own}.modulation.lin": (width, 3 * width),
            f"{own}.linear1": (width, 3 * width + mlp),
            f"{own}.linear2": (width + mlp, width),
        }
        shapes |= {f"{own}.norm.{role}_norm.scale": (128,) for role in ("query", "key")}
    linears |= {"final_layer.linear": (width, 64), "final_layer.adaLN_modulation.1": (width, 2 * width)}
    for name, (inputs, outputs) in linears.items():
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("options", [{"cpu_offload": True}, {"group_offload": True}])
def test_offloading_changes_no_bit(options):
    backbone = load_backbone(flux_folder("dev"), device="cpu", **options)
    assert torch.equal(latents(backbone), latents(flux_backbone("dev")))
    assert backbone.offload


def test_tiles_and_slices_of_the_autoencoder():
    """Tiles change the seams of large pictures only; slices change nothing."""
    plain = sample(flux_backbone("dev"), [job_of("dev")])[0]
    backbone = load_backbone(flux_folder("dev"), device="cpu", vae_tiling=True, vae_slicing=True)
    assert sample(backbone, [job_of("dev")])[0].picture.tobytes() == plain.picture.tobytes()
    assert backbone.vae.use_tiling


def test_fp8_weights_rest_in_a_byte_each():
    backbone = load_backbone(flux_folder("dev"), device="cpu", quantize="fp8")
    own, exact = latents(backbone), latents(flux_backbone("dev"))
    assert backbone.denoiser.transformer.transformer_blocks[0].attn.to_q.weight.dtype == torch.float8_e4m3fn
    assert (
        backbone.text.models[1].encoder.block[0].layer[0].SelfAttention.q.weight.dtype == torch.float8_e4m3fn
    )
    assert 0 < (own - exact).abs().max() < 0.2 * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("cpu_offload", [False, True])
def test_nf4_weights_rest_in_half_a_byte_each(cpu_offload):
    backbone = load_backbone(flux_folder("dev"), device="cuda", quantize="nf4", cpu_offload=cpu_offload)
    own, exact = latents(backbone), latents(flux_backbone("dev"))
    weight = backbone.denoiser.transformer.transformer_blocks[0].attn.to_q.weight
    assert weight.dtype == torch.uint8 and weight.numel() * 2 == WIDTH * WIDTH
    assert 0 < (own - exact).abs().max() < 0.5 * exact.abs().max()


@pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")
def test_a_gguf_file(tmp_path):
    import gguf

    path = tmp_path / "dev.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    state = load_file(transformer_file(tmp_path, "dev"))
    for name, value in state.items():
        eighths = value.ndim == 2 and value.shape[1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0 if eighths else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(value.numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for quantize in (None, "gguf"):
        backbone = load_backbone(path, config=flux_folder("dev"), device="cpu", quantize=quantize)
    own, exact = latents(backbone), latents(flux_backbone("dev"))
    assert 0 < (own - exact).abs().max() < 0.1 * exact.abs().max()
    with pytest.raises(UsageError, match="quantised already, --quantize nf4"):
        load_backbone(path, config=flux_folder("dev"), quantize="nf4")


def lora_file(folder: Path, original: bool) -> Path:
    """A random LoRA of rank 2 on the first double block's query, in diffusers' or kohya's naming."""
    generator = torch.Generator().manual_seed(7)
    down, up = (0.3 * torch.randn(shape, generator=generator) for shape in ((2, WIDTH), (WIDTH, 2)))
    if original:
        own = "lora_unet_double_blocks_0_img_attn_proj"
        state = {
            f"{own}.lora_down.weight": down,
            f"{own}.lora_up.weight": up,
            f"{own}.alpha": torch.tensor(2.0),
        }
    else:
        own = "transformer.transformer_blocks.0.attn.to_out.0"
        state = {f"{own}.lora_A.weight": down, f"{own}.lora_B.weight": up}
    path = folder / f"{original}.safetensors"
    save_file(state, path)
    return path


def test_lora_files_load_through_diffusers(tmp_path):
    path = lora_file(tmp_path, original=False)
    backbone = load_backbone(flux_folder("dev"), device="cpu", lora=path, lora_scale=0.7)
    pipeline = flux_pipeline("dev")
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
    pipeline.fuse_lora(lora_scale=0.7)
    wanted = reference(pipeline, backbone, [job_of("dev")])[0]
    assert torch.equal(latents(backbone), wanted)
    assert not torch.equal(wanted, latents(flux_backbone("dev")))
    assert backbone.fingerprint != flux_backbone("dev").fingerprint
    assert not [name for name, _ in backbone.denoiser.transformer.named_modules() if "lora" in name]
    kohya = load_backbone(
        flux_folder("dev"), device="cpu", lora=lora_file(tmp_path, original=True), lora_scale=0.7
    )
    torch.testing.assert_close(latents(kohya), wanted)


def test_what_is_no_lora_of_this_model(tmp_path):
    def refused(error, match, **options):
        with pytest.raises(error, match=match):
            load_backbone(flux_folder("dev"), device="cpu", **options)

    save_file({"transformer.surprise.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    refused(
        WeightsError, "other.safetensors could not be read as a LoRA", lora=tmp_path / "other.safetensors"
    )
    refused(MissingWeightsError, "No LoRA at", lora=tmp_path / "nowhere.safetensors")
    (tmp_path / "lora.bin").touch()
    refused(WeightsError, "not a .safetensors file", lora=tmp_path / "lora.bin")
    refused(UsageError, "no LoRA to scale", lora_scale=0.5)
    path = lora_file(tmp_path, original=False)
    refused(UsageError, "merged into quantised weights", lora=path, quantize="fp8")


@pytest.mark.parametrize(
    "part, said",
    [
        ("transformer", "No .safetensors weights in"),
        ("text_encoder_2", "T5 is missing, expected in"),
        ("tokenizer_2", "T5's tokenizer is missing"),
        ("text_encoder", "CLIP is missing"),
        ("vae", "the autoencoder is missing"),
        ("scheduler", "the scheduler is missing"),
    ],
)
def test_a_folder_without_a_part(part, said, tmp_path, monkeypatch):
    """Told before anything is loaded."""
    folder = shutil.copytree(flux_folder("dev"), tmp_path / "flux")
    shutil.rmtree(folder / part)
    monkeypatch.setattr(family, "prepare_imports", lambda: pytest.fail("something was loaded"))
    with pytest.raises(MissingWeightsError, match=said) as raised:
        load_backbone(folder, device="cpu")
    assert "\n" not in str(raised.value)


def test_options_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "prepare_imports", lambda: pytest.fail("something was loaded"))

    def refused(match, name, error=UsageError, **options):
        with pytest.raises(error, match=match) as raised:
            load_backbone(name, device="cpu", **options)
        assert "\n" not in str(raised.value)

    folder, file = flux_folder("dev"), transformer_file(tmp_path, "dev")
    refused("T5 cannot read 513 tokens", folder, text_length=513)
    refused("Unknown quantisation 'nf5'.*'nf4'", folder, quantize="nf5")
    refused("reads a file that is quantised already", folder, quantize="gguf")
    refused("is a FLUX transformer without text encoders", file)
    refused("is not a complete FLUX pipeline", file, MissingWeightsError, config=tmp_path / "nowhere")
    refused("has configurations of its own", folder, config=folder)
    (tmp_path / "dev.gguf").touch()
    refused("nf4 quantises on a GPU", folder, quantize="nf4")
    monkeypatch.setattr(family.importlib.util, "find_spec", lambda name: None)
    refused(r"needs the library bitsandbytes\. pip install", folder, MissingDependencyError, quantize="nf4")
    gguf = tmp_path / "dev.gguf"
    refused("A .gguf file needs the library gguf", gguf, MissingDependencyError, config=folder)


def test_what_a_miniature_says_of_itself(tmp_path):
    folder = shutil.copytree(flux_folder("dev"), tmp_path / "flux")

    def say(**changes):
        said = {"spid_family": "pocket-flux", "size": 48, "steps": 5, "guidance": 2.5} | changes
        (folder / "spid.json").write_text(json.dumps(said))

    say(max_sequence_length=24)
    backbone = load_backbone(folder, device="cpu")
    assert (backbone.family, backbone.face_encoder, backbone.default_size) == (
        "pocket-flux",
        "pocket",
        (48, 48),
    )
    assert (backbone.defaults.steps, backbone.defaults.guidance) == (5, 2.5)
    assert backbone.text.length == 24 and backbone.sites[0].text == 24
    own = sample(backbone, [job_of("dev")])[0].latents
    wanted = reference(flux_pipeline("dev"), backbone, [job_of("dev")], max_sequence_length=24)[0]
    assert torch.equal(own, wanted)
    assert load_backbone(folder, device="cpu", text_length=32).text.length == 32

    say(max_sequence_length=513)
    with pytest.raises(UsageError, match="T5 cannot read 513 tokens"):
        load_backbone(folder, device="cpu")
    say(max_sequence_length="many")
    with pytest.raises(WeightsError, match="max_sequence_length is 'many', not a whole number"):
        load_backbone(folder, device="cpu")
    say(spid_family="pocket")
    with pytest.raises(WeightsError, match="unknown family 'pocket'"):
        load_backbone(folder, device="cpu")


def test_what_u_nets_do_not_take():
    for option in (
        {"quantize": "nf4"},
        {"text_length": 128},
        {"group_offload": True},
    ):
        with pytest.raises(UsageError, match=f"takes no {next(iter(option))}"):
            load_backbone(tiny_folder("sd1"), device="cpu", **option)


def test_jobs_that_cannot_be_sampled():
    def refused(kind, match, **changes):
        with pytest.raises(UsageError, match=match):
            sample(flux_backbone(kind), [job_of(kind, **changes)])

    refused("dev", "72x64 pixels.*multiples of 16", width=72)
    refused("dev", "0x64 pixels", width=0)
    refused("schnell", "takes no guidance", guidance=3.5)
    refused("dev", "negative prompt only in a pass of its own", negative_prompt="the beach")
    refused("schnell", "negative prompt only in a pass of its own", negative_prompt="the beach")
    from tiny import tiny_backbone

    with pytest.raises(UsageError, match="no guidance beside"):
        sample(tiny_backbone("sd1"), [job_of("dev", true_cfg=2.0)])
