from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.flow import LEAST, LEAST_SLOW, Flow, slow_after_s, slow_updates_at_a_time, updates_at_a_time


@pytest.mark.parametrize(
    ("in_flight_bytes", "update_bytes", "expected"),
    [
        (64e6, 400_000, 160),
        (64e6, 40_000_000, LEAST),
        (64e6, 400_000_000, LEAST),
        (200e6, 40_000_000, 5),
        (1, 0, LEAST),
    ],
)
def test_as_many_updates_as_fit_may_be_on_their_way_and_three_in_any_case(
    in_flight_bytes: float, update_bytes: int, expected: int
) -> None:
    assert updates_at_a_time(in_flight_bytes, update_bytes) == expected


@pytest.mark.parametrize(
    ("in_flight_bytes", "update_bytes", "expected"),
    [
        (64e6, 400_000, 2560),
        (64e6, 40_000_000, 25),
        (64e6, 400_000_000, LEAST_SLOW),
        (250e6, 40_000_000, 100),
        (1, 10**9, LEAST_SLOW),
    ],
)
def test_on_slow_lines_sixteen_times_the_bytes_may_be_on_their_way_and_eight_updates_in_any_case(
    in_flight_bytes: float, update_bytes: int, expected: int
) -> None:
    assert slow_updates_at_a_time(in_flight_bytes, update_bytes) == expected


@pytest.mark.parametrize(
    ("in_flight_bytes", "update_bytes", "expected"),
    [
        (1e6, 500_000, 0.5),  # that of a few small ones is the work of processes
        (125e6, 500_000, 1.0),  # 250 updates of half a megabyte, at 125 MB a second
        (62.5e6, 50_000_000, 0.8),  # two of 50
        (250e6, 50_000_000, 2.0),
    ],
)
def test_a_line_is_slow_if_it_takes_longer_than_all_would_that_share_a_gigabit(
    in_flight_bytes: float, update_bytes: int, expected: float
) -> None:
    assert slow_after_s(in_flight_bytes, update_bytes) == pytest.approx(expected)


def test_turns_are_given_in_order_as_updates_are_taken_in() -> None:
    # Given room for two, and four that are ready
    flow = Flow(2)
    for order_id in "abcd":
        flow.wait(order_id)
    # When turns are given, then the first two have them
    assert flow.give(0.0) == [("a", False), ("b", False)]
    assert flow.give(0.0) == []
    # An update that has been sent is still on its way, until it is taken in
    flow.answered("a", "part-a")
    assert (flow.give(0.1), flow.parts()) == ([], ["part-a"])
    assert flow.taken_in("part-a")
    assert flow.give(0.1) == [("c", False)]
    # One that failed after all makes room at once
    flow.answered("b", None)
    assert flow.give(0.1) == [("d", False)]
    assert not flow.taken_in("part-a")


def test_held_orders_go_out_as_there_is_room() -> None:
    # Given three orders that are held, and room for two
    flow = Flow(2, held=["a", "b", "c"])
    assert [flow.is_held(order_id) for order_id in "abc"] == [True] * 3
    # When turns are given, then two go out, and their clients don't wait for another turn
    assert flow.give(0.0) == [("a", True), ("b", True)]
    assert [flow.is_held(order_id) for order_id in "abc"] == [False, False, True]
    assert not any(flow.is_ready(order_id) for order_id in "abc")
    # One that is lost makes room
    flow.over("a")
    assert flow.give(0.0) == [("c", True)]
    # One that comes later is held behind them
    flow.hold("d")
    assert (flow.give(0.0), flow.is_held("d")) == ([], True)


def test_one_that_says_twice_that_it_is_ready_gets_one_turn_and_another_when_it_is_started_anew() -> None:
    flow = Flow(3)
    flow.wait("a")
    flow.wait("a")
    assert flow.give(0.0) == [("a", False)]
    flow.wait("a")
    assert flow.give(0.0) == []
    assert flow.has_turn("a")
    # When its client is started anew, then it starts over
    flow.sent_anew("a", 1.0)
    assert not flow.has_turn("a")
    assert not flow.is_ready("a")
    flow.wait("a")
    assert flow.is_ready("a")
    assert flow.give(0.0) == [("a", False)]


