"""`spid ui`: what the page makes, in Python and in a real browser."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium
from command import Spid

from methods.errors import UsageError
from methods.pocket.references import PLAIN, reference_png
from spatialid_cli.page import answer
from spatialid_cli.playground import Studio, lines_of


@pytest.fixture(scope="module")
def studio(pocket_weights: Path) -> Studio:
    return Studio({"name_or_path": "pocket", "device": "cpu"}, ["--device", "cpu"])


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("people") / "person-0007.png"
    file.write_bytes(reference_png(7, PLAIN, 0))
    return file


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_the_command_that_is_shown_makes_the_same_files(
    studio: Studio, person: Path, spid: Spid, tmp_path: Path
) -> None:
    html, command, folder = answer(
        studio, tmp_path, str(person), "a {person} at the beach\n\n<b>a {person}</b> ", ["spatialid", "none"],
        5, 1, 0.8, 2, None, "blurry", True,
    )  # fmt: skip
    made = pictures(Path(folder))
    words = shlex.split(command)
    assert words[:2] == ["spid", "generate"] and str(tmp_path) in command
    done = spid(*words[1:], "--output", tmp_path / "again")
    assert done.code in (0, 1), done.err
    again = pictures(tmp_path / "again")
    assert made.pop("reference/person-0007.png") == person.read_bytes()
    assert made == again and len(made) == 7  # 2 prompts x 2 methods, a sheet, the masks of one method
    for name in ("table.csv", "table.md"):
        assert (Path(folder) / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert html.count("<figure>") == 4 and html.count('class="reference"') == 2 and "seed 5" in html
    assert html.count("<summary>masks") == 2
    assert "<b>a {person}</b>" not in html and "&lt;b&gt;a {person}&lt;/b&gt;" in html
    values = re.findall(r"<td>id_sim</td><td[^>]*>([^<]+)</td>", html)
    assert len(values) == 4
    assert all(re.fullmatch(r"-?\d\.\d{3}|no_face_gen|multi_face", value) for value in values)


def test_what_cannot_be_made_leaves_no_folder(studio: Studio, person: Path, tmp_path: Path) -> None:
    rest = (0, 1, 1.0, 2, None, "", False)
    with pytest.raises(UsageError, match="no method"):
        answer(studio, tmp_path, str(person), "a {person}", [], *rest)
    with pytest.raises(UsageError, match="no prompt"):
        answer(studio, tmp_path, str(person), " \n", ["none"], *rest)
    with pytest.raises(UsageError):
        answer(studio, tmp_path, None, "a {person}", ["spatialid"], *rest)
    assert list(tmp_path.iterdir()) == []


def test_prompts_are_lines() -> None:
    assert lines_of(" one \n\ntwo\none") == ("one", "two")


def test_methods_are_those_that_run_here(studio: Studio) -> None:
    able, slow = studio.methods()
    assert {"none", "uniform", "spatialid"} <= set(able) and "pulid" not in able
    assert "textual-inversion" in slow and "uniform" not in slow


def test_without_gradio_the_install_command_is_told() -> None:
    code = (
        "import sys; sys.modules['gradio'] = None; from spatialid_cli.app import main; sys.exit(main(['ui']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and 'pip install "spid[ui]"' in done.stderr


@pytest.fixture
def address(tmp_path: Path, pocket_weights: Path) -> Iterator[str]:
    """Of a page that is served by the command."""
    pytest.importorskip("gradio", reason="the extra ui is not installed")
    pytest.importorskip("playwright", reason="playwright is not installed")
    chromium()
    server = subprocess.Popen(
        [sys.executable, "-m", "spatialid_cli.app", "ui", "--port", "0", "--device", "cpu",
         "--output", str(tmp_path / "made")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


@pytest.mark.timeout(600)
def test_a_person_is_rendered_and_put_beside_methods_in_a_browser(address: str, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/?", address)
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(240_000)
        elsewhere: list[str] = []
        page.on("request", lambda asked: elsewhere.append(asked.url))
        page.goto(address)
        page.fill("#prompts textarea", "a photo of a {person} at the beach")
        page.click("#render")
        page.wait_for_selector("#who img")
        page.click("#make")
        page.wait_for_selector("#result figure.reference")
        titles = page.locator("#result figcaption > b").all_inner_texts()
        assert titles == ["reference", "none", "uniform", "spatialid"]
        assert page.locator("#result summary").all_inner_texts() == ["masks of spatialid"]
        widths = page.eval_on_selector_all("#result figure > img", "all => all.map(i => i.naturalWidth)")
        assert len(widths) == 4 and all(width >= 128 for width in widths)
        assert page.input_value("#command textarea").startswith("spid generate")
        folder = Path(page.input_value("#where input, #where textarea"))
        assert folder.parent == tmp_path / "made" and (folder / "sheet.png").is_file()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        browser.close()
    assert not [url for url in elsewhere if not url.startswith((address.rstrip("/"), "data:", "blob:"))]
