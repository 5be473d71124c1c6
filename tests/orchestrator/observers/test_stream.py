from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from orchestrator.observers import Observer
from orchestrator.observers.events import Event, Waiting
from orchestrator.observers.stream import MOST_FAILURES, EventStream

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def waiting(number: int) -> Waiting:
    return Waiting(num_connected=number, num_needed=100)


class Keeping:
    """Keeps what it is told; waits before each for ``gate``, and may fail at it."""

    def __init__(self, fails: Callable[[int], bool] = lambda _: False) -> None:
        self.told: list[Event] = []
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.is_closed = False
        self._fails = fails

    def observe(self, event: Event) -> None:
        self.begun.set()
        self.gate.wait()
        self.calls += 1
        if self._fails(self.calls):
            raise ZeroDivisionError("no luck")
        self.told.append(event)

    def close(self) -> None:
        self.is_closed = True

    @property
    def numbers(self) -> list[int]:
        return [event.num_connected for event in self.told if isinstance(event, Waiting)]


@pytest.fixture
def opened() -> Iterator[list[Keeping]]:
    """Observers whose gates are opened in the end, so that their threads end."""
    observers: list[Keeping] = []
    yield observers
    for observer in observers:
        observer.gate.set()


def streamed(*observers: Observer, count: int, **options: int | float) -> None:
    """Tell these observers so many events, and close."""
    made = {f"observer-{index}": lambda each=each: each for index, each in enumerate(observers)}
    stream = EventStream("run", made, **options)  # type: ignore[arg-type]
    for number in range(count):
        stream.report(waiting(number))
    stream.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_every_observer_is_told_every_event_in_order_with_its_time_and_run() -> None:
    # Given two observers of a stream by a clock that stands still
    first, second = Keeping(), Keeping()
    stream = EventStream("run-7", {"first": lambda: first, "second": lambda: second}, now=lambda: NOON)
    # When three events are told, and the stream is closed
    for number in range(3):
        stream.report(waiting(number))
    stream.close()
    # Then both have them, stamped, and are closed
    assert first.told == second.told
    assert first.numbers == [0, 1, 2]
    assert {(event.time, event.run_id) for event in first.told} == {("2026-01-02T12:00:00.000000+00:00", "run-7")}
    assert first.is_closed
    assert second.is_closed


def test_one_that_raises_is_logged_with_its_traceback_and_told_on(caplog: pytest.LogCaptureFixture) -> None:
    # Given an observer that fails at every second event, and one beside it
    failing, other = Keeping(lambda call: call % 2 == 1), Keeping()
    # When twenty events are told
    streamed(failing, other, count=20)
    # Then it has every second, the other all, and each failure is in the log
    assert failing.numbers == list(range(1, 20, 2))
    assert other.numbers == list(range(20))
    assert warnings(caplog) == ["observer observer-0 failed"] * 10
    assert "ZeroDivisionError: no luck" in caplog.text
    assert failing.is_closed


def test_one_that_fails_too_often_in_a_row_is_told_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    # Given an observer that fails at every event
    failing = Keeping(lambda _: True)
    # When twenty are told
    streamed(failing, count=20)
    # Then it was called five times, and that it is told nothing more is said once
    assert failing.calls == MOST_FAILURES
    assert warnings(caplog) == [
        *["observer observer-0 failed"] * MOST_FAILURES,
        "observer observer-0 is told nothing more: the run goes on without it",
    ]
    assert failing.is_closed


@pytest.mark.parametrize("error", [ZeroDivisionError("no luck"), SystemExit(3)])
def test_one_that_cant_be_made_leaves_the_others_as_they_are(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    # Given an observer that raises when it is made, or wants to end the process
    def make() -> Observer:
        raise error

    other = Keeping()
    stream = EventStream("run", {"mine": make, "other": lambda: other})
    # When an event is told
    stream.report(waiting(0))
    stream.close()
    # Then the other has it, and the log says so
    assert other.numbers == [0]
    assert warnings(caplog) == [
        "observer mine can't be made",
        "observer mine is told nothing more: the run goes on without it",
    ]


def test_one_that_hangs_holds_nobody_up_and_what_it_isnt_told_is_counted(
    caplog: pytest.LogCaptureFixture, opened: list[Keeping]
) -> None:
    # Given an observer that hangs in its first event
    hanging = Keeping()
    opened.append(hanging)
    hanging.gate.clear()
    stream = EventStream("run", {"hanging": lambda: hanging}, 4, 0.1)
    stream.report(waiting(0))
    hanging.begun.wait()
    # When ten more are told, and the stream is closed
    for number in range(1, 11):
        stream.report(waiting(number))
    stream.close()
    # Then four wait for it, six were dropped, which is said as the first is and in the end, and it isn't waited for
    assert warnings(caplog) == [
        "observer hanging is 4 events behind: it isn't told more until it has caught up",
        "observer hanging isn't done: the run ends without it",
        "observer hanging was not told 6 events",
    ]
    assert not hanging.told


def test_one_that_is_behind_goes_on_when_it_has_caught_up(opened: list[Keeping]) -> None:
    # Given an observer that is two events behind, which is as many as may be, and was not told a third
    slow = Keeping()
    opened.append(slow)
    slow.gate.clear()
    stream = EventStream("run", {"slow": lambda: slow}, 2)
    stream.report(waiting(0))
    slow.begun.wait()
    for number in (1, 2, 3):
        stream.report(waiting(number))
    # When it goes on, and the run ends
    slow.gate.set()
    stream.close()
    # Then it has those that waited
    assert slow.numbers == [0, 1, 2]
