"""Several people in one picture: names in prompts, regions, and what attention methods do with them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from command import Spid
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from people import somebody
from PIL import Image
from tiny import tiny_backbone, tiny_folder
from tiny_flux import flux_backbone

from methods.backbone.noise import make_scheduler
from methods.errors import UsageError
from methods.hooks import Identity, Job, RowLayout, StepInfo
from methods.images import read_metadata
from methods.pidiff.method import PIDiff
from methods.prompts import cast, expand, literal, named, placeholders
from methods.pulid.method import Pulid
from methods.regions import Region
from methods.request import request_of
from methods.sampling import initial_noise, sample
from methods.spatialid.masks import gaussian_prior
from methods.spatialid.method import SpatialID
from methods.together import Together, alone, attach
from methods.uniform.method import Uniform
from spatialid_cli.prompt_file import PromptLine
from spatialid_cli.request import collect_regions
from spatialid_cli.sampling import rows_of

LEFT, RIGHT = Region((0, 0, 0.5, 1)), Region((0.5, 0, 1, 1))
HINTS = {"anna": ("a.png",), "ben": ("b.png",)}


def stranger(name: str, seed: int, region: Region | None) -> Identity:
    generator = torch.Generator().manual_seed(seed)
    return Identity(name, F.normalize(torch.randn(512, generator=generator), dim=0), region=region)


def pair(*regions: Region | None) -> Identity:
    members = tuple(stranger(f"p{place}", place, region) for place, region in enumerate(regions))
    return Identity("+".join(one.name for one in members), members=members)


# --- words ---------------------------------------------------------------------------------------------


def test_people_are_called_by_name() -> None:
    names = ("anna", "ben")
    assert expand("{anna} and the {ben}, {{x}}", names=names) == "a person and the person, {x}"
    assert expand("{anna} at the sea", "V", names) == "a V at the sea"
    assert named("{ben}, {anna}, {ben}", names) == ("ben", "anna") and named("{{anna}}", names) == ()
    assert cast("{ben} and {anna}", names) == ["ben+anna"] and cast("a {person}", names) == ["anna", "ben"]
    assert cast("{anna}", names) == ["anna"] and cast("a dog", ()) == []
    words = {"person": "woman", "other": "artist"}
    assert expand("{person} and a {other}, {other}", words=words) == "a woman and a artist, an artist"
    assert placeholders("{{x}} {b} {a} {b}") == ("b", "a")
    assert expand(literal("a {b}")) == "a {b}"
    with pytest.raises(UsageError, match=r"calls people by name and says \{person\}"):
        named("{anna} and a {person}", names)
    with pytest.raises(UsageError, match=r"unknown placeholder \{cleo\}"):
        expand("{cleo}", names=names)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "anna shares a picture and has no region"),
        ({"regions": {"anna": (0, 0, 0.5, 1)}}, "ben shares a picture"),
        ({"regions": {"anna": (0.5, 0, 0.5, 1)}, "masks": {"ben": "b.png"}}, "region of anna is empty"),
        ({"regions": {"anna": (0, 0, 1, 1)}, "masks": {"anna": "b.png"}}, "a region and a mask"),
        ({"regions": {"ann": (0, 0, 1, 1)}}, "Did you mean 'anna'"),
        ({"regions": {"anna": (0, 0, 2, 1)}}, "regions"),
        ({"regions": {"anna": "0,0,1,1"}}, "regions is"),
    ],
)
def test_people_who_share_a_picture_have_regions(given: dict[str, object], message: str) -> None:
    asked = {"prompts": "{anna} and {ben}", "references": HINTS}
    with pytest.raises(UsageError, match=message):
        request_of({**asked, **given})
    request_of({**asked, "regions": {"anna": [0, 0, 0.5, 1]}, "masks": {"ben": "right.png"}})


def test_regions_are_four_shares() -> None:
    assert collect_regions(["anna=0,0,.5,1"]) == {"anna": (0, 0, 0.5, 1)}
    for wrong in ("anna=0,0,1", "anna=0,0,1,x", "anna=0,0,1,1.5", "anna=0,0,1,nan", "0,0,1,1"):
        with pytest.raises(UsageError, match="--region"):
            collect_regions([wrong])


def test_people_together_have_one_row_for_each_prompt_and_seed() -> None:
    lines = [PromptLine("a {person}"), PromptLine("{anna} and {ben}"), PromptLine("{ben}")]
    rows = [(row.identity, row.line, row.seed) for row in rows_of(lines, ["anna", "ben"], 5, 2)]
    assert rows == [
        (who, line, seed)
        for who, line in [("anna", 0), ("ben", 0), ("ben", 2), ("anna+ben", 1)]
        for seed in (5, 6)
    ]


# --- grids ---------------------------------------------------------------------------------------------


def test_a_region_on_a_grid_is_diffusers_mask(tmp_path: Path) -> None:
    drawn = Image.new("L", (50, 40))
    drawn.paste(255, (5, 4, 30, 40))
    drawn.save(tmp_path / "mask.png")
    region = Region.drawn(tmp_path / "mask.png")
    assert region.box == pytest.approx((0.1, 0.1, 0.6, 1.0))
    mask = IPAdapterMaskProcessor().preprocess(drawn, height=64, width=96)
    assert torch.equal(region.at(96, 64), mask[0, 0])
    expected = IPAdapterMaskProcessor.downsample(mask[0], 1, 8 * 12, 1)[0, :, 0]
    assert torch.equal(region.on((8, 12), 96, 64), expected)
    assert LEFT.at(8, 4).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 4
    Image.new("L", (8, 8), 127).save(tmp_path / "black.png")
    with pytest.raises(UsageError, match="black all over"):
        Region.drawn(tmp_path / "black.png")


def test_the_prior_stands_in_the_middle_of_the_region() -> None:
    whole = gaussian_prior(9, 9, 0.3)
    half = gaussian_prior(9, 17, 0.3, (0, 0, 0.5, 1))
    torch.testing.assert_close(half[:, :9], whole)
    assert half[:, 9:].max() < half[4, 8]


# --- methods -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_uniform_is_diffusers_with_masks(family: str) -> None:
    """Two people with `ip_adapter_masks`, within 64 units in the last place of the largest latent.

    diffusers adds the people to the text one after the other, we add their sum.
    """
    backbone = tiny_backbone(family)
    method = Uniform.untrained(backbone, seed=7)
    group = pair(LEFT, Region((0.4, 0.25, 1, 1)))
    job = Job("photo of the person", 64, 48, 5.0, seed=3, steps=4, identity=group, id_weight=0.8)
    pipeline_class = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipeline = pipeline_class.from_pretrained(tiny_folder(family), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler("ddim", backbone.noise.config)
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in method.adapter.state_dict().items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    pipeline.load_ip_adapter(nested, subfolder="", weight_name="", image_encoder_folder=None)
    pipeline.set_ip_adapter_scale([[0.8, 0.8]])
    own = torch.stack([one.embedding for one in group.members])
    masks = torch.stack([one.region.at(64, 48) for one in group.members])[None]
    expected = pipeline(
        job.prompt,
        width=64,
        height=48,
        guidance_scale=5.0,
        num_inference_steps=4,
        latents=initial_noise(job, backbone)[None],
        output_type="latent",
        ip_adapter_image_embeds=[torch.stack([torch.zeros_like(own), own])],
        cross_attention_kwargs={"ip_adapter_masks": [masks]},
    ).images[0]
    [result] = sample(backbone, [job], method, scheduler="ddim")
    allowed = 64 * torch.finfo(torch.float32).eps * expected.abs().max().item()
    torch.testing.assert_close(result.latents, expected, rtol=0, atol=allowed)
    swapped = replace(group, members=group.members[::-1])
    [other] = sample(backbone, [replace(job, identity=swapped)], method, scheduler="ddim")
    torch.testing.assert_close(other.latents, expected, rtol=0, atol=allowed)  # their order says nothing
    [first] = sample(backbone, [replace(job, identity=group.members[0])], method, scheduler="ddim")
    assert (first.latents - expected).abs().max() > 1e-3


@torch.no_grad()
def test_every_method_adds_each_person_inside_their_region() -> None:
    """What is added at a site or block is the sum of what each person alone adds, masked."""
    faces = replace(somebody(1), region=LEFT), replace(somebody(2), region=RIGHT)
    made = {
        "uniform": Uniform.untrained(tiny_backbone("sd1")),
        "spatialid": SpatialID.untrained(tiny_backbone("sd1")),
        "pulid": Pulid.untrained(flux_backbone("dev")),
        "spatialid on flux": SpatialID.untrained(flux_backbone("dev")),
    }
    for name, method in made.items():
        flux = name in ("pulid", "spatialid on flux")
        backbone = flux_backbone("dev") if flux else tiny_backbone("sd1")
        job = Job("", 64, 64, 3.0, identity=Identity("both", members=faces), steps=4)
        rows = RowLayout(1, guided=not flux)
        for level in (0.9, 0.5, 0.1):  # the three phases of spatialid
            step = StepInfo(rows=rows, latent_size=(8, 8), index=1, count=4, time=level, noise_level=level)
            parts = [method.attach(backbone, [one]) for one in alone(job)]
            together = attach(method, backbone, [job])
            assert isinstance(together, Together)
            for one in (*parts, together):
                one.on_step(step)
            for site in backbone.sites:
                side = site.grid(8, 8)[0]
                if flux:
                    hidden = torch.randn(rows.total, side * side, site.width)
                    added = [one.after_block(site, step, hidden) for one in (*parts, together)]
                elif site.context_width is None:
                    continue
                else:
                    query = torch.randn(rows.total, site.heads, side * side, site.head_dim)
                    output = torch.zeros(rows.total, side * side, site.width)
                    added = [one.image_attention(site, step, query, output) for one in (*parts, together)]
                if added[2] is None:
                    assert added[0] is added[1] is None
                    continue
                left, right = (region.on((side, side), 64, 64)[None, :, None] for region in (LEFT, RIGHT))
                assert torch.equal(added[2], added[0] * left + added[1] * right), name
                assert added[2].abs().max() > 0


def test_pictures_of_one_two_and_nobody_mix_in_a_request() -> None:
    backbone, method = tiny_backbone("sd1"), Uniform.untrained(tiny_backbone("sd1"))
    group = pair(LEFT, RIGHT)
    jobs = [
        Job("photo", 64, 64, 3.0, seed=seed, steps=2, identity=who)
        for seed, who in enumerate(
            [None, stranger("a", 5, None), group, pair(RIGHT, LEFT), stranger("a", 5, LEFT)]
        )
    ]
    apart = sample(backbone, jobs, method, batch_size=1)
    for one, other in zip(apart, sample(backbone, jobs, method, batch_size=5), strict=True):
        torch.testing.assert_close(one.latents, other.latents, rtol=1e-4, atol=1e-4)
    everywhere = [replace(job, identity=stranger("a", 5, Region())) for job in jobs[1:2]]
    [same] = sample(backbone, everywhere, method)
    torch.testing.assert_close(same.latents, apart[1].latents, rtol=1e-5, atol=1e-5)


def test_other_methods_refuse_in_one_line() -> None:
    backbone = tiny_backbone("sd1")
    method = PIDiff.untrained(backbone)
    for identity, words in ((pair(LEFT, RIGHT), "several people"), (stranger("a", 1, LEFT), "a person to")):
        job = Job("photo", 64, 64, 3.0, steps=2, identity=identity)
        with pytest.raises(UsageError, match=f"pidiff cannot confine {words}") as caught:
            sample(backbone, [job], method)
        assert "uniform, pulid, spatialid" in caught.value.hint


def test_generate_shows_two_people_and_makes_the_picture_again(spid: Spid, tmp_path: Path) -> None:
    for number in (1, 2):
        shutil.copy(somebody(number).pictures[0], tmp_path / f"{number}.png")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    mask.save(tmp_path / "right.png")
    people = ("--id", f"anna={tmp_path / '1.png'}", "--id", f"ben={tmp_path / '2.png'}")
    places = ("--region", "anna=0,0,.5,1", "--mask", f"ben={tmp_path / 'right.png'}")
    words = ("--prompt", "{anna} and {ben}", "--prompt", "{ben}")
    asked = (*words, "--steps", "2", "--width", "64", "--height", "64")
    methods = ("--method", "spatialid", "--compare", "none", "--save-masks")
    made = spid("generate", *people, *places, *asked, *methods, "--output", tmp_path / "out", "--json")
    assert made.code == 0, made.err
    records = json.loads(made.out)["pictures"]
    assert [(one["identity"], one["method"]) for one in records] == [
        ("ben", "none"), ("ben", "spatialid"), ("anna+ben", "none"), ("anna+ben", "spatialid"),
    ]  # fmt: skip
    picture = tmp_path / "out" / records[3]["file"]
    job = read_metadata(picture)["spid"]
    assert [one["identity"] for one in job["people"]] == ["anna", "ben"]
    assert job["people"][0]["region"] == {"box": [0, 0, 0.5, 1]}
    assert job["people"][1]["region"]["path"].endswith("right.png")
    assert (
        len([one for one in (tmp_path / "out" / "masks").iterdir() if one.stem.startswith(picture.stem)]) > 1
    )
    for record in records[2:]:
        again = spid(
            "generate", "--from", tmp_path / "out" / record["file"], "--output", tmp_path / "again", "--json"
        )
        assert again.code == 0 and json.loads(again.out)["pictures"][0]["same_pixels"], again.err
        assert "not as it was" not in again.err
    mask.point(lambda level: 255 - level).save(tmp_path / "right.png")
    other = spid("generate", "--from", picture, "--output", tmp_path / "other")
    assert other.code == 2 and "mask of ben" in other.err
    refused = spid("generate", *people, *asked, "--method", "spatialid", "--output", tmp_path / "no")
    assert refused.code == 2 and "anna shares a picture and has no region" in refused.err
