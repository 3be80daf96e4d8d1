"""The report as a file: complete, escaped, and honest about what it leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import PROMPTS, Plan, metric, relined, write_run

from benchmarks.aggregate import summarise
from benchmarks.report import build, write_report
from benchmarks.report.data import embed
from benchmarks.samples import read_samples
from methods.errors import SpidError, UsageError
from methods.files import save_json
from spatialid_cli.app import main

EVIL = '</script><script>document.title="owned"</script><img src=x onerror=alert(1)>'
EVIL_PROMPTS = (("p&1", f"a {{}} {EVIL}", 'V"iew', {"scene": "beach"}), *PROMPTS[:3])
ASSETS = Path(__file__).resolve().parents[2] / "benchmarks" / "report" / "assets"


def page_of(run: Path, **options: Any) -> str:
    return write_report([run], run / "report.html", **options).read_text(encoding="utf-8")


def data_of(page: str) -> Any:
    (content,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.S)
    return json.loads(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "ibench", Plan(prompts=PROMPTS[:4]))


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return page_of(run)


class References(HTMLParser):
    """Every address that a page names, and every inline handler or style."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on") or name == "style":
                self.inline.append(f"{tag} {name}")


def test_the_page_names_nothing_outside_itself(page: str) -> None:
    found = References()
    found.feed(page)
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert found.inline == []
    assert found.scripts == 2
    assert "@import" not in page and "url(" not in page


def test_only_its_own_script_and_style_may_run(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy.replace("&#39;", "'")


def test_the_script_writes_text_never_markup() -> None:
    scripts = "".join(path.read_text() for path in ASSETS.glob("*.js"))
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert forbidden not in scripts


def test_no_data_leaves_its_element(tmp_path: Path) -> None:
    names = ("../../etc/passwd", f"anna {EVIL}", "C:\\CON", "😀" * 100, "a\u2028b", "'\"&")
    plan = Plan(prompts=EVIL_PROMPTS, names=names, suite=EVIL, methods=("none", "uniform"))
    page = page_of(write_run(tmp_path / "run", plan))
    found = References()
    found.feed(page)
    assert found.scripts == 2 and found.inline == []
    assert '<script>document.title="owned"' not in page and "<img src=x" not in page
    data = data_of(page)
    assert {row["identity"] for row in data["rows"]} == set(names)
    assert EVIL in data["rows"][0]["prompt"]


@pytest.mark.parametrize("name", ["../secret.png", "pictures/../../secret.png", "/etc/hostname", "a\0b.png"])
def test_a_picture_outside_the_run_is_refused(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", Plan(people=1, methods=("uniform",), failures=False))
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    (tmp_path / "secret.png").write_bytes((run / rows[0]["picture"]).read_bytes())
    first = {key: value for key, value in rows[0].items() if key != "check"} | {"picture": name}
    (run / "samples.jsonl").write_text(json.dumps(first) + "\n")  # unchecked, as older runs are
    with pytest.raises(SpidError, match="line 1 is not a row .*picture"):
        page_of(run)


def test_a_folder_is_not_shown_as_a_picture(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Plan(people=1, methods=("uniform",), failures=False))
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    rows[0]["picture"] = "pictures"
    (run / "samples.jsonl").write_bytes(relined(rows))
    data = data_of(page_of(run))
    shown = {sample["id"]: sample["picture"] for sample in data["samples"]}
    assert shown[rows[0]["id"]] == -1
    assert all(shown[row["id"]] >= 0 for row in rows[1:])


def test_figures_and_definitions_stand_in_the_page_itself(page: str, run: Path) -> None:
    described = json.loads((run / "run.json").read_text())
    for card in described["metrics"]:
        assert f"<code>{card['name']}</code>" in page
    for text in ("PolyForm-Noncommercial-1.0.0", "Apache-2.0", "no weights of dinov2_vitb14", "Hesterberg"):
        assert text in page
    assert page.count('class="mean best"') >= 6
    assert "from a paired bootstrap over 6 people" in page


def test_every_failure_is_told(page: str, run: Path) -> None:
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    bad = [row for row in rows if row["status"] != "ok"]
    data = data_of(page)
    assert {data["samples"][index]["id"] for index in data["failures"]} == {row["id"] for row in bad}
    assert f"{len(bad)} of {len(rows)} samples" in page


def test_methods_that_were_left_out_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Plan(people=1, methods=("none", "uniform"), pictures=False))
    described = json.loads((run / "run.json").read_text())
    described["left_out"] = {"pidiff": "no <weights> yet", "uniform": "in another run"}
    (run / "run.json").write_text(json.dumps(described))
    made = page_of(run)
    assert "no &lt;weights&gt; yet" in made and "in another run" not in made


def test_the_opening_says_what_is_not_significant(tmp_path: Path) -> None:
    apart = page_of(write_run(tmp_path / "apart", Plan(failures=False, pictures=False)))
    lead = " ".join(re.sub(r"<[^>]*>", "", apart.split('class="lead">')[1].split("</p>")[0]).split())
    assert re.fullmatch(
        r"infinite-id keeps identity best \([\d.]+, [\d.]+ to [\d.]+\); "
        r"spatialid follows the text best \([\d.]+, [\d.]+ to [\d.]+\)\. All 200 samples are ok\.",
        lead,
    ), lead
    twins = Plan(methods=("none", "uniform", "uniform[id_weight=1]"), failures=False, pictures=False)
    assert "not significantly ahead of uniform" in page_of(write_run(tmp_path / "twins", twins))


def test_the_opening_of_a_run_of_pairs_says_who_keeps_several_people(tmp_path: Path) -> None:
    results = summarise(read_samples(write_run(tmp_path, Plan(people=1, failures=False, pictures=False))))
    for entry in (*results["metrics"], *results["scores"]):
        key = "metric" if "metric" in entry else "name"
        if entry[key] == "id_sim":
            entry[key] = "id_people"
    assert [one["says"] for one in build._lead(results)] == [
        "keeps several people best",
        "follows the text best",
    ]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.98, 0.9, 1.0), "nearer to the reference than to the true picture (copy-paste 0.980)"),
        ((0.98, None, None), "nearer to the reference than to the true picture (copy-paste 0.980)"),
        ((-0.5, -0.6, -0.4), "nearer to the true picture than to the reference (copy-paste \u22120.500)"),
        ((0.1, -0.1, 0.3), "as near to the true picture as to the reference (copy-paste 0.100)"),
        ((None, None, None), None),
    ],
)
def test_the_opening_says_what_of_identity_is_copied(
    tmp_path: Path, ends: tuple[float | None, ...], said: str | None
) -> None:
    results = summarise(read_samples(write_run(tmp_path, Plan(people=1, failures=False, pictures=False))))
    assert build._copied(results, "infinite-id") is None  # not measured
    results["metrics"].append(metric("copy_paste", "copy-paste", "lower", (-1, 1)))
    for method, (mean, low, high) in {"infinite-id": ends, "uniform": (0.7, 0.7, 0.7)}.items():
        results["scores"].append(
            {"method": method, "metric": "copy_paste", "mean": mean, "low": low, "high": high, "n": 6}
        )
    copied = [one["copied"] for one in build._lead(results)]
    assert copied == [None if said is None else f"its faces are {said}", None]


