"""Several photographs of one person: files, folders, the mean of their embeddings, strangers, fits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Spid
from people import portrait, somebody
from PIL import Image
from tiny import tiny_backbone

from benchmarks.suites.read import read_suite
from methods.errors import FaceError, UsageError
from methods.faces import load_encoder
from methods.fitting.method import identity_key
from methods.fitting.photo import crop, photo_latents
from methods.hooks import Identity
from methods.identify import identify, likenesses, mean_embedding, strangers
from methods.images import load_picture, read_metadata
from methods.photographs import MOST, people, photographs
from methods.pocket.world import render, sample_context, sample_person
from methods.textual_inversion.method import TextualInversion
from methods.training.sources import CAPTION, _read_metadata
from methods.uniform.config import Config
from methods.uniform.method import Uniform

ENCODER = load_encoder("pocket")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of pocket person 3, by name 0.png to 2.png, and a text that is none."""
    made = tmp_path_factory.mktemp("anna")
    for number in range(3):
        looks = {"style": "photo", "accessory": "none", "action": "none", "pose": "front"}
        shown = render(sample_person(3), sample_context(np.random.default_rng(number), **looks), 128)
        Image.fromarray(shown.pixels).save(made / f"{number}.png")
    (made / "notes.txt").write_text("no picture")
    return made


def test_a_folder_stands_for_its_pictures_and_each_counts_once(folder: Path) -> None:
    files = [str(folder / f"{number}.png") for number in range(3)]
    assert list(photographs(folder)) == list(photographs([files[0], folder])) == files
    assert people(folder) == {folder.name: tuple(files)}
    assert people({"anna": files[0]}) == {"anna": (files[0],)}
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(UsageError, match="holds no photographs"):
        photographs(folder / "empty")
    with pytest.raises(UsageError, match="101 photographs"):
        photographs([f"{number}.png" for number in range(MOST + 1)])


def test_the_embedding_is_the_normalised_mean_of_normalised_ones(folder: Path) -> None:
    files = photographs(folder)
    alone = [identify("anna", file, ENCODER) for file in files]
    together = identify("anna", files, ENCODER)
    mean = torch.stack([one.embedding for one in alone]).double().mean(0)
    assert torch.allclose(together.embedding.double(), mean / mean.norm(), atol=1e-7)
    assert together.pictures == files and len(together.faces) == 3
    assert together.face.box.tolist() == alone[0].face.box.tolist()
    assert alone[0].faces == () and torch.equal(
        identify("a", [files[0]], ENCODER).embedding, alone[0].embedding
    )
    face = alone[0].face
    with pytest.raises(FaceError, match="nothing in common"):
        mean_embedding("anna", [face, replace(face, embedding=-face.embedding)])


