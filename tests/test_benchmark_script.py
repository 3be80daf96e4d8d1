"""scripts/benchmark.py: networks of the real sizes, measurements on toys, and how ratios come about."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.benchmark import main, missed
from scripts.costs.gpu import NO_TIME, measure, run
from scripts.costs.networks import network_of
from scripts.costs.turns import ratio, take_turns

CPU = torch.device("cpu")


def turning(now: list[float], order: list[tuple[int, str]], name: str, seconds: float) -> Any:
    def turn_of(turn: int) -> None:
        order.append((turn, name))
        now[0] += seconds * (10 if turn == 2 else 1)  # a round in which the machine is busy

    return turn_of


def test_cases_take_turns_after_a_round_to_warm_up() -> None:
    now, order = [0.0], []
    cases = {name: turning(now, order, name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0))}
    seconds = take_turns(cases, rounds=3, clock=lambda: now[0])
    assert order == [(0, "b"), (0, "a"), (1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")]
    found = ratio(seconds["b"], seconds["a"], limit=1.9)
    assert found["ratio"] == 2.0 and found["quartiles"] == [2.0, 2.0] and found["within"] is False
    assert any(missed({"rows": [found]})) and not any(missed({"rows": [{**found, "within": True}]}))


def test_rounds_end_with_the_time_but_one_is_whole() -> None:
    now, order = [0.0], []
    cases = {name: turning(now, order, name, 1.0) for name in "ab"}
    for ends, rounds in ((0.0, 1), (20.0, 2)):
        now[0] = 0.0
        seconds = take_turns(cases, rounds=9, clock=lambda: now[0], enough=lambda end=ends: now[0] > end)
        assert {len(times) for times in seconds.values()} == {rounds}


@pytest.mark.parametrize(("size", "parameters"), [("sdxl", 2_567_463_684), ("flux", 11_901_408_320)])
def test_networks_have_the_sizes_of_the_public_ones(size: str, parameters: int) -> None:
    with torch.device("meta"):
        network = network_of(size)
    assert sum(one.numel() for one in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("size", "mode", "names", "rows"),
    [
        (
            "toy-sdxl",
            "plain",
            "",
            "uniform,spatialid,spatialid over uniform,infinite-id,pidiff,facewise,id-ea",
        ),
        ("toy-flux", "plain", "", "pulid,spatialid,spatialid over pulid,uniform,textual-inversion"),
        ("toy-flux", "compiled", "none", "none"),
        ("toy-sdxl", "compiled", "none", "none"),
    ],
)
def test_methods_on_a_random_network(
    pocket_weights: Path, size: str, mode: str, names: str, rows: str
) -> None:
    compiling = {"backend": "eager"} if mode == "compiled" else {}
    chosen = names.split(",") if names else []
    steps = measure(size, mode, CPU, names=chosen, steps=1, rounds=1, seconds=60, **compiling)
    first, *others = steps
    torch._dynamo.reset()
    assert first["pixels"] == [64, 64] and first["dtype"] == "float32" and first["parameters"] > 0
    found = {name: row for step in others for name, row in step["rows"].items()}
    assert {"none", *rows.split(",")} <= set(found)
    assert found["none"]["ratio"] == 1 and all(row["seconds"] > 0 for row in found.values())
    assert all(found[name]["peak_mebibytes"] > 0 and found[name]["rounds"] == 1 for name in first["planned"])
    if size == "toy-flux" and not names:
        assert "no text_keys_values" in first["not measured"]["infinite-id"]


def test_a_part_that_takes_too_long_ends_and_says_so(tmp_path: Path) -> None:
    kept: list[str] = []
    found = run(
        ["toy-flux"],
        CPU,
        names=["pulid"],
        steps=1,
        rounds=1,
        seconds=0.2,
        keep=lambda figures: kept.append(json.dumps(figures)),
    )
    parts = found["networks"]["toy-flux"]
    assert [part["ended early"] for part in parts.values()] == [NO_TIME, NO_TIME] and len(kept) == 2
    assert all(part["rows"] == {} for part in parts.values()) and any(missed(found))


def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu", "--networks", "fluxx", "--device", "cpu"]) == 2
    assert "Unknown network 'fluxx'" in capsys.readouterr().err
    assert main(["fits", "--cases", "facewize"]) == 2
    assert "Did you mean 'facewise'?" in capsys.readouterr().err


def test_methods_and_diffusers_on_the_pocket_backbone(
    pocket_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["methods", "--methods", "uniform,spatialid", "--rounds", "1", "--steps", "1"])
    rows = {row["case"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert set(rows) == {"none", "uniform", "spatialid", "spatialid over uniform"}
    assert rows["spatialid over uniform"]["limit"] == 1.05 and rows["uniform"]["ratio"] > 0
    main(["diffusers", "--rounds", "1", "--steps", "1"])
    found = json.loads(capsys.readouterr().out)
    assert found["none"]["limit"] == 1.0
    assert found["uniform"]["ratio"] > 0


@pytest.mark.slow  # networks of the shipped size
def test_the_twin_is_made_at_random_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pocket_weights: Path
) -> None:
    """Then costs are measured on its shape, what is random is said, and afterwards nothing is left of it."""
    (tmp_path / "pocket").mkdir()
    for model in pocket_weights.iterdir():
        if model.name not in ("flux", "pulid"):
            (tmp_path / "pocket" / model.name).symlink_to(model)
    monkeypatch.setenv("SPID_POCKET", str(tmp_path / "pocket"))
    output = tmp_path / "found.json"
    main(
        ["methods", "--backbone", "pocket-flux", "--methods", "pulid,spatialid", "--steps", "1",
         "--rounds", "1", "--output", str(output)]
    )  # fmt: skip
    found = json.loads(output.read_text())
    assert found["random weights"] == ["pocket-flux", "pulid", "spatialid", *found["random weights"][3:]]
    rows = {row["case"]: row for row in found["rows"]}
    wanted = {
        "none",
        "pulid",
        "spatialid",
        "spatialid over pulid",
        "none, true guidance",
        "pulid, true guidance",
    }
    assert wanted <= set(rows) and "spatialid over uniform" not in rows
    main(["diffusers", "--backbone", "pocket-flux", "--steps", "1", "--rounds", "1", "--output", str(output)])
    found = json.loads(output.read_text())
    assert found["random weights"] and {"none", "uniform", "none, true guidance"} <= set(found)
    assert (
        os.environ["SPID_POCKET"] == str(tmp_path / "pocket") and not (tmp_path / "pocket" / "flux").exists()
    )