def test_methods_that_run_json_says_little_about_are_listed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Plan(people=1, methods=("none", "uniform"), pictures=False))
    described = json.loads((run / "run.json").read_text())
    described["methods"] = [{"name": "uniform"}]
    (run / "run.json").write_text(json.dumps(described))
    made = page_of(run)
    assert '<i class="key" data-method="none">' in made and '<i class="key" data-method="uniform">' in made


def test_a_large_run_is_thinned_evenly_and_says_so(run: Path) -> None:
    data = data_of(page_of(run, most_pictures=60))
    assert len(data["rows"]) == 12 and data["rows_of"] == 24
    assert len({row["identity"] for row in data["rows"]}) == 6
    assert len(data["failures"]) == len(data_of(page_of(run))["failures"]) > 0


def test_the_baseline_can_be_chosen(run: Path) -> None:
    assert '<option value="uniform" selected>' in page_of(run)
    assert '<option value="facewise" selected>' in page_of(run, baseline="facewise")
    with pytest.raises(UsageError, match="no method of this run"):
        page_of(run, baseline="nobody")


def test_runs_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    """Equal samples once; a method that changed under its name twice."""
    plan = Plan(methods=("none", "uniform"), prompts=PROMPTS[:4], pictures=False)
    other = write_run(tmp_path / "second", plan)
    rows = [json.loads(line) for line in (other / "samples.jsonl").read_text().splitlines()]
    for row in rows:
        row["id"] = row["id"] if row["method"] == "none" else "0" + row["id"][1:-1] + "x"
    (other / "samples.jsonl").write_bytes(relined(rows))
    both = write_report([run, other], tmp_path / "both.html").read_text()
    names = [method["name"] for method in data_of(both)["methods"]]
    assert names == ["none", "uniform (ibench)", "spatialid", "facewise", "infinite-id", "uniform (second)"]


def test_runs_with_other_definitions_are_not_mixed(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "second", Plan(pictures=False))
    described = json.loads((other / "run.json").read_text())
    described["metrics"][0]["model"] = "antelopev2"
    save_json(other / "run.json", described)
    with pytest.raises(UsageError, match="measure id_sim with different model"):
        write_report([run, other], tmp_path / "both.html")


def test_the_command_writes_the_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--output", str(tmp_path / "new" / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").stat().st_size > 100_000
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert main(["report", str(run), "--baseline", "nobody", "--output", str(tmp_path / "x.html")]) == 2
    assert not (tmp_path / "x.html").exists()


def test_a_run_without_samples_is_misuse(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Plan(people=0, names=(), pictures=False))
    assert main(["report", str(run)]) == 2


def test_the_same_run_gives_the_same_page(run: Path, page: str, tmp_path: Path) -> None:
    assert write_report([run], tmp_path / "again.html").read_text() == page


def test_embedded_json_is_the_same_json() -> None:
    data = {"</script>": ["<!--", "&amp;", "\u2028\u2029", '"', "é"]}
    text = embed(data)
    assert json.loads(text) == data
    assert not set("<>&\u2028\u2029") & set(text)


def test_reports_need_no_torch() -> None:
    code = "import sys, benchmarks.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
