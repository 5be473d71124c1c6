from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from orchestrator.driver.lifecycle import Interrupted, Signals

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