def test_a_stranger_among_the_photographs_is_told_of(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(portrait(1).pixels).save(other)
    mixed = identify("anna", [*photographs(folder), other], ENCODER)
    alike = likenesses(mixed)
    assert strangers(mixed) == [str(other)] and alike[3] == min(alike)
    one, two = (ENCODER.similarity(mixed.faces[3], face) for face in (mixed.faces[0], mixed.faces[2]))
    assert min(one, two) <= alike[3] <= max(one, two, ENCODER.similarity(mixed.faces[3], mixed.faces[1]))
    assert strangers(identify("anna", folder / "0.png", ENCODER)) == []


def test_uniform_may_read_the_tokens_of_each_photograph(folder: Path) -> None:
    """As diffusers with several pictures: their tokens side by side, under guidance as many of nobody."""
    from diffusers import StableDiffusionPipeline
    from tiny import tiny_folder

    from methods.backbone.noise import make_scheduler
    from methods.hooks import Job
    from methods.sampling import initial_noise, sample

    backbone = tiny_backbone("sd1")
    together = identify("anna", photographs(folder), ENCODER)
    method = Uniform.untrained(backbone, Config(photographs="tokens"), seed=7)
    mean = Uniform.untrained(backbone, seed=7)
    assert method.tokens(together, backbone)["tokens"].shape == (12, 32)
    assert mean.tokens(together, backbone)["tokens"].shape == (4, 32)
    job = Job("photo of the person", 64, 64, 5.0, seed=3, steps=4, identity=together)
    single = replace(job, identity=identify("anna", folder / "0.png", ENCODER))
    assert method.batch_key(job) != method.batch_key(single) and mean.batch_key(job) == mean.batch_key(single)

    pipeline = StableDiffusionPipeline.from_pretrained(tiny_folder("sd1"))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = make_scheduler("ddim", backbone.noise.config)
    nested: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in method.adapter.state_dict().items():
        part, _, rest = key.partition(".")
        nested[part][rest] = value
    pipeline.load_ip_adapter(nested, subfolder="", weight_name="", image_encoder_folder=None)
    own = torch.stack([torch.from_numpy(face.embedding) for face in together.faces])
    expected = pipeline(
        job.prompt, width=64, height=64, guidance_scale=5.0, num_inference_steps=4, output_type="latent",
        latents=initial_noise(job, backbone)[None],
        ip_adapter_image_embeds=[torch.stack([torch.zeros_like(own), own])],
    ).images[0]  # fmt: skip
    made = {name: sample(backbone, [job], one, scheduler="ddim")[0] for name, one in
            {"tokens": method, "mean": mean}.items()}  # fmt: skip
    torch.testing.assert_close(
        made["tokens"].latents, expected, rtol=0, atol=16 * 1.2e-7 * float(expected.abs().max())
    )
    assert (made["mean"].latents - expected).abs().max() > 1e-3


def test_fits_use_all_photographs_each_about_its_own_face(folder: Path) -> None:
    backbone = tiny_backbone("sd1")
    together = identify("anna", photographs(folder), ENCODER)
    latents = photo_latents(backbone, together)
    for number, file in enumerate(together.pictures):
        alone = photo_latents(backbone, identify("anna", file, ENCODER))
        torch.testing.assert_close(latents[number : number + 1], alone, rtol=1e-4, atol=1e-5)
    wide = crop(load_picture(together.pictures[1]), (32, 64), together.faces[1].box)
    assert wide.size == (32, 64)
    method = TextualInversion()
    described = method.describe_fit(together, backbone)
    assert len(described["pictures"]) == len(described["face"]) == 3
    alone = method.describe_fit(identify("anna", folder / "0.png", ENCODER), backbone)
    assert alone["face"] == described["face"][0]
    assert identity_key(together) != identity_key(identify("anna", folder / "0.png", ENCODER))
    assert "face" in method.describe_fit(Identity("a", None, somebody(1).pictures), backbone)


def test_generate_records_every_photograph_and_makes_the_picture_again(
    spid: Spid, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(portrait(1).pixels).save(other)
    people = ("--id", f"anna={folder}", "--id", f"anna={other}")
    asked = ("--method", "uniform", "--prompt", "a photo of a {person}", "--steps", "2")
    made = spid("generate", *people, *asked, "--output", tmp_path / "out", "--json")
    assert made.code == 0, made.err
    assert "the first of 4 photographs" in made.err and "look like somebody else" in made.err
    assert str(other) in made.err
    picture = tmp_path / "out" / json.loads(made.out)["pictures"][0]["file"]
    job = read_metadata(picture)["spid"]
    assert [Path(one["path"]).name for one in job["references"]] == ["0.png", "1.png", "2.png", "other.png"]
    assert [one.get("stranger", False) for one in job["references"]] == [False, False, False, True]
    assert job["reference"]["path"] == job["references"][0]["path"] and len(job["faces"]) == 4

    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    shutil.copy(other, moved)
    other.unlink()
    gone = spid("generate", "--from", picture, "--output", tmp_path / "gone")
    assert gone.code == 2 and "reference 4" in gone.err
    again = spid(
        "generate", "--from", picture, "--reference", moved, "--output", tmp_path / "again", "--json"
    )
    assert again.code == 0, again.err
    assert json.loads(again.out)["pictures"][0]["same_pixels"] and "not as it was" not in again.err
    (moved / "1.png").write_bytes((moved / "0.png").read_bytes())
    swapped = spid("generate", "--from", picture, "--reference", moved, "--output", tmp_path / "swapped")
    assert swapped.code == 2 and "1.png" in swapped.err


def test_a_suite_lists_several_photographs_of_a_person(spid: Spid, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "anna", dirs_exist_ok=True)
    (tmp_path / "suite.yaml").write_text(
        "name: own\ndescription: x\nsteps: 2\nmethods: [uniform]\nmetrics: [face_found]\n"
        "identities:\n  all:\n    - {picture: anna}\n    - {name: two, picture: [anna/1.png, anna/2.png]}\n"
        'prompts: {one: ["a photo of a {person}"]}\n'
    )
    (entries,) = (one.identities for one in read_suite(tmp_path / "suite.yaml").sets)
    assert [(one.name, 1 + len(one.more)) for one in entries] == [("anna", 3), ("two", 2)]
    made = spid("bench", "--suite", tmp_path / "suite.yaml", "--output", tmp_path / "run")
    assert made.code == 0, made.err
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["method"] == "uniform"]
    jobs = [read_metadata(tmp_path / "run" / row["picture"])["spid"] for row in rows]
    assert [len(job["references"]) for job in jobs] == [3, 2]
    assert all((tmp_path / "run" / one["path"]).is_file() for job in jobs for one in job["references"])
    again = spid("generate", "--from", tmp_path / "run" / rows[0]["picture"], "--output", tmp_path / "again")
    assert again.code == 0, again.err


def test_a_folder_for_every_person_is_a_training_set(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "anna")
    (tmp_path / "anna" / "1.txt").write_text("a woman\nin the rain\n")
    (tmp_path / ".hidden").mkdir()
    records = _read_metadata(tmp_path)
    assert [one["prompt"] for one in records] == [CAPTION, "a woman in the rain", CAPTION]
    assert {one["identity"] for one in records} == {"anna"} and records[0]["file_name"] == "anna/0.png"
