from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.transport.uploads import (
    LEAST,
    LEAST_SLOW,
    Uploads,
    slow_after_s,
    slow_updates_at_a_time,
    updates_at_a_time,
)


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
    uploads = Uploads(2)
    for order_id in "abcd":
        uploads.wait(order_id)
    # When turns are given, then the first two have them
    assert uploads.give(0.0) == ["a", "b"]
    assert uploads.give(0.0) == []
    # An update that has been sent is still on its way, until it is taken in
    uploads.answered("a", "part-a", 0.1)
    assert (uploads.give(0.1), uploads.parts()) == ([], ["part-a"])
    assert uploads.taken_in("part-a")
    assert uploads.give(0.1) == ["c"]
    # One that failed after all makes room at once
    uploads.answered("b", None, 0.1)
    assert uploads.give(0.1) == ["d"]
    assert not uploads.taken_in("part-a")


def test_one_that_says_twice_that_it_is_ready_gets_one_turn_and_another_when_it_is_started_anew() -> None:
    uploads = Uploads(3)
    uploads.wait("a")
    uploads.wait("a")
    assert uploads.give(0.0) == ["a"]
    uploads.wait("a")
    assert uploads.give(0.0) == []
    assert uploads.has_turn("a")
    # When its client is started anew, then it starts over
    uploads.restart("a")
    assert not uploads.has_turn("a")
    assert not uploads.is_ready("a")
    uploads.wait("a")
    assert uploads.is_ready("a")
    assert uploads.give(0.0) == ["a"]


def test_a_slow_line_makes_room_for_others_up_to_a_limit() -> None:
    # Given room for one, and more that wait than may ever be on their way
    uploads = Uploads(1, most=5, slow_s=2.0)
    for number in range(8):
        uploads.wait(str(number))
    # When nothing comes for long, then one more is let in each time, but not without end
    given = [len(uploads.give(number * 2.0)) for number in range(8)]
    assert given == [1] * 5 + [0] * 3


def test_slow_lines_make_no_room_where_no_more_may_be_on_their_way_than_the_limit() -> None:
    uploads = Uploads(2, slow_s=2.0)
    for order_id in "abc":
        uploads.wait(order_id)
    assert [len(uploads.give(number * 2.0)) for number in range(3)] == [2, 0, 0]


def test_an_update_that_is_being_taken_in_makes_no_room_however_long_it_takes() -> None:
    uploads = Uploads(1, most=5, slow_s=2.0)
    uploads.wait("a")
    uploads.wait("b")
    uploads.give(0.0)
    uploads.answered("a", "part-a", 0.1)
    assert uploads.give(200.0) == []
    # Nor is its client looked at
    assert uploads.silent(200.0) == []


@pytest.mark.parametrize(("first", "second"), [("part-a", "again-a"), ("again-a", "part-a")])
def test_of_the_tasks_that_take_an_update_in_the_first_counts(first: str, second: str) -> None:
    # Given an update whose task may be lost, so that it is sent again under another id, with those of others
    uploads = Uploads(1)
    uploads.wait("a")
    uploads.wait("b")
    uploads.give(0.0)
    uploads.answered("a", "part-a", 1.0)
    assert (uploads.oldest_s(0.5), uploads.oldest_s(301.0)) == (-0.5, 300.0)
    uploads.renew({"again-a": ["a"], "again-x": ["x"]}, 301.0)
    assert uploads.oldest_s(302.0) == 1.0
    assert not uploads.taken_in("again-x")
    # When one of the two ends, then there is room, once, and nothing to be lost any more
    assert uploads.taken_in(first)
    assert uploads.oldest_s(900.0) == 0.0
    assert uploads.give(302.0) == ["b"]
    assert uploads.taken_in(second)
    uploads.wait("c")
    assert uploads.give(302.0) == []


def test_the_next_change_is_when_the_next_line_becomes_slow_if_that_makes_room() -> None:
    # Given room for two, or three with slow lines, and three updates of which two are sent
    uploads = Uploads(2, most=3, slow_s=2.0)
    assert uploads.next_change(0.0) == math.inf
    uploads.wait("a")
    uploads.give(0.0)
    uploads.wait("b")
    uploads.give(0.5)
    # When nobody waits, then there is nothing to be done
    assert uploads.next_change(0.5) == math.inf
    # When others do, then there is room for one of them as soon as the first line is slow, and not before
    uploads.wait("c")
    uploads.wait("d")
    assert uploads.next_change(0.5) == 2.0
    assert uploads.give(1.999) == []
    assert uploads.give(2.0) == ["c"]
    # And then there is none, however slow the others become
    assert uploads.next_change(2.0) == math.inf
    # An update that was sent becomes slow no more
    uploads.restart("c")
    uploads.answered("b", "part-b", 2.1)
    assert uploads.give(2.1) == ["d"]
    uploads.wait("e")
    assert uploads.next_change(2.1) == math.inf


