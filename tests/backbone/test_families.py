"""A family that comes from another package: found by its pipeline class, sampled by the same loop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from installed import Install, install  # noqa: F401
from safetensors.torch import save_file
from tiny import Hooked, tiny_folder

from methods.backbone.backbone import Backbone
from methods.backbone.load import load_backbone
from methods.errors import UsageError, WeightsError
from methods.hooks import Attachment, Conditioning, Identity, Job, Pass, Site, StepInfo
from methods.registry import check_backbone, method_info
from methods.sampling import initial_noise, sample

JOB = Job("photo of the person", 64, 48, guidance=3.0, seed=3, steps=4, identity=Identity("a"))


@pytest.fixture
def toy(install: Install, tmp_path: Path) -> Backbone:  # noqa: F811
    """The toy pipeline in a folder, loaded through its entry point."""
    code = Path(__file__).with_name("toy_family.py").read_text(encoding="utf-8")
    install(
        "toy",
        {"spid.families": {"toy": "toy_family_of_a_package:FAMILY"}},
        {"toy_family_of_a_package.py": code},
    )
    folder = tmp_path / "pipeline"
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.copytree(tiny_folder("sd1") / part, folder / part)
    (folder / "transformer").mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ToyPipeline"}))
    from toy_family_of_a_package import ToyTransformer

    torch.manual_seed(0)
    save_file(ToyTransformer().state_dict(), folder / "transformer" / "model.safetensors")
    return load_backbone(folder, device="cpu")


class Louder(Attachment):
    """h <- h + alpha * h at every site with text: a training-free method in one line."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs

    def on_step(self, step: StepInfo) -> None:
        self.weights = step.weights(self.jobs)

    def image_attention(
        self, site: Site, step: Pass, query: torch.Tensor, output: torch.Tensor
    ) -> torch.Tensor:
        h, w = site.grid(*step.latent_size)
        assert site.kind == "joint" and query.shape[2] == output.shape[1] == h * w
        return output * output.new_tensor(self.weights).view(-1, 1, 1)


def test_the_loop_follows_the_flow_of_a_family_it_never_met(toy: Backbone) -> None:
    """Against the same steps written out: Euler on z' = z + (sigma' - sigma) v with guidance on v."""
    [result] = sample(toy, [JOB])
    assert toy.family == "toy" and result.status == "ok" and result.picture.size == (64, 48)
    x = initial_noise(JOB, toy)[None]
    negative, prompt = (toy.text.encode(text).hidden for text in ("", JOB.prompt))
    sigmas = torch.linspace(1, 0.25, 4)
    sigmas = torch.cat([3 * sigmas / (1 + 2 * sigmas), torch.zeros(1)])
    with torch.no_grad(), toy.denoiser.attached(Attachment()) as predict:
        for now, then in zip(sigmas[:-1], sigmas[1:], strict=True):
            without, with_text = (
                predict(x, float(now), Conditioning(text[None], text[None])) for text in (negative, prompt)
            )
            x = x + (then - now) * (without + JOB.guidance * (with_text - without))
    torch.testing.assert_close(result.latents[None], x, rtol=1e-4, atol=1e-5)


def test_a_training_free_method_works_at_its_joint_sites(toy: Backbone) -> None:
    [plain] = sample(toy, [JOB])
    [louder] = sample(toy, [JOB], Hooked(Louder([JOB])))
    silent = Job(**{**JOB.__dict__, "id_weight": 0.0})
    [none] = sample(toy, [silent], Hooked(Louder([silent])))
    assert not torch.equal(louder.latents, plain.latents)
    assert torch.equal(none.latents, plain.latents)


def test_methods_that_need_more_are_refused_in_one_line(toy: Backbone) -> None:
    check_backbone(method_info("none"), toy)
    with pytest.raises(UsageError, match="'facewise' does not run on toy backbones: they offer no text_keys"):
        check_backbone(method_info("facewise"), toy)
    with pytest.raises(UsageError, match="multiples of 16"):
        sample(toy, [Job("photo", 72, 64, guidance=3.0)])


def test_a_pipeline_that_no_family_loads_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AudioPipeline"}))
    with pytest.raises(WeightsError, match="is a AudioPipeline.*StableDiffusionPipeline"):
        load_backbone(tmp_path)
