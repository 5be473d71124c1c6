"""Clients whose workload is a program: it is cut by the time, fails, misbehaves, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from redis import Redis

from celeriac import federate
from tasks.arrays import map_file, write_file
from tasks.errors import ConfigurationError
from tests.integration.harness import ROOT, Field, Program, history, present, wait_until

PROGRAMS = "command,train=sh client.sh,initial=sh client.sh"
PROGRAMS_IN_ORDER = "command,initial=sh client.sh,train=sh client.sh"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a program that has no package of ours."""
    folder = tmp_path / "study"
    folder.mkdir()
    program = ROOT / "tests" / "celeriac" / "workloads" / "program.py"
    (folder / "client.sh").write_text(f"exec {sys.executable} -S {program}\n")
    return folder


def client(
    field: Field, broker: Redis, study: Path, client_id: str, how: str = "", programs: str = PROGRAMS
) -> Program:
    scratch = study / f"tmp-{client_id}"
    scratch.mkdir()
    return field.client(broker, client_id, cwd=study, CLIENT_WORKLOAD=programs, HOW=how, TMPDIR=str(scratch))


def test_a_program_s_failure_is_a_value_and_its_half_work_counts(field: Field, broker: Redis, study: Path) -> None:
    # Given a client whose program does its work, one whose has more than there is time for, one that SIGTERM doesn't
    # end, and some that go wrong
    wrong = {
        "fails": "train: 'sh client.sh' ended with code 1: training Error: there is no column 'age'",
        "half": "train: FL_UPDATE: the header describes 16 bytes of arrays, 8 are there; write to another",
        "float32": "train() returned parameters: array 'w' is F32 (2,), the model's is F64 (2,)",
    }
    for client_id, how in {"good": "", "slow": "slow", "stubborn": "stubborn"}.items():
        client(field, broker, study, client_id, how)
    for how in wrong:
        client(field, broker, study, how.replace(" ", "-"), how)
    # And one whose operator has named other programs
    client(field, broker, study, "other", programs=f"{PROGRAMS},count=sh client.sh")
    wait_until(lambda: len(present(broker)) == 7, "all are there")

    # When there is a round of ten seconds
    options = "--rounds 1 --timeout 10 --clients 6 --no-evaluate-clients"
    program = field.run("run", options, broker=broker, workload=PROGRAMS, cwd=study)
    program.succeeds()

    # Then what was done counts, what went wrong is told, and who named other programs had no order
    responses = history(study / "run")[0]["responses"]
    assert sorted(responses) == ["fails", "float32", "good", "half", "slow", "stubborn"]
    assert (responses["good"]["status"], responses["good"]["num_steps"]) == ("trained", 10)
    for client_id in ("slow", "stubborn"):
        assert responses[client_id]["status"] == "timed_out"
        assert responses[client_id]["num_steps"] >= 1
    for client_id, reason in wrong.items():
        assert responses[client_id]["status"] == "failed"
        assert responses[client_id]["reason"].startswith(reason)
    assert "other passed over" in program.output


FIT = """
import argparse, csv, json
import numpy as np
from safetensors.numpy import load_file, save_file
parser = argparse.ArgumentParser()
for name in ("--init", "--save", "--data", "--epochs", "--lr", "--alpha"):
    parser.add_argument(name)
args = parser.parse_args()
x, y = np.loadtxt(args.data, delimiter=",", unpack=True)
w = load_file(args.init)["w"]
for _ in range(int(args.epochs)):
    w = w - float(args.lr) * (np.mean((w * x - y) * x) + float(args.alpha) * w)
save_file({"w": w}, args.save)
print("loss", np.mean((w * x - y) ** 2))
"""
"""A script for ridge regression that knows nothing of federations."""


def test_a_script_that_is_there_already_trains_by_the_page_s_few_lines_of_shell(field: Field, tmp_path: Path) -> None:
    # Given the page's lines around such a script, and points at y = 2x
    page = (ROOT / "docs" / "any-program.md").read_text(encoding="utf-8").partition("## A script")[2]
    lines = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert lines is not None
    (tmp_path / "train.sh").write_text(lines[1])
    (tmp_path / "fit.py").write_text(FIT)
    (tmp_path / "table.csv").write_text("1,2\n2,4\n")
    write_file(tmp_path / "initial.safetensors", {"w": np.zeros(1)})
    # When it trains with alpha = 0 for three rounds of two steps, each of which has 1 - 0.1 * 2.5 of the error left
    options = f"--clients 2 --data {tmp_path} --rounds 3 --epochs 2 --learning-rate 0.1 --run-config alpha=0.0"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    spec = "command,train=sh train.sh,initial=initial.safetensors"
    field.run("run", options, workload=spec, cwd=tmp_path, PATH=path).succeeds()
    # Then the model is where it should be, and its loss is told
    (w,) = map_file(tmp_path / "run" / "checkpoints" / "round-0003.safetensors")["w"]
    assert w == pytest.approx(2 - 2 * 0.75**6)
    assert history(tmp_path / "run")[-1]["train_metrics"]["train_loss"] == pytest.approx(2.5 * (2 * 0.75**6) ** 2)


def test_programs_are_called_from_python_too_and_again_only_if_they_are_repeated(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run from Python whose workload is a program that adds 10
    monkeypatch.chdir(study)
    federate(PROGRAMS_IN_ORDER, clients=2, rounds=1, run_dir="run")
    # When it is to go on, then the programs have to be named again
    with pytest.raises(ConfigurationError, match="the run in run runs programs: repeat them"):
        federate(resume="run", rounds=2)
    run = federate(PROGRAMS_IN_ORDER, resume="run", rounds=2)
    # And then it goes on
    assert run.parameters["w"].tolist() == [20.0, 20.0]
    # And in this process it is the same
    assert federate(PROGRAMS, clients=2, rounds=2, backend="eager").parameters["w"].tolist() == [20.0, 20.0]


@pytest.mark.parametrize("whole", [False, True], ids=["the pool's process", "the whole worker"])
def test_no_program_outlives_the_process_that_runs_it(field: Field, broker: Redis, study: Path, whole: bool) -> None:
    # Given a client whose program trains, and ignores SIGTERM
    worker = client(field, broker, study, "anna", "stubborn")
    field.run("run", "--rounds 1 --clients 1 --timeout 60", broker=broker, workload=PROGRAMS, cwd=study)
    (name,) = wait_until(lambda: list(study.glob("pid-*")), "the program trains")
    program = psutil.Process(int(name.name.removeprefix("pid-")))
    scratch = list((study / "tmp-anna").glob("celeriac-*"))
    assert scratch

    # When the process that waits for it is killed
    pool = program.parent()
    assert pool is not None
    for process in [worker.process.pid] if whole else [pool.ppid()]:
        psutil.Process(process).send_signal(signal.SIGKILL)

    # Then the program ends with it, and so does its folder
    program.wait(60)
    wait_until(lambda: not [path for path in scratch if path.exists()], "its files are gone")
