"""Defects that once were reported and whose tests have no home beside a part of the project.

Most defects are tested where their part is: numbers in tests/cli/test_bounds.py, text files in
tests/test_textfile.py, words in tests/test_shown_words.py, pictures in tests/test_images.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command import Spid
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny import tiny_folder

from benchmarks.people import gather
from benchmarks.store import RunFolder
from benchmarks.suites.types import Suite, SuiteIdentity, SuitePrompt, SuiteSet
from methods.backbone.source import own_face_encoder
from methods.errors import MissingWeightsError
from methods.images import read_metadata


def test_an_output_that_cannot_be_written_is_told_before_anything_is_fitted(
    spid: Spid, tmp_path: Path, pocket_weights: Path
) -> None:
    assert spid("render", "--person", "1", "--size", "128", "--output", tmp_path / "people").code == 0
    (tmp_path / "file").write_text("in the way")
    cache = Path(os.environ["SPID_CACHE"])

    def fits() -> set[Path]:
        return {path for path in cache.rglob("*") if "fit" in path.as_posix().removeprefix(str(cache))}

    before = fits()
    for command in (
        ["generate", "--method", "id-ea", "--prompt", "a {person}"],
        ["export", "--format", "a1111"],
    ):
        name = "word.pt" if command[0] == "export" else "out"
        outcome = spid(*command, "--reference", tmp_path / "people" / "person-0001.png",
                       "--output", tmp_path / "file" / name)  # fmt: skip
        assert outcome.code in (1, 2) and str(tmp_path / "file") in outcome.err, outcome.err
        assert "--debug" not in outcome.err
        assert fits() == before


def test_a_picture_of_a_camera_with_several_frames_is_a_reference_of_a_run(tmp_path: Path) -> None:
    one, two = (Image.new("RGB", (64, 64), colour) for colour in ("teal", "red"))
    one.save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=[two])
    anna = SuiteIdentity("anna", picture=str(tmp_path / "camera.jpg"))
    suite = Suite("s", "1", "", (SuiteSet("all", (anna,), (SuitePrompt("p", "a {person}"),)),))
    folder = RunFolder(tmp_path / "run")
    with folder.opened():
        [person] = gather(suite, folder)["all"]
    assert not person.problem and person.reference is not None and person.reference.endswith(".jpg")


@pytest.mark.parametrize("part", ["loop", "method"])
def test_other_pixels_after_a_change_of_code_are_explained_by_it(
    spid: Spid, tmp_path: Path, part: str
) -> None:
    asked = ("--backbone", tiny_folder("sd1"), "--method", "none", "--prompt", "photo", "--steps", "1")
    made = spid("generate", *asked, "--width", "64", "--height", "64", "--output", tmp_path / "out", "--json")
    assert made.code == 0, made.err
    picture = tmp_path / "out" / made.json["pictures"][0]["file"]
    job = read_metadata(picture)["spid"]
    job["code"][part] = "0" * len(job["code"][part])
    notes = PngInfo()
    notes.add_text("spid", json.dumps(job))
    with Image.open(picture) as given:
        other = given.convert("RGB")
    other.putpixel((0, 0), (1, 2, 3))
    other.save(tmp_path / "older.png", pnginfo=notes)
    again = spid("generate", "--from", tmp_path / "older.png", "--output", tmp_path / "again")
    assert again.code == 1 and "code" in again.err, again.err


def test_a_mistyped_backbone_is_not_taken_for_one_without_a_face_encoder() -> None:
    with pytest.raises(MissingWeightsError, match="No backbone at .*pokcet") as caught:
        own_face_encoder("pokcet")
    assert caught.value.hint == "Did you mean 'pocket'?"
