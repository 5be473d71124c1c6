from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from orchestrator.processes import workers
from orchestrator.processes.processes import Process
from orchestrator.store.run_folder import RunFolder
from orchestrator.trust.authority import Authority
from tasks.own_packages import ROOT
from tests.support import run_config


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", run_config())


@pytest.fixture
def process(folder: RunFolder) -> Process:
    return Process(name="client-2", command=(), environment={}, log=folder.logs / "client-2.log")


@pytest.mark.parametrize("code", [1, 2])
def test_a_worker_that_says_what_is_wrong_is_told_with_its_log(process: Process, code: int) -> None:
    # Given a worker whose last line says what is wrong, after a traceback
    process.log.write_text("Traceback (most recent call last):\nValueError: no luck\nerror: client_data(): no luck\n\n")
    # When it ends with an exit code of ours, then that is told
    assert workers.told(process, code) == "client-2: client_data(): no luck; see logs/client-2.log"


@pytest.mark.parametrize(
    ("code", "last"), [(-9, "error: of a former start"), (1, "Traceback"), (70, "error: no"), (1, "")]
)
def test_a_worker_that_ends_otherwise_has_said_nothing(process: Process, code: int, last: str) -> None:
    # Given a worker that was killed or ended by a mistake, when it ends, then it may be started anew
    process.log.write_text(f"begun\n{last}\n")
    assert workers.told(process, code) == ""


def test_a_worker_without_a_log_has_said_nothing(process: Process) -> None:
    assert workers.told(process, 1) == ""


def test_a_clients_log_is_its_own_or_that_of_all_or_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a machine with two cores
    monkeypatch.setattr(workers, "num_cores", lambda: 2)
    # When a client's log is asked for, then it is where its worker writes
    assert workers.log_of(run_config(num_clients=2), "client-1") == "logs/client-1.log"
    assert workers.log_of(run_config(num_clients=3), "client-1") == "logs/clients.log"
    assert workers.log_of(run_config(local=False), "anna") == "the log of the worker of anna"


def test_workers_look_in_the_folder_one_stands_in_last(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that looks in the folder it stands in first, as ``python -m`` does
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/one", "", "/two"])
    # When workers are to be started
    started = [
        workers.own_worker(run_config(), folder, "redis://x"),
        *workers.client_workers(run_config(), folder, Authority.make(tmp_path / "trust", "redis://x")),
    ]
    # Then they look there last, and in ours before
    paths = {process.environment["PYTHONPATH"] for process in started}
    assert paths == {os.pathsep.join(["/one", "/two", str(ROOT), str(tmp_path)])}
