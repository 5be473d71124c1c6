"""Clients whose workload is a program: it is cut by the time, fails, misbehaves, and leaves nothing behind."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.integration.harness import ROOT, Field, Program, history, present, wait_until

PROGRAMS = "command,train=sh client.sh,initial=sh client.sh"


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
