"""`spid generate --style-from --style-levels`: recorded, reproduced, refused where it makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Spid
from people import portrait
from PIL import Image

from methods.backbone.load import load_backbone
from methods.images import read_metadata
from methods.pidiff.method import PIDiff


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("people")
    for number in (3, 4):
        Image.fromarray(portrait(number, 256).pixels).save(folder / f"{number}.png")
    return folder / "3.png", folder / "4.png"


@pytest.fixture(scope="module")
def adapter(pocket_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter of the pocket backbone with an encoder of its own."""
    folder = tmp_path_factory.mktemp("adapter")
    PIDiff.untrained(load_backbone("pocket", device="cpu")).save(folder)
    return folder


def test_style_is_recorded_and_made_again(
    spid: Spid, people: tuple[Path, Path], adapter: Path, tmp_path: Path
) -> None:
    common = ["generate", "--method", "pidiff", "--reference", people[0], "--prompt", "a photo of a {person}"]
    common += ["--adapter", adapter, "--steps", "2", "--set", "delayed_start=0", "--json"]
    pictures = []
    for name, own in (("plain", []), ("styled", ["--style-from", people[1], "--style-levels", "fine"])):
        made = spid(*common, *own, "--output", tmp_path / name)
        assert made.code == 0, made.err
        pictures.append(tmp_path / name / json.loads(made.out)["pictures"][0]["file"])
    plain, styled = (read_metadata(picture)["spid"] for picture in pictures)
    assert plain["method_options"]["style_from"] is None and "style_reference" not in plain
    assert styled["method_options"]["style_levels"] == "fine"
    assert styled["style_reference"]["path"] == str(people[1])
    assert Image.open(pictures[0]).tobytes() != Image.open(pictures[1]).tobytes()

    again = spid("generate", "--from", pictures[1], "--output", tmp_path / "again")
    assert again.code == 0 and "the same pixels" in again.err, again.err
    Image.fromarray(portrait(5, 256).pixels).save(people[1])
    changed = spid("generate", "--from", pictures[1], "--output", tmp_path / "changed")
    assert changed.code == 2 and "gave" in changed.err and not (tmp_path / "changed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "uniform", "--style-from", "mean"], "No such option: --style-from"),
        (["--method", "pidiff", "--style-levels", "0-3"], "nothing to take rows from"),
        (["--method", "pidiff", "--style-from", "nowhere.png"], "nowhere.png"),
        (["--method", "pidiff", "--style-from", "mean", "--style-levels", "9-3"], "backwards"),
    ],
)
def test_misuse(
    spid: Spid, people: tuple[Path, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = spid(
        "generate", "--reference", people[0], "--prompt", "a {person}", *arguments, "--output", tmp_path / "o"
    )
    assert done.code == 2 and message in done.err and not (tmp_path / "o").exists()
