from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.driver.lifecycle import Interrupted, Signals
from orchestrator.store.run_folder import RunFolder
from tasks.arrays import write_file
from tests.orchestrator.driver.contexts import MODEL
from tests.support import round_record, run_config

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    """The session's handlers, and afterwards those that were there before."""
    before = [signal.getsignal(number) for number in NUMBERS]
    signals = Signals()
    signals.handle()
    yield signals
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


class SignalledAtItsEnd:
    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10))  # somewhere in here Python runs the handler


def test_a_signal_that_comes_while_an_object_is_destroyed_is_heeded_all_the_same(
    signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a signal whose exception Python swallows
    swallowed: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: swallowed.append(unraisable.exc_value))
    signalled = SignalledAtItsEnd()
    del signalled
    assert [type(each) for each in swallowed] == [Interrupted]

    # When the run next looks after things, then it is interrupted, with the exit code of that signal
    with pytest.raises(Interrupted) as interrupted:
        signals.heeding(lambda: False)()
    assert interrupted.value.exit_code == 128 + signal.SIGTERM


SLOW = """
import time
from tasks.files import replacing

class Slow:
    def __init__(self, context):
        with replacing(context.folder / "slow.txt") as temporary:
            temporary.write_text("beg")
            time.sleep(1)
            temporary.write_text("whole")

    def observe(self, event): ...
    def close(self): ...
"""


def test_what_an_observer_is_writing_when_the_run_ends_is_there_in_the_end(tmp_path: Path) -> None:
    # Given a run that is over, and what a process that was killed has left there
    folder = RunFolder.create(tmp_path / "run", run_config(rounds=1))
    digest = write_file(folder.checkpoint(1), MODEL)
    folder.close_round(round_record(1, digest=digest))
    left_over = folder.path / "plot.png.1.tmp"
    left_over.write_text("half")
    (tmp_path / "slowly.py").write_text(SLOW)
    # When it is taken up again, with nothing to do, and an observer that is still writing then
    command = [sys.executable, "-m", "orchestrator.start", "--resume", "run", "--observe", "slowly:Slow"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    # Then what it wrote is there, and nothing half-written is
    assert (folder.path / "slow.txt").read_text() == "whole"
    assert list(folder.path.glob("*.tmp")) == []


def test_without_a_signal_things_are_looked_after(signals: Signals) -> None:
    assert signals.heeding(lambda: True)() is True


def test_a_terminal_that_is_closed_ends_no_run_that_was_started_with_nohup() -> None:
    # Given an orchestrator that has SIGHUP ignored from its start
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        # When it sets its handlers and the terminal is closed, then it goes on, and heeds the other signals
        Signals().handle()
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
