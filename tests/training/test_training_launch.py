"""The launch files in configs/launch are what accelerate's own parser reads, and start what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

CONFIGS = Path(__file__).parents[2] / "configs" / "launch"


@pytest.mark.parametrize(("name", "machines", "processes"), [("one-machine", 1, 4), ("two-machines", 2, 16)])
def test_accelerate_reads_them(name: str, machines: int, processes: int) -> None:
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert (config.num_machines, config.num_processes) == (machines, processes)
    assert config.distributed_type == "MULTI_GPU" and not config.use_cpu
    assert config.mixed_precision == "no"  # precision is the recipe's


def test_the_command_in_the_file_starts_a_training_on_every_gpu() -> None:
    file = CONFIGS / "one-machine.yaml"
    command = next(line for line in file.read_text().splitlines() if "accelerate launch" in line)
    words = command.lstrip("# ").split()[2:]
    words[words.index("--config_file") + 1] = str(file)
    given, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert given.multi_gpu and given.num_processes == 4 and given.module
    assert [given.training_script, *given.training_script_args] == [
        "spatialid_cli.app", "train", "--method", "uniform",
    ]  # fmt: skip


def test_all_files_are_tested() -> None:
    assert sorted(path.stem for path in CONFIGS.iterdir()) == ["one-machine", "two-machines"]
