"""`spid generate` from a real photograph, through dlib, on a tiny random Stable Diffusion."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command import Outcome, Spid
from PIL import Image
from tiny import tiny_pipeline

from methods.images import load_picture, read_metadata, save_png


class Studio(NamedTuple):
    """What the commands below are run on."""

    photo: Path
    backbone: Path
    adapter: Path

    def arguments(self, *more: str | Path) -> list[str | Path]:
        return [
            "generate", "--backbone", self.backbone, "--adapter", self.adapter, "--face-encoder", "dlib",
            "--steps", "2", *more,
        ]  # fmt: skip


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """The public-domain astronaut, a tiny pipeline, and an untrained adapter for dlib's 128 dimensions."""
    from skimage import data

    from methods.backbone.load import load_backbone
    from methods.uniform.adapter import UniformAdapter
    from methods.uniform.method import Uniform

    folder = tmp_path_factory.mktemp("studio")
    save_png(folder / "astronaut.png", Image.fromarray(data.astronaut()))
    backbone = load_backbone(tiny_pipeline(folder / "tiny", "sd1"), device="cpu")
    adapter = UniformAdapter.from_backbone(backbone.denoiser, embedding_dim=128)
    Uniform._ready(adapter, backbone, None).save(folder / "adapter")
    return Studio(folder / "astronaut.png", folder / "tiny", folder / "adapter")


@pytest.fixture
def make(spid: Spid, studio: Studio) -> Callable[..., Outcome]:
    def run(*more: str | Path) -> Outcome:
        return spid(*studio.arguments(*more))

    return run


