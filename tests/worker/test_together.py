"""Orders that come together: each in its own time, and when their answers go out."""

from __future__ import annotations

import multiprocessing
import signal
import time
from types import FrameType

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from tasks.messages import HARD_LIMIT_S
from tests.support import train_order
from worker.together import HOLD_S, SLACK_S, Answer, Limits, answer_each


def test_at_an_orders_timeout_the_process_gets_the_signal_of_a_soft_limit() -> None:
    # Given what a soft limit's signal does
    told: list[int] = []

    def tell(number: int, _: FrameType | None) -> None:
        told.append(number)

    former, limits = signal.signal(signal.SIGUSR1, tell), Limits()
    try:
        # When an order is at work when its time is over, then it is told, and the process goes on
        with limits.of(train_order(timeout_s=0.05)):
            while not told:
                signal.pause()
        assert told == [signal.SIGUSR1]
        # And one that ends before isn't, nor is what comes after it
        with limits.of(train_order(timeout_s=60.0)):
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        limits.lift()
        signal.signal(signal.SIGUSR1, former)


def _hang(*timeouts_s: float) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: None)
    limits = Limits()
    for timeout_s in timeouts_s[:-1]:
        with limits.of(train_order(timeout_s=timeout_s)):
            pass
    with limits.of(train_order(timeout_s=timeouts_s[-1])):
        pow(7, 10**9)  # for hours, and no other thread of Python runs meanwhile


@pytest.mark.parametrize("timeouts_s", [(0.05,), (600.0, 0.05), (0.05, 0.05 + SLACK_S / 2)])
def test_a_process_that_hangs_in_compiled_code_is_ended_at_the_hard_limit(timeouts_s: tuple[float, ...]) -> None:
    # Given orders of which the last hangs, be it after one that had much longer, or almost as long
    process = multiprocessing.get_context("spawn").Process(target=_hang, args=timeouts_s)
    process.start()
    process.join(60)
    try:
        assert process.exitcode == 1
    finally:
        process.kill()


def _store(within_s: float) -> None:
    """Carry an order out, and be at storing its answer when its hard limit is over."""
    limits = Limits()
    with limits.of(train_order(timeout_s=0.05)):
        pass
    limits.lift(within_s)
    time.sleep(HARD_LIMIT_S + 2 * SLACK_S)


@pytest.mark.parametrize(("within_s", "exit_code"), [(60.0, 0), (0.0, 1)])
def test_storing_answers_ends_no_process_unless_the_limit_is_further_away_than_that(
    within_s: float, exit_code: int
) -> None:
    # Given a process that stores an answer while the hard limit of its order passes, then it goes on
    process = multiprocessing.get_context("spawn").Process(target=_store, args=(within_s,))
    process.start()
    process.join(60)
    try:
        # But not where the limit was to come later than storing takes at the most
        assert process.exitcode == exit_code
    finally:
        process.kill()


def test_answers_go_out_in_order_and_before_what_takes_long_is_over() -> None:
    # Given orders, of which nobody waits for the second any more, and the third takes a while
    stored: list[tuple[str, object]] = []
    seen: list[int] = []

    def carry_out(message: object, order_id: str) -> Answer | None:
        assert isinstance(message, dict)
        time.sleep(message["seconds"])
        seen.append(len(stored))
        return None if order_id == "b" else {"of": order_id}

    messages = [{"order_id": name, "seconds": HOLD_S if name == "c" else 0.0} for name in "abcde"]
    answer_each(messages, carry_out, lambda answers: stored.extend(answers.items()))
    # Then each that is waited for is answered once
    assert stored == [(name, {"of": name}) for name in "acde"]
    # And what was held when the third had taken its while went out before the fourth was begun
    assert seen[3] == 2


def test_answers_that_are_held_go_out_if_the_next_order_goes_wrong() -> None:
    # Given two orders, the second of which ends the task that brought both
    stored: list[str] = []

    def carry_out(_message: object, order_id: str) -> Answer:
        if order_id == "b":
            raise SoftTimeLimitExceeded
        return {}

    messages = [{"order_id": name} for name in "ab"]
    with pytest.raises(SoftTimeLimitExceeded):
        answer_each(messages, carry_out, stored.extend)
    # Then the first is answered all the same
    assert stored == ["a"]


@pytest.mark.parametrize("message", ["not an order", None, {"client_id": "anna"}, {"order_id": ["a"]}])
def test_what_is_no_order_is_carried_out_as_any_other(message: object) -> None:
    # Given a message that says no id, then the one who carries it out says what is wrong with it
    seen: list[object] = []
    answer_each([message], lambda each, _: seen.append(each), seen.append)
    assert seen == [message]
