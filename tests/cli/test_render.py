"""`spid render` and `spid show`: pocket people with their truth."""

from __future__ import annotations

from pathlib import Path

from command import Spid

from methods.images import load_picture, read_metadata
from methods.pocket.world import CELEBRITIES, FACTORS, Person, caption, sample_person
from methods.pocket.world import Context as WorldContext
from methods.pocket.world.looks import description


def test_a_person_is_rendered_with_the_truth_inside(spid: Spid, tmp_path: Path) -> None:
    outcome = spid("render", "--person", 3, "--size", 128, "--scene", "beach", "--output", tmp_path, "--json")
    (entry,) = outcome.json
    path = Path(entry["file"])
    truth = read_metadata(path)["spid"]
    assert outcome.code == 0 and path == tmp_path / "person-0003.png"
    assert load_picture(path).size == (128, 128)
    assert Person.from_dict(truth["person"]) == sample_person(3)
    context = WorldContext.from_dict(truth["context"])
    assert context.scene == "beach"
    assert truth["caption"] == caption(sample_person(3), context)
    x1, y1, x2, y2 = truth["box"]
    assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 128


def test_the_same_command_gives_the_same_bytes(spid: Spid, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        spid("render", "--person", 5, "--count", 3, "--size", 96, "--output", tmp_path / folder)
    names = ["person-0005.png", "person-0005-01.png", "person-0005-02.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_celebrity_is_found_whatever_the_spelling(spid: Spid, tmp_path: Path) -> None:
    outcome = spid("render", "--celebrity", "Mira-Solano", "--size", 64, "--output", tmp_path, "--json")
    (entry,) = outcome.json
    assert entry["celebrity"] == "mira solano"
    assert "mira solano" in entry["caption"]
    assert (tmp_path / "mira-solano.png").is_file()


def test_the_list_holds_every_factor_and_name(spid: Spid) -> None:
    listed = spid("render", "--list", "--json").json
    assert listed["factors"] == {name: list(values) for name, values in FACTORS.items()}
    assert len(listed["celebrities"]) == 400
    assert "--clothing-color" in spid("render", "--list").out


def test_people_are_described_in_words_and_nothing_is_drawn(spid: Spid, tmp_path: Path) -> None:
    outcome = spid(
        "render", "--describe", "--person", 7, "--celebrity", "Mira Solano", "--output", tmp_path / "no"
    )
    assert outcome.code == 0 and not (tmp_path / "no").exists()
    assert "a man with side-parted blond hair, a long blond beard, small blue eyes" in outcome.out
    named, _ = spid("render", "--describe", "--person", 7, "--celebrity", "mira solano", "--json").json
    assert named["celebrity"] == "mira solano" and named["description"] == description(
        CELEBRITIES["mira solano"]
    )


def test_show_prints_what_a_picture_is(spid: Spid, face: Path) -> None:
    plain = spid("show", face)
    assert plain.code == 0
    assert plain.out.startswith("a photo of a ")
    assert '"kind": "render"' in plain.out
    assert "generate --from" not in plain.err
    assert spid("show", face, "--json").json["spid"]["seed"] == 7