def test_a_comparison_leaves_pictures_tables_and_a_sheet(
    make: Callable[..., Outcome], studio: Studio, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prompts = ["../../etc/passwd of a {person}", "a {person} | `on` [a](beach)"]
    flags = [flag for prompt in prompts for flag in ("--prompt", prompt)]
    outcome = make(
        "--reference", studio.photo, "--compare", "none,uniform", *flags, "--output", out, "--json"
    )
    assert outcome.code == 0, outcome.err
    answer = outcome.json
    assert [(p["method"], p["prompt"]) for p in answer["pictures"]] == [
        (method, prompt) for prompt in prompts for method in ("none", "uniform", "spatialid")
    ]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(picture["file"] for picture in answer["pictures"]), "sheet.png", "table.csv", "table.md"]
    )
    assert [picture["file"][:3] for picture in answer["pictures"]] == ["000"] * 3 + ["001"] * 3
    with (out / "table.csv").open(newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == [prompts[0]] * 3 + [prompts[1]] * 3
    assert "\\| \\`on\\` \\[a\\](beach)" in (out / "table.md").read_text()
    sheet = load_picture(out / "sheet.png")
    assert sheet.width > 4 * 256 and 2 * 256 < sheet.height < 3 * 256
    assert not list(tmp_path.glob("*passwd*"))


def test_a_picture_says_how_it_was_made_and_is_made_again_bit_for_bit(
    make: Callable[..., Outcome], spid: Spid, studio: Studio, tmp_path: Path
) -> None:
    made = make(
        "--id", f"mae={studio.photo}", "--prompt", "a {person}", "--negative-prompt", "dull", "--seed", "5",
        "--guidance", "3", "--scheduler", "euler", "--id-weight", "0.7", "--id-start", "0.4",
        "--set", "preset=F",
        "--output", tmp_path / "first", "--json",
    )  # fmt: skip
    picture = tmp_path / "first" / made.json["pictures"][0]["file"]
    metadata = read_metadata(picture)
    assert metadata["parameters"].startswith("a person\nNegative prompt: dull\nSteps: 2, Sampler: euler,")
    assert metadata["spid"]["identity"] == "mae"
    assert metadata["spid"]["method_options"]["preset"] == "F"
    assert "generate --from" in spid("show", picture).err

    again = spid("generate", "--from", picture, "--output", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    assert "the same pixels" in again.err and "warning" not in again.err
    (copy,) = (tmp_path / "again").glob("*.png")
    assert copy.read_bytes() == picture.read_bytes()


def test_from_refuses_a_changed_or_missing_reference_and_takes_a_moved_one(
    make: Callable[..., Outcome], spid: Spid, studio: Studio, tmp_path: Path
) -> None:
    photo = tmp_path / "me.png"
    shutil.copy(studio.photo, photo)
    made = make("--reference", photo, "--prompt", "a {person}", "--output", tmp_path / "first", "--json")
    picture = tmp_path / "first" / made.json["pictures"][0]["file"]

    photo.rename(tmp_path / "moved.png")
    missing = spid("generate", "--from", picture)
    assert (missing.code, missing.out) == (2, "")
    assert "me.png is not there" in missing.err and "--reference" in missing.err

    Image.new("RGB", (64, 64)).save(photo)
    changed = spid("generate", "--from", picture)
    assert changed.code == 2 and "is not the reference" in changed.err

    moved = spid(
        "generate", "--from", picture, "--reference", tmp_path / "moved.png", "--output", tmp_path / "again"
    )
    assert moved.code == 0 and "the same pixels" in moved.err

    other = spid("generate", "--from", picture, "--steps", "9", "--set", "preset=A")
    assert other.code == 2 and "--set, --steps" in other.err


@pytest.mark.parametrize(
    "job", [None, {"kind": "render"}, {"method": "none"}, {"method": "none", "seed": "import os"}]
)
def test_from_refuses_a_picture_without_a_sound_job(spid: Spid, tmp_path: Path, job: Any) -> None:
    save_png(tmp_path / "p.png", Image.new("RGB", (8, 8)), job=job)
    outcome = spid("generate", "--from", tmp_path / "p.png")
    assert outcome.code == 2 and "p.png" in outcome.err


def test_lines_of_a_prompt_file_have_their_own_settings(make: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\na cat --d 9 --w 64 --h 32 --s 3 --l 2 --n dog\na dog\n")
    out = tmp_path / "out"
    outcome = make("--method", "none", "--prompt-file", file, "--num-images", "2", "--output", out, "--json")
    assert outcome.code == 0, outcome.err
    rows = [(p["prompt"], p["seed"], p["height"], p["steps"]) for p in outcome.json["pictures"]]
    assert rows == [
        ("a cat", 0, 64, 2), ("a cat", 1, 64, 2), ("a cat", 9, 32, 3), ("a cat", 10, 32, 3),
        ("a dog", 0, 64, 2), ("a dog", 1, 64, 2),
    ]  # fmt: skip


def test_a_line_that_the_backbone_cannot_sample_is_told_before_the_first_is_made(
    make: Callable[..., Outcome], tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a cat\na dog --s 2\na bird --w 65\n")
    outcome = make("--method", "none", "--prompt-file", file, "--output", tmp_path / "out")
    assert outcome.code == 2 and "65x64 pixels cannot be sampled" in outcome.err
    assert not (tmp_path / "out").exists()


def test_several_people_share_one_baseline(
    make: Callable[..., Outcome], studio: Studio, tmp_path: Path
) -> None:
    outcome = make(
        "--id", f"a={studio.photo}", "--id", f"b={studio.photo}", "--prompt", "x", "--compare", "none",
        "--method", "uniform", "--output", tmp_path / "out", "--json",
    )  # fmt: skip
    assert [(p["identity"], p["method"]) for p in outcome.json["pictures"]] == [
        ("a", "none"), ("a", "uniform"), ("b", "none"), ("b", "uniform"),
    ]  # fmt: skip


def test_masks_are_saved_beside_the_pictures(
    make: Callable[..., Outcome], studio: Studio, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    outcome = make("--reference", studio.photo, "--prompt", "x", "--save-masks", "--output", out, "--json")
    stem = Path(outcome.json["pictures"][0]["file"]).stem
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{stem}.npz", f"{stem}.png"]


@pytest.mark.parametrize(
    ("flags", "error", "hint"),
    [
        (["--set", "presett=B"], "'presett'", "Did you mean 'preset'?"),
        (["--id-start", "0.8", "--id-end", "0.2"], "0.8", "id-start"),
        (["--scheduler", "eular"], "'eular'", "Did you mean 'euler'?"),
        (["--face-select", "biggest"], "biggest", ""),
        (["--width", "60"], "60x64", "multiples of 8"),
        (["--device", "tpu"], "'tpu'", "Did you mean 'cpu'?"),
        (["--prompt", "a {persn}"], "{persn}", "{person}"),
    ],
)
def test_misuse_leaves_nothing_behind(
    make: Callable[..., Outcome], studio: Studio, tmp_path: Path, flags: list[str], error: str, hint: str
) -> None:
    out = tmp_path / "out"
    outcome = make("--reference", studio.photo, "--prompt", "x", "--output", out, *flags)
    first, *rest = outcome.err.strip().splitlines()
    assert outcome.code == 2 and first.startswith("error: ")
    assert error in first and hint in " ".join(rest)
    assert not out.exists()


def test_a_picture_without_a_face_is_refused_before_sampling(
    make: Callable[..., Outcome], tmp_path: Path
) -> None:
    Image.new("RGB", (200, 200), "olive").save(tmp_path / "wall.png")
    outcome = make("--reference", tmp_path / "wall.png", "--prompt", "x", "--output", tmp_path / "out")
    assert outcome.code == 2 and "wall.png" in outcome.err
    assert "sampling" not in outcome.err and not (tmp_path / "out").exists()


def test_an_interrupt_keeps_whole_pictures_only(
    make: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import methods.sampling as sampling

    original, calls = sampling.to_picture, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(sampling, "to_picture", interrupted)
    out = tmp_path / "out"
    outcome = make("--method", "none", "--prompt", "x", "--num-images", "3", "--output", out)
    assert outcome.code == 130 and outcome.err.endswith("interrupted\n")
    (kept,) = out.iterdir()
    assert json.loads(Image.open(kept).info["spid"])["seed"] == 0


def test_a_photograph_for_the_pocket_models_is_answered_with_the_ways_on(
    spid: Spid, studio: Studio, pocket_weights: Path, tmp_path: Path
) -> None:
    outcome = spid("generate", "--reference", studio.photo, "--prompt", "x", "--output", tmp_path / "out")
    assert outcome.code == 2
    assert "astronaut.png" in outcome.err and "spid render" in outcome.err and "--backbone" in outcome.err
    assert not (tmp_path / "out").exists()
