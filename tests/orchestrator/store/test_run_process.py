"""The process that is at work on a run, as its folder tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store.run_process import RunProcess, interrupt, noted
from tasks.errors import RunFolderError


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would end if it were told to."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_process_that_is_at_work_is_interrupted(tmp_path: Path) -> None:
    # Given a process that notes that it is at work
    file, received = tmp_path / "process.json", []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        with noted(file):
            # When it is to be interrupted, then it is
            assert interrupt(file) == os.getpid()
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]
    # And when it is done, then nothing is noted, and nothing can be interrupted
    with pytest.raises(RunFolderError, match=r"process\.json isn't there: .* by Ctrl-C"):
        interrupt(file)


def test_a_process_that_has_the_number_of_another_is_left_alone(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    # Given a process that began at another moment than the one that is noted
    file = tmp_path / "process.json"
    file.write_text(RunProcess(pid=other.pid, started=1).model_dump_json())
    # When the run's is to be interrupted, then it isn't
    with pytest.raises(RunFolderError, match=f"process {other.pid} isn't the run's"):
        interrupt(file)
    assert other.poll() is None


def test_a_process_that_has_ended_is_told_of(tmp_path: Path) -> None:
    # Given a process that has ended
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    file = tmp_path / "process.json"
    file.write_text(RunProcess(pid=process.pid, started=1).model_dump_json())
    # When it is to be interrupted, then that is said
    with pytest.raises(RunFolderError, match="it has ended"):
        interrupt(file)


@pytest.mark.parametrize("text", ["", "{}", '{"pid": 0, "started": 1}', '{"pid": -1, "started": 1}', "[]"])
def test_a_damaged_file_interrupts_nobody(tmp_path: Path, text: str) -> None:
    # Given a file that names no process, when it is to be interrupted, then that is said
    file = tmp_path / "process.json"
    file.write_text(text)
    with pytest.raises(RunFolderError, match="is damaged"):
        interrupt(file)


def test_a_process_of_another_user_is_not_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a system that doesn't let this user end the process
    def refuse(*_: object) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    # When it is to be interrupted, then that is said
    with noted(tmp_path / "p"), pytest.raises(RunFolderError, match="can't be told to end: not permitted"):
        interrupt(tmp_path / "p")