def turns_given(uploads: Uploads, ready: list[float], looks: list[float]) -> dict[str, float]:
    """When each of some updates gets its turn that are never sent, where one looks at ``looks`` and when told to."""
    turns: dict[str, float] = {}
    coming = sorted((when, str(number)) for number, when in enumerate(ready))
    now = 0.0
    while now < math.inf:
        while coming and coming[0][0] <= now:
            uploads.wait(coming.pop(0)[1])
        turns |= dict.fromkeys(uploads.give(now), now)
        now = min(
            [uploads.next_change(now), *(when for when, _ in coming[:1]), *[look for look in looks if look > now][:1]]
        )
    return turns


@given(
    limit=st.integers(1, 4),
    extra=st.integers(0, 4),
    slow_s=st.sampled_from([0.1, 0.7, 3.0]),
    ready=st.lists(st.floats(0, 5), min_size=1, max_size=12),
    looks=st.lists(st.floats(0, 30), max_size=50),
)
def test_whoever_looks_when_something_changes_need_not_look_more_often(
    limit: int, extra: int, slow_s: float, ready: list[float], looks: list[float]
) -> None:
    uploads = [Uploads(limit, limit + extra, slow_s) for _ in range(2)]
    turns = turns_given(uploads[0], ready, [])
    assert turns == turns_given(uploads[1], ready, sorted(looks))
    assert len(turns) == min(len(ready), limit + extra)


def test_who_sends_nothing_while_others_wait_is_known_after_a_while() -> None:
    # Given room for two updates, and two clients that have their turn since different times
    uploads = Uploads(2, patience_s=10.0)
    uploads.wait("a")
    uploads.give(0.0)
    uploads.wait("b")
    uploads.give(4.0)
    # When nobody waits, then they may take their time
    assert uploads.silent(10.0) == []
    # When somebody does, then they are to be looked at
    uploads.wait("c")
    assert (uploads.next_change(5.0), uploads.silent(9.9)) == (10.0, [])
    assert uploads.silent(10.0) == ["a"]
    # One of whose update something has come has as long again
    assert uploads.looked_at("a", 1, 10.0)
    assert (uploads.silent(13.9), uploads.silent(14.0), uploads.next_change(13.9)) == ([], ["b"], 14.0)
    assert not uploads.looked_at("b", 0, 14.0)
    uploads.restart("b")
    assert uploads.give(14.0) == ["c"]
    # If nothing more has come then, it has had its time; but not while there is room for all
    assert uploads.silent(20.0) == []
    uploads.wait("d")
    assert uploads.silent(20.0) == ["a"]
    assert not uploads.looked_at("a", 1, 20.0)


@pytest.mark.parametrize(
    ("megabytes", "num_stuck", "expected_s"),
    [
        (4, 2, 0.0),  # there is room for sixteen
        (4, 8, 0.0),
        (4, 16, 0.512),  # and for others beside those that are slow by then
        (400, 2, 6.4),  # there is room for two
        (400, 8, 60.0),  # eight are all that may be on their way: two of them have had their time
        (400, 16, 120.0),  # and the next eight
    ],
)
def test_clients_that_never_send_keep_others_waiting_for_a_bounded_time(
    megabytes: int, num_stuck: int, expected_s: float
) -> None:
    # Given clients that say that they are ready before all others, and send nothing
    allowed = 64e6, megabytes * 10**6
    limits = updates_at_a_time(*allowed), slow_updates_at_a_time(*allowed)
    uploads = Uploads(*limits, slow_after_s(*allowed), patience_s=60.0)
    good = [f"good-{number}" for number in range(20)]
    for order_id in [*(f"stuck-{number}" for number in range(num_stuck)), *good]:
        uploads.wait(order_id)
    now = 0.0
    taken_in: list[str] = []
    # When they are given up as they are found out, while the others send, and are taken in, in no time
    while len(taken_in) < len(good):
        for order_id in uploads.silent(now):
            assert not uploads.looked_at(order_id, 0, now)
            uploads.restart(order_id)
        given = uploads.give(now)
        for order_id in set(given) & set(good):
            uploads.answered(order_id, order_id, now)
            assert uploads.taken_in(order_id)
            taken_in.append(order_id)
        if not given:
            assert now < math.inf
            now = uploads.next_change(now)
    # Then all others have come by then
    assert now == pytest.approx(expected_s)


