from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.held_orders import HeldOrders


def test_orders_go_out_in_order_as_many_as_their_queue_has_room_for() -> None:
    # Given orders to two workers, with room for two and for one
    held = HeldOrders()
    for order_id in "abc":
        held.hold(order_id, "north", 2)
    for order_id in "xy":
        held.hold(order_id, "south", 1)
    assert all(held.is_held(order_id) for order_id in "abcxy")
    # When they are released, then no worker waits for the other's orders to be done
    assert held.release() == ["a", "b", "x"]
    assert held.release() == []
    assert [held.is_held(order_id) for order_id in "abcxy"] == [False, False, True, False, True]
    # As one is done, or lost, the next goes out
    held.over("b")
    assert held.release() == ["c"]
    held.over("x")
    assert held.release() == ["y"]
    # One that comes later waits its turn, and one that is lost before it has gone out never goes
    held.hold("d", "north", 2)
    held.hold("e", "north", 2)
    held.over("d")
    assert held.release() == []
    held.over("a")
    assert held.release() == ["e"]
    # An order that was never held is none of these
    held.over("else")
    assert not held.is_held("else")


def test_an_order_that_turns_out_to_have_been_sent_is_not_sent_again_and_takes_up_room() -> None:
    held = HeldOrders()
    for order_id in "abc":
        held.hold(order_id, "north", 1)
    held.was_sent("b")
    held.was_sent("else")
    assert not held.is_held("b")
    assert held.release() == []
    held.over("b")
    assert held.release() == ["a"]


@given(room=st.integers(1, 4), events=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=60))
def test_never_more_are_out_than_there_is_room_for_and_each_goes_out_once(
    room: int, events: list[tuple[int, int]]
) -> None:
    held, out, gone = HeldOrders(), set[str](), set[str]()
    for number in range(10):
        held.hold(str(number), "north", room)
    for event, number in [*events, *((1, number) for number in range(10))]:
        if event == 0:
            due = held.release()
            assert not gone & set(due)
            assert not any(held.is_held(order_id) for order_id in due)
            gone |= set(due)
            out |= set(due)
        elif event == 1 and str(number) in out:
            held.over(str(number))
            out.discard(str(number))
        assert len(out) <= room
    # When all that are out get done again and again, then all have gone out
    while due := held.release():
        for order_id in due:
            assert order_id not in gone
            gone.add(order_id)
            held.over(order_id)
    assert gone == set(map(str, range(10)))
