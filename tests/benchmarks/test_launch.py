"""Runs on machines that others hand out: jobs of submitit, actors of Ray."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Spid
from folders import contents

from benchmarks.launch import Command, run_on_ray, submit
from benchmarks.request import Request
from benchmarks.runner import bench
from methods.errors import UsageError
from methods.files import save_json

Ask = Callable[..., Request]
SPID = (sys.executable, "-m", "spatialid_cli.app")
"""The command line, as a child process."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run of one process goes."""
    return tmp_path_factory.mktemp("alone") / "run"


def run_alone(ask: Ask, folder: Path) -> dict[str, bytes]:
    if not folder.exists():
        assert bench(ask(), folder).complete
    return contents(folder)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs by Slurm's names that keep what they are told, as a login node has them; their folder."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    script = (
        f'#!/bin/sh\ncp "$1" {folder}/job-$(ls {folder} | grep -c job-).sh\necho Submitted batch job 77\n'
    )
    for name, text in (("sbatch", script), ("srun", "#!/bin/sh\n"), ("sacct", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_slurm_gets_an_array_and_a_job_after_it(spid: Spid, cluster: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    done = spid("bench", "--suite", "smoke", "--launch", "slurm", "--jobs", "3", "--partition", "gpu",
                "--slurm", "time=90", "--slurm", "gpus_per_node=1", "--slurm", "reservation=ours",
                "--start-jitter", "30", "--keep-going", "--output", tmp_path / "run", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["jobs"] == ["77_0", "77_1", "77_2"] and done.json["merge"] == "77"
    array, merge = [
        [line.removeprefix("#SBATCH --") for line in (cluster / f"job-{number}.sh").read_text().splitlines()]
        for number in range(2)
    ]
    for lines in (array, merge):
        assert {"partition=gpu", "time=90", "gpus-per-node=1", "reservation=ours", "requeue"} <= set(lines)
    assert any(line.startswith("array=0-2") for line in array)
    assert "dependency=afterany:77" in merge and not any(line.startswith("array") for line in merge)
    request = json.loads((tmp_path / "run" / "request.json").read_text())
    assert request["suite"] == "smoke"
    pickled = list((tmp_path / "run-jobs").rglob("*_submitted.pkl"))
    assert len(pickled) == 4
    for file in pickled:
        function = pickle.loads(file.read_bytes()).function
        assert type(function) is Command and vars(function) == {"words": function.words}
        assert function.words == (
            *SPID, "bench", "--resume", "--output", str(tmp_path / "run"),
            "--keep-going", "--start-jitter", "30.0",
        )  # fmt: skip


def test_a_job_that_is_preempted_is_put_back_as_it_was() -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    command = Command((*SPID, "bench", "--resume"))
    assert command.checkpoint().function == command


@pytest.mark.timeout(900)  # six starts of Python
def test_jobs_of_submitit_do_a_run(tmp_path: Path, ask: Ask, alone: Path) -> None:
    """submitit's local executor: two jobs and the one after them, as processes of this machine."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    expected = run_alone(ask, alone)
    folder = tmp_path / "run"
    save_json(folder / "request.json", ask(root=os.getcwd()).as_dict())
    made = submit(
        [*SPID, "bench", "--resume", "--output", str(folder)], tmp_path / "jobs", 2, {}, cluster="local"
    )
    assert all(job.result() in (0, 1) for job in [*made.jobs, made.merge])
    found = contents(folder)
    assert found.keys() == expected.keys()
    different = {name for name in found if found[name] != expected[name]}
    assert different <= {"run.json", "results.json"}  # the request names where it was given


@pytest.mark.slow  # a cluster is started
@pytest.mark.timeout(1200)
def test_ray_workers_share_a_run_and_do_what_a_killed_one_left(
    tmp_path: Path, ask: Ask, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    expected = run_alone(ask, alone)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    folder, notes = tmp_path / "run", []
    killed: list[int] = []

    def kill_one() -> None:
        """The first worker that holds a block."""
        for _ in range(6000):
            for lease in (folder / "leases").glob("block-*.lease"):
                with_pid = json.loads(lease.read_bytes() or b"{}")
                if with_pid.get("pid") and not with_pid["done"]:
                    os.kill(with_pid["pid"], signal.SIGKILL)
                    killed.append(with_pid["pid"])
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    killer.start()
    outcome = run_on_ray(ask(), folder, jobs=2, note=notes.append)
    killer.join()
    assert outcome.complete and killed
    assert notes[0].startswith("2 workers on 1 machines") and "died; others do what it left" in notes[1]
    assert contents(folder) == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_worker_says_what_is_wrong_in_its_own_words(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with pytest.raises(UsageError, match="smke.*Did you mean 'smoke'"):
        run_on_ray(ask(suite="smke"), tmp_path / "run", jobs=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--launch", "slrm", "--jobs", "2"], "Did you mean 'slurm'"),
        (["--launch", "slurm"], "--jobs 8"),
        (["--jobs", "2"], "--num-processes"),
        (["--launch", "ray", "--num-processes", "2"], "--jobs"),
        (["--launch", "ray", "--shard", "1/2"], "Leave out one"),
        (["--launch", "ray", "--partition", "gpu"], "only with --launch slurm"),
        (["--launch", "slurm", "--jobs", "2", "--address", "auto"], "only with --launch ray"),
        (["--launch", "slurm", "--jobs", "2", "--slurm", "array=0-9"], "sets it itself"),
        (["--launch", "slurm", "--jobs", "2", "--slurm", "time=1:00"], "not a number of minutes"),
    ],
)
def test_misuse_is_one_line(
    spid: Spid, arguments: list[str], said: str, cluster: Path, tmp_path: Path
) -> None:
    if "slurm" in arguments and "--slurm" in arguments:
        pytest.importorskip("submitit", reason="the extra slurm is not installed")
    done = spid("bench", "--suite", "smoke", *arguments, "--output", tmp_path / "run")
    assert done.code == 2 and said in done.err
    assert not (tmp_path / "run" / "request.json").exists()


@pytest.mark.parametrize(("launch", "module"), [("slurm", "submitit"), ("ray", "ray")])
def test_without_the_extra_the_install_command_is_told(launch: str, module: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None; from spatialid_cli.app import main;"
        "sys.exit(main(['bench', '--suite', 'smoke', '--output', 'x', '--jobs', '1', '--launch', "
        f"{launch!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.returncode == 1 and f'pip install "spid[{launch}]"' in done.stderr
