"""What a user's code raises or returns wrongly is told at once: in one line, with file and line, and the log has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.harness import Field, Program, present
from tests.integration.test_errors import check_told

STUDY = """
import os
import sys
from pulled import ClientData, Pulled


class Raises(Pulled):
    def client_data(self, source):
        return load(source)


def load(source):
    raise ValueError("no column 'age'")


class Pair(Pulled):
    def client_data(self, source):
        data = super().client_data(source)
        return data.train, data.test


class NoCount(Pulled):
    def client_data(self, source):
        return ClientData(1.0, 1.0, num_train=None)


class Exits(Pulled):
    def client_data(self, source):
        sys.exit("my data set is broken")


class OneOfMany(Pulled):
    def client_data(self, source):
        return load(source) if source.part.index == 1 else super().client_data(source)


class ExitsWhenMade(Pulled):
    def __init__(self):
        sys.exit("not on this machine")


class NoModel(Pulled):
    def initial_parameters(self, context):
        raise KeyError("layers")


class NoHoldout(Pulled):
    def holdout_data(self, folder):
        raise FileNotFoundError(2, "No such file", "test.csv")


class NoTraining(Pulled):
    def train(self, *args, **kwargs):
        raise RuntimeError("no luck")
"""


RAISED = {"Raises": "in load", "NoHoldout": "in holdout_data"}
"""Workload -> what the traceback has of it."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a user's workloads."""
    folder = tmp_path / "study"
    folder.mkdir()
    pulled = Path(__file__).parent / "workload" / "pulled.py"
    (folder / "pulled.py").write_text(pulled.read_text())
    (folder / "my_study.py").write_text(STUDY)
    (folder / "no_study.py").write_text("import pulled\nraise OSError('no such device')\n")
    return folder


def local(field: Field, study: Path, name: str, *options: str) -> Program:
    return field.run(study / "run", *options, workload=name if ":" in name else f"my_study:{name}", cwd=study)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("Raises", 1, "client_data(): ValueError: no column 'age' (my_study.py, line 13, in load); see logs/client-"),
        ("Pair", 1, "client_data() returned tuple: a ClientData(train, test, num_train, labels) is needed"),
        ("NoCount", 2, "ClientData(train=float): how many examples these are isn't known: num_train is needed"),
        ("Exits", 1, "client_data(): SystemExit: my data set is broken (my_study.py, line 29, in client_data)"),
        ("ExitsWhenMade", 2, "making it failed: SystemExit: not on this machine (my_study.py, line 39, in __init__)"),
        ("no_study:X", 2, "importing 'no_study' failed: OSError: no such device (no_study.py, line 2, in <module>)"),
        ("NoModel", 1, "initial_parameters(): KeyError: 'layers' (my_study.py, line 44, in initial_parameters)"),
        ("NoHoldout", 1, "holdout_data(): FileNotFoundError: [Errno 2] No such file: 'test.csv' (my_study.py, line 49"),
    ],
)
def test_a_run_ends_at_once_with_what_the_users_code_did(
    field: Field, study: Path, name: str, code: int, words: str
) -> None:
    # Given a workload that fails before the first round, when a run of one local client is begun
    program = local(field, study, name, "--clients", "1")

    # Then it says what failed and where, and nothing is started anew
    check_told(program, code, words)
    assert "started anew" not in program.output
    # And the log that it names has the whole traceback
    if name in RAISED:
        [named] = re.findall(r"see (logs/(?:client-\d|jobs)\.log)", program.output)
        text = (study / "run" / named).read_text()
        assert "Traceback (most recent call last):" in text
        assert 'my_study.py", line' in text
        assert RAISED[name] in text


def test_of_many_clients_it_is_said_which_one(field: Field, study: Path) -> None:
    # Given a hundred clients of one worker, the second of which has broken data, when a run is begun, then it is named
    check_told(
        local(field, study, "OneOfMany", "--clients", "100"),
        1,
        "clients: client_data() of client-002: ValueError: no column 'age' (my_study.py, line 13, in load)",
        "see logs/clients.log",
    )


def test_failed_rounds_are_told_with_what_the_clients_failed_of(field: Field, study: Path) -> None:
    # Given a workload whose training fails, when a run is begun, then its end says what of, and which log has it
    check_told(
        local(field, study, "NoTraining"),
        1,
        "3 rounds in a row failed",
        "2 of 2 clients, like client-1: train(): RuntimeError: no luck (my_study.py, line 54, in train); see logs/",
    )


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize(
    ("workload", "code", "words"),
    [
        ("my_study:Raises", 1, "client_data(): ValueError: no column 'age' (my_study.py, line 13, in load)"),
        ("my_study:Pair", 1, "client_data() returned tuple"),
        ("my_study:Exits", 1, "client_data(): SystemExit: my data set is broken"),
        ("no_study:X", 2, "importing 'no_study' failed: OSError: no such device"),
    ],
)
def test_a_client_elsewhere_ends_at_once_with_one_line_after_the_traceback(
    field: Field, broker: Redis, study: Path, workload: str, code: int, words: str
) -> None:
    # Given a client whose user's code fails, when its worker is started
    program = field.client(broker, "client-1", CLIENT_WORKLOAD=workload, CLIENT_PART="1/2", cwd=study)

    # Then it ends, its last line says why, and it has announced nothing
    assert program.wait() == code, program.output
    lines = program.output.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert words in lines[-1]
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert ("Traceback (most recent call last):" in program.output) == (workload != "my_study:Pair")
    assert present(broker) == set()
