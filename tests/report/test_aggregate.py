"""What a finished run says of itself: results, tables, and files that other tools open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_run import Plan, write_run

from benchmarks.aggregate import aggregate, summarise
from benchmarks.results import Results
from benchmarks.samples import arrange, read_samples
from benchmarks.schema import Row
from methods.errors import SpidError, UsageError
from methods.files import save_json, write_bytes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "ibench", Plan(pictures=False))
    aggregate(folder)
    return folder


@pytest.fixture(scope="module")
def results(run: Path) -> Results:
    return json.loads((run / "results.json").read_text())


def row(method: str, identity: str | None, prompt: str, value: float | None, **more: object) -> Row:
    id_ = f"{method}-{identity}-{prompt}"
    values = {"score": value}
    return Row(id_, method, identity, prompt, prompt, "View", "short", 0, metrics=values, **more)  # type: ignore[arg-type]


def small_run(folder: Path, rows: Iterable[Row]) -> Path:
    cards = [{"name": "score", "title": "Score", "direction": "higher", "range": [0, 10]}]
    save_json(folder / "run.json", {"schema": 1, "suite": {"name": "s"}, "methods": [], "metrics": cards})
    write_bytes(folder / "samples.jsonl", b"".join(one.to_line() for one in rows))
    return folder


def test_a_row_whose_number_was_changed_is_refused(tmp_path: Path) -> None:
    small = small_run(tmp_path, [row("none", None, "p", 2.0), row("none", None, "q", 3.0)])
    file = small / "samples.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"score": 3.0', b'"score": 9.0'))
    with pytest.raises(SpidError, match="line 2 .* changed after it was written"):
        read_samples(small)


def test_figures_are_those_pandas_finds(run: Path, results: Results) -> None:
    table = pd.read_parquet(run / "samples.parquet")
    for score in results["scores"]:
        if score["cells"] and score["method"] != "none":
            column = table[table.method == score["method"]][score["metric"]]
            assert score["mean"] == pytest.approx(column.mean(), abs=1e-6)
            assert (score["n"], score["missing"]) == (column.count(), column.isna().sum())


def test_deltas_are_paired_by_person_prompt_and_seed(run: Path, results: Results) -> None:
    table = pd.read_parquet(run / "samples.parquet")
    wide = table[table.method != "none"].pivot(
        index=["identity", "prompt_id", "seed"], columns="method", values="id_sim"
    )
    expected = (wide["spatialid"] - wide["uniform"]).dropna()
    (found,) = [
        one for one in results["deltas"]
        if (one["method"], one["baseline"], one["metric"]) == ("spatialid", "uniform", "id_sim")
    ]  # fmt: skip
    assert found["mean"] == pytest.approx(expected.mean(), abs=1e-6)
    assert found["n"] == len(expected)
    assert found["low"] < found["mean"] < found["high"]
    assert found["p"] <= found["p_holm"]


def test_the_plain_backbone_is_compared_through_its_baseline_pictures(tmp_path: Path) -> None:
    """One picture without identity serves every person; the pairs are with it."""
    rows = [row("none", None, prompt, value) for prompt, value in (("p", 1.0), ("q", 3.0))]
    rows += [
        row("uniform", f"person {i}", prompt, value, baseline=f"none-None-{prompt}")
        for i in range(6)
        for prompt, value in (("p", 2.0), ("q", 5.0))
    ]
    found = summarise(read_samples(small_run(tmp_path, rows)))
    none, uniform = found["scores"]
    assert (none["mean"], none["n"], none["cells"], none["low"]) == (2.0, 2, 12, None)
    assert (uniform["mean"], uniform["n"], uniform["low"], uniform["high"]) == (3.5, 12, 3.5, 3.5)
    delta = next(one for one in found["deltas"] if one["method"] == "uniform")
    assert (delta["mean"], delta["low"], delta["high"]) == (1.5, 1.5, 1.5)
    assert found["run"]["without_identity"] == ["none"]


def test_few_people_are_said_to_be_few(tmp_path: Path) -> None:
    rows = [row("uniform", person, f"p{i}", float(i)) for person in ("a", "b") for i in range(6)]
    found = summarise(read_samples(small_run(tmp_path, rows)))
    assert found["statistics"]["unit"] == "sample"
    assert found["scores"][0]["low"] is not None


def test_a_run_of_the_plain_backbone_alone_has_results(tmp_path: Path) -> None:
    found = summarise(read_samples(small_run(tmp_path, [row("none", None, "p", 2.0)])))
    assert found["scores"][0]["mean"] == 2.0
    assert found["deltas"] == [] and found["breakdowns"] == []


def test_a_run_without_rows_has_empty_results(tmp_path: Path) -> None:
    found = aggregate(small_run(tmp_path, []))
    assert found["scores"] == [] and found["run"]["samples"] == 0
    assert pd.read_parquet(tmp_path / "samples.parquet").empty


def test_the_same_samples_give_the_same_bytes(run: Path, tmp_path: Path) -> None:
    again = write_run(tmp_path / "ibench", Plan(pictures=False))
    aggregate(again)
    names = [path.relative_to(run) for path in sorted(run.rglob("*")) if path.is_file()]
    assert len(names) >= 9
    for name in names:
        assert (again / name).read_bytes() == (run / name).read_bytes(), name


def test_categories_and_statuses_add_up(run: Path, results: Results) -> None:
    assert sum(sum(of.values()) for of in results["statuses"].values()) == results["run"]["samples"]
    parts = [
        one for one in results["breakdowns"] if (one["method"], one["metric"]) == ("spatialid", "clip_t")
    ]
    whole = next(
        one for one in results["scores"] if (one["method"], one["metric"]) == ("spatialid", "clip_t")
    )
    total = sum((one["mean"] or 0) * one["n"] for one in parts) / sum(one["n"] for one in parts)
    assert len(parts) == 7
    assert total == pytest.approx(whole["mean"], abs=1e-5)


def test_tables_open_in_one_line(run: Path, results: Results) -> None:
    table = pd.read_csv(run / "tables" / "results.csv")
    assert len(table) == len(results["scores"])
    assert pd.read_json(run / "samples.jsonl", lines=True).shape[0] == results["run"]["samples"]
    markdown = (run / "tables" / "results.md").read_text()
    assert "Identity ↑" in markdown and "Background leakage ↓" in markdown
    assert markdown.splitlines()[0] == "| metric | none | uniform | spatialid | facewise | infinite-id |"
    latex = (run / "tables" / "results.tex").read_text()
    assert "\\toprule" in latex and "\\textbf{" in latex and "95 \\%" in latex


def test_best_is_bold_in_the_metrics_direction(run: Path) -> None:
    lines = [line.strip("|").split("|") for line in (run / "tables" / "results.md").read_text().splitlines()]
    methods = [cell.strip() for cell in lines[0]]
    bold = {
        line[0].strip(): [methods[index] for index, cell in enumerate(line) if "**" in cell] for line in lines
    }
    assert bold["Identity ↑"] == ["infinite-id"]
    assert bold["Background leakage ↓"] == ["spatialid"]
    assert bold["Scene kept ↑"] == ["spatialid"]  # not the plain backbone, which competes with nobody
    assert bold["Pose difference"] == []


def test_names_break_no_table(tmp_path: Path) -> None:
    rows = [row("a|b & 50%_{x}", person, "p", 1.0) for person in "abcdef"]
    aggregate(small_run(tmp_path, rows))
    assert "a\\|b & 50%\\_{x}" in (tmp_path / "tables" / "results.md").read_text()
    assert r"a|b \& 50\%\_\{x\}" in (tmp_path / "tables" / "results.tex").read_text()
    assert pd.read_csv(tmp_path / "tables" / "results.csv").method[0] == "a|b & 50%_{x}"


def test_no_name_becomes_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    name = '=HYPERLINK("http://x")'
    aggregate(small_run(tmp_path, [row(name, person, "p", 1.0) for person in "abcdef"]))
    table = pd.read_csv(tmp_path / "tables" / "results.csv")
    assert table.method[0] == f"'{name}" and table["mean"][0] == 1.0


def test_datasets_opens_a_run(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    plan = Plan(people=1, methods=("none", "uniform"), failures=False)
    aggregate(write_run(tmp_path / "run", plan))
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "run"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(found) == 2 * 8 + 1
    assert {"image", "identity", "prompt", "method", "id_sim"} <= set(found.column_names)
    assert found[0]["image"].size == (128, 128)


def test_a_sample_written_twice_counts_once(tmp_path: Path) -> None:
    people = "abcdef"
    rows = [row("uniform", person, "p", 1.0) for person in people]
    rows += [row("uniform", person, "p", 2.0) for person in people]
    found = summarise(read_samples(small_run(tmp_path, rows)))
    assert (found["scores"][0]["mean"], found["scores"][0]["n"]) == (2.0, 6)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    folder = small_run(tmp_path, [row("uniform", person, "p", 1.0) for person in "abcdef"])
    with (folder / "samples.jsonl").open("ab") as file:
        file.write(b'{"id": "torn')
    assert len(read_samples(folder)) == 6


def test_damage_is_named(tmp_path: Path) -> None:
    folder = small_run(tmp_path, [row("uniform", "a", "p", 1.0)])
    with pytest.raises(UsageError, match="not a run folder"):
        read_samples(tmp_path / "elsewhere")
    content = (folder / "samples.jsonl").read_bytes()
    write_bytes(folder / "samples.jsonl", content + b"[1, 2]\n")
    with pytest.raises(SpidError, match="line 2 is not a row"):
        read_samples(folder)
    save_json(folder / "run.json", {"schema": 99})
    with pytest.raises(UsageError, match="schema"):
        read_samples(folder)


def test_cells_bring_the_methods_together(tmp_path: Path) -> None:
    rows = [row("a", "x", "p", 1.0), row("b", "x", "p", None), row("a", "y", "p", 2.0)]
    samples = read_samples(small_run(tmp_path, rows))
    cells = arrange(samples)
    assert cells.keys == [("short", "x", "p", 0), ("short", "y", "p", 0)]
    assert cells.rows.tolist() == [[0, 2], [1, -1]]
    assert np.isnan(cells.values(samples)[1]).all()


def test_aggregation_imports_no_torch() -> None:
    code = "import sys, benchmarks.aggregate, benchmarks.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
