"""The broker's clock as it is told between two looks at it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.broker.connection import Clock


class Broker:
    """Its clock is ``ahead_s`` of this process's, which stands until it is moved on."""

    def __init__(self, ahead_s: float = 1e9) -> None:
        self.now = 0.0
        self.ahead_s = ahead_s
        self.looks = 0

    def elapsed(self) -> float:
        return self.now

    def time(self) -> tuple[int, int]:
        self.looks += 1
        seconds, fraction = divmod(self.now + self.ahead_s, 1)
        return int(seconds), int(fraction * 1e6)


def clock_of(broker: Any) -> Clock:
    return Clock(broker, broker.elapsed)


@given(st.lists(st.floats(0, 3), max_size=20))
def test_the_clock_goes_with_the_brokers_and_is_looked_at_once_a_second(pauses: list[float]) -> None:
    # Given a broker whose clock goes as this process's does, when it is asked for now and then
    broker = Broker()
    clock = clock_of(broker)
    for pause in pauses:
        broker.now += pause
        # Then what it says is the broker's time
        assert abs(clock() - (broker.now + broker.ahead_s)) < 1e-5
    # And there are no more looks than seconds, begun ones included
    assert broker.looks <= int(broker.now) + 1


def test_a_broker_whose_clock_is_set_is_followed_within_a_second() -> None:
    # Given a clock that was looked at
    broker = Broker()
    clock = clock_of(broker)
    clock()
    # When the broker's is set back by an hour, then it is followed a second later
    broker.ahead_s -= 3600
    broker.now += Clock.FRESH_S
    assert clock() == broker.now + broker.ahead_s
