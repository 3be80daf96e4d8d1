"""Presets by name, their replaced numbers, and what is refused."""

from __future__ import annotations

import pytest

from methods.config import build, load_yaml
from methods.errors import UsageError
from methods.paths import configs_dir
from methods.spatialid.method import Config
from methods.spatialid.schedule import PRESETS, Phase, Schedule, adjusted, preset


def test_names():
    assert preset("A") is None and preset("uniform") is None
    assert preset("readme") == preset("default") == preset("b") == PRESETS["B"] == Schedule()
    assert preset("IBench") == PRESETS["F"] == Schedule(0.7, 0.3, 0.8, 0.7, 0.3)
    assert Config().schedule() == PRESETS["B"]
    with pytest.raises(UsageError, match="ibench"):
        preset("ibensh")


def test_bounds_belong_to_the_quieter_phase():
    phase = Schedule().phase
    assert [phase(t) for t in (1.0, 0.7001)] == [Phase.EARLY] * 2
    assert [phase(t) for t in (0.7, 0.3001)] == [Phase.MID] * 2
    assert [phase(t) for t in (0.3, 0.0)] == [Phase.LATE] * 2


def test_replaced_numbers():
    assert adjusted("F", late_floor=0.6, early=None) == Schedule(0.7, 0.3, 0.6, 0.7, 0.3)
    assert Config(preset="ibench", global_floor=0.0).schedule() == Schedule(0.7, 0.3, 0.8, 0.7, 0.0)
    with pytest.raises(UsageError, match="no mask, so no late_floor"):
        Config(preset="A", late_floor=0.2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"early": 1.2},
        {"late_floor": -0.1},
        {"center_sigma": 0.0},
        {"center_sigma": float("nan")},
        {"late": 0.8},
        {"preset": "Z"},
        {"response": "max"},
        {"kernels": "big"},
    ],
    ids=str,
)
def test_refused(wrong):
    with pytest.raises(UsageError):
        build(Config, wrong, where="spatialid")


def test_the_shipped_configuration_is_the_default():
    options = load_yaml(configs_dir() / "methods" / "spatialid.yaml")
    assert build(Config, options, where="spatialid") == Config()
