from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.config import RunConfig
from orchestrator.start import main
from orchestrator.store.run_folder import RunFolder
from tests.orchestrator.start_command.invoking import config_of, one_line, refused
from tests.support import run_config


@pytest.mark.parametrize(
    ("arguments", "workload"),
    [
        ([], "digits"),
        (["--net", "cnn"], "digits,net=cnn"),
        (["--split", "dirichlet:0.1", "--net", "cnn", "--workload", "mnist"], "mnist,net=cnn,split=dirichlet:0.1"),
        (["--dataset", "mnist"], "mnist"),
        (["--niid", "3"], "digits,split=niid:3"),
        (["--dataset", "mnist", "--niid", "0", "--net", "cnn"], "mnist,net=cnn,split=niid:0"),
        (["--workload", " mnist, split_seed=3 , net=2nn", "--split", "iid"], "mnist,net=2nn,split=iid,split-seed=3"),
    ],
)
def test_what_is_said_in_short_of_the_workload_becomes_its_spec(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], workload: str
) -> None:
    # Given flags for data set, net and split, when a run is begun, then its workload is written in the one way
    assert config_of(monkeypatch, *arguments).workload == workload


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--workload mnist,net=2nn --net cnn", "--net cnn: the workload 'mnist,net=2nn' has net=2nn already: give one"),
        ("--workload mnist,split=iid --niid 2", "--split niid:2: the workload 'mnist,split=iid' has split=iid already"),
        ("--niid 2 --split iid", "--niid and --split exclude each other: give one"),
        ("--dataset mnist --workload digits", "--dataset mnist and --workload digits exclude each other: give one"),
        ("--dataset minst", "unknown data set 'minst': did you mean 'mnist'? known are "),
        ("--dataset command", "unknown data set 'command': known are "),
        ("--dataset mnist,net=cnn", "unknown data set 'mnist,net=cnn': known are "),
    ],
)
def test_what_is_said_twice_of_the_workload_or_names_no_data_set_is_refused(options: str, told: str) -> None:
    # Given options of which one alone can hold, when a run is to begin, then the message names both
    assert one_line(refused(*options.split())).startswith(told)


def test_a_run_folder_that_holds_a_run_is_refused_with_how_to_go_on(cwd: Path) -> None:
    # Given a run
    RunFolder.create(cwd / "one", run_config())
    # When another is to be made in its folder, then the message says what to do
    assert one_line(refused("--run-dir", "one")) == (
        f"{cwd / 'one'} holds a run already: go on with it by --resume {cwd / 'one'}, or name another"
    )


def test_a_run_folder_with_something_else_is_refused(cwd: Path) -> None:
    # Given a folder of something else, and a file, when a run is to be made there, then the message says what to do
    (cwd / "letters").mkdir()
    (cwd / "letters" / "to_anna.txt").write_text("dear Anna")
    for name in ("letters", "letters/to_anna.txt"):
        assert one_line(refused("--run-dir", name)) == (
            f"{cwd / name} exists and isn't an empty folder: name another with --run-dir"
        )


def test_a_broker_that_doesnt_answer_is_refused_with_advice() -> None:
    # Given a port where nobody listens, named by the flag or by the variable
    url = "redis://:secret@127.0.0.1:1"
    by_flag, by_variable = refused("--broker", url), refused(environment={"CELERY_BROKER_URL": url})
    # When the command is given it, then the message says where, without the password, and what to do
    assert by_flag == by_variable
    assert re.fullmatch(
        r"no Redis answers at redis://:\*\*@127.0.0.1:1/0 \(.*\): start one there, or name another with --broker URL"
        r" or CELERY_BROKER_URL",
        one_line(by_flag),
    )


@pytest.mark.parametrize(
    ("options", "observers"),
    [
        (["--page"], ("console", "plot", "page")),
        (["--observe", "csv", "--page"], ("csv", "page")),
        (["--observe", "page", "--page"], ("page",)),
    ],
)
def test_the_page_is_an_observer(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], observers: tuple[str, ...]
) -> None:
    assert config_of(monkeypatch, *options).observe == observers


GUARDED = """
import os, runpy, signal, sys

class AtFirstImport:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {"orchestrator", "tasks", *sys.stdlib_module_names}:
            print(name, signal.getsignal(signal.SIGINT) is signal.SIG_DFL)
            sys.stdout.flush()
            os._exit(0)

sys.meta_path.insert(0, AtFirstImport())
runpy.run_module("orchestrator.start", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_ends_the_command_without_a_traceback_as_it_imports_what_it_needs() -> None:
    # Given the command, when it imports a package of others, then a signal would end it at once
    said = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, check=True).stdout
    assert said.endswith(" True\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_as_its_folder_is_made_says_how_to_go_on(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    # Given a run that is told to end as soon as its folder has a config
    def create(path: Path, config: RunConfig) -> RunFolder:
        folder = make(path, config)
        signal.raise_signal(number)
        return folder

    signal.signal(number, signal.SIG_DFL)  # the tests themselves may be run with nohup
    make = RunFolder.create
    monkeypatch.setattr(RunFolder, "create", create)
    # When it is begun
    result = CliRunner().invoke(main, ["--run-dir", "one"], env={"CELERY_BROKER_URL": None})
    # Then it ends as one that is told so later, and can be taken up again
    assert result.exit_code == 128 + number, result.output
    assert "go on with: python -m orchestrator.start --resume one" in result.stderr
    ended = RunFolder.open(cwd / "one").summary()
    assert ended is not None
    assert (ended.status, ended.rounds) == ("interrupted", 0)