def test_an_order_that_had_its_turn_before_it_was_sent_keeps_that_when_it_is_sent_anew() -> None:
    # Given an order that was held, and has gone out
    flow = Flow(1, most=2, slow_s=2.0, held=["a", "b"])
    assert flow.give(0.0) == [("a", True)]
    # When it is sent again, to a worker that was started anew, then it has its time again, and nobody else has a turn
    flow.sent_anew("a", 2.0)
    assert flow.has_turn("a")
    assert flow.give(2.0) == []
    # Only then is it slow
    assert flow.give(4.0) == [("b", True)]


def test_a_slow_line_makes_room_for_others_up_to_a_limit() -> None:
    # Given room for one, and more that wait than may ever be on their way
    flow = Flow(1, most=5, slow_s=2.0)
    for number in range(8):
        flow.wait(str(number))
    # When nothing comes for long, then one more is let in each time, but not without end
    given = [len(flow.give(number * 2.0)) for number in range(8)]
    assert given == [1] * 5 + [0] * 3


def test_slow_lines_make_no_room_where_no_more_may_be_on_their_way_than_the_limit() -> None:
    flow = Flow(2, slow_s=2.0)
    for order_id in "abc":
        flow.wait(order_id)
    assert [len(flow.give(number * 2.0)) for number in range(3)] == [2, 0, 0]


def test_an_update_that_is_being_taken_in_makes_no_room_however_long_it_takes() -> None:
    flow = Flow(1, most=5, slow_s=2.0)
    flow.wait("a")
    flow.wait("b")
    flow.give(0.0)
    flow.answered("a", "part-a")
    assert flow.give(200.0) == []
    # When its task is lost and sent again under another id, then that counts
    flow.renew({"again-a": "a", "again-x": "x"})
    assert not flow.taken_in("part-a")
    assert not flow.taken_in("again-x")
    assert flow.taken_in("again-a")
    assert flow.give(200.0) == [("b", False)]


@given(limit=st.integers(1, 5), events=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=80))
def test_never_more_than_the_limit_are_on_their_way_and_nobody_is_forgotten(
    limit: int, events: list[tuple[int, int]]
) -> None:
    # Given a flow on fast lines, and updates that become ready, are sent, taken in and lost in any order
    flow, on_their_way, sent = Flow(limit), set[str](), set[str]()
    ready = dict.fromkeys(map(str, range(10)), False)
    for number, event in events:
        order_id = str(number)
        if event == 0 and not ready[order_id]:
            ready[order_id] = True
            flow.wait(order_id)
        elif event == 1 and order_id in on_their_way - sent:
            sent.add(order_id)
            flow.answered(order_id, f"part-{order_id}")
        elif event == 2 and order_id in sent & on_their_way:
            assert flow.taken_in(f"part-{order_id}")
            on_their_way.discard(order_id)
        elif event == 3 and order_id in on_their_way - sent:
            flow.over(order_id)
            on_their_way.discard(order_id)
        on_their_way |= {given for given, _ in flow.give(0.0)}
        assert len(on_their_way) <= limit
    # When all that are on their way come, then all that were ready get a turn
    had_turn = set(on_their_way)
    while on_their_way:
        for order_id in list(on_their_way):
            if order_id not in sent:
                flow.answered(order_id, f"part-{order_id}")
            assert flow.taken_in(f"part-{order_id}")
            on_their_way.discard(order_id)
        new = {given for given, _ in flow.give(0.0)}
        on_their_way |= new
        had_turn |= new
    assert flow.parts() == []
    assert had_turn <= {order_id for order_id, was in ready.items() if was}