@given(limit=st.integers(1, 5), events=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=80))
def test_never_more_than_the_limit_are_on_their_way_and_nobody_is_forgotten(
    limit: int, events: list[tuple[int, int]]
) -> None:
    # Given uploads on fast lines, and updates that become ready, are sent, taken in and lost in any order
    uploads, on_their_way, sent = Uploads(limit), set[str](), set[str]()
    ready = dict.fromkeys(map(str, range(10)), False)
    for number, event in events:
        order_id = str(number)
        if event == 0 and not ready[order_id]:
            ready[order_id] = True
            uploads.wait(order_id)
        elif event == 1 and order_id in on_their_way - sent:
            sent.add(order_id)
            uploads.answered(order_id, f"part-{order_id}", 0.0)
        elif event == 2 and order_id in sent & on_their_way:
            assert uploads.taken_in(f"part-{order_id}")
            on_their_way.discard(order_id)
        elif event == 3 and order_id in on_their_way - sent:
            uploads.restart(order_id)
            on_their_way.discard(order_id)
        on_their_way |= set(uploads.give(0.0))
        assert len(on_their_way) <= limit
    # When all that are on their way come, then all that were ready get a turn
    had_turn = set(on_their_way)
    while on_their_way:
        for order_id in list(on_their_way):
            if order_id not in sent:
                uploads.answered(order_id, f"part-{order_id}", 0.0)
            assert uploads.taken_in(f"part-{order_id}")
            on_their_way.discard(order_id)
        new = set(uploads.give(0.0))
        on_their_way |= new
        had_turn |= new
    assert uploads.parts() == []
    assert had_turn <= {order_id for order_id, was in ready.items() if was}


def test_orders_go_out_in_order_as_many_as_their_queue_has_room_for() -> None:
    # Given orders to two workers, with room for two and for one
    uploads = Uploads()
    for order_id in "abc":
        uploads.hold(order_id, "north", 2)
    for order_id in "xy":
        uploads.hold(order_id, "south", 1)
    assert all(uploads.is_held(order_id) for order_id in "abcxy")
    # When they are released, then no worker waits for the other's orders to be done
    assert uploads.release() == ["a", "b", "x"]
    assert uploads.release() == []
    assert [uploads.is_held(order_id) for order_id in "abcxy"] == [False, False, True, False, True]
    # As one is done, or lost, the next goes out
    uploads.done("b")
    assert uploads.release() == ["c"]
    uploads.done("x")
    assert uploads.release() == ["y"]
    # One that comes later waits its turn, and one that is lost before it has gone out never goes
    uploads.hold("d", "north", 2)
    uploads.hold("e", "north", 2)
    uploads.done("d")
    assert uploads.release() == []
    uploads.done("a")
    assert uploads.release() == ["e"]
    # An order that was never held is none of these
    uploads.done("else")
    assert not uploads.is_held("else")


def test_an_order_that_turns_out_to_have_been_sent_is_not_sent_again_and_takes_up_room() -> None:
    uploads = Uploads()
    for order_id in "abc":
        uploads.hold(order_id, "north", 1)
    uploads.was_sent("b")
    uploads.was_sent("else")
    assert not uploads.is_held("b")
    assert uploads.release() == []
    uploads.done("b")
    assert uploads.release() == ["a"]


@given(
    room=st.integers(1, 4),
    together=st.integers(1, 4),
    events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=60),
)
def test_never_more_are_out_than_there_is_room_for_and_each_goes_out_once(
    room: int, together: int, events: list[tuple[int, int]]
) -> None:
    uploads, out, gone = Uploads(), set[str](), set[str]()
    for number in range(10):
        uploads.hold(str(number), "north", room, together)
    for event, number in [*events, *((1, number) for number in range(10))]:
        if event == 0:
            due = uploads.release()
            assert not gone & set(due)
            assert not any(uploads.is_held(order_id) for order_id in due)
            # And as many as go together go out at a time, or all that are left
            assert not due or len(due) >= together or not uploads.holds_any()
            gone |= set(due)
            out |= set(due)
        elif event == 1 and str(number) in out:
            uploads.done(str(number))
            out.discard(str(number))
        assert len(out) <= room * together
        assert uploads.holds_any() == (len(gone) < 10)
    # When all that are out get done again and again, then all have gone out
    while due := uploads.release():
        for order_id in due:
            assert order_id not in gone
            gone.add(order_id)
            uploads.done(order_id)
    assert gone == set(map(str, range(10)))


def test_the_next_order_goes_out_when_an_update_is_taken_in_not_when_it_is_sent() -> None:
    # Given a worker with room for one order, and the answer to it
    uploads = Uploads()
    for order_id in "ab":
        uploads.hold(order_id, "north", 1)
    assert uploads.release() == ["a"]
    uploads.answered("a", "part-a", 1.0)
    assert uploads.release() == []
    # When its update is taken in, then the next goes out; and so it does at once if there is none to take in
    assert uploads.taken_in("part-a")
    assert uploads.release() == ["b"]
    uploads.hold("c", "north", 1)
    uploads.answered("b", None, 2.0)
    assert uploads.release() == ["c"]
