"""Which orders go together, and which of a group that has failed are sent again."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clients.waves import Place
from orchestrator.transport.groups import GROUP_S, Durations, Groups, group_size, in_groups, usual_size
from tasks.messages import Status
from tasks.orders.train import TrainOrder
from tests.support import evaluate_order, train_order, trained

WARD = Place("clients.ward.9", num_processes=2, most_together=32)


def orders(count: int, **changes: Any) -> list[TrainOrder]:
    return [train_order(f"ward-{number}", **changes) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "seconds", "place", "expected"),
    [
        # Given quick orders, then there are two groups for each process
        (40, 0.001, WARD, [10, 10, 10, 10]),
        (3, 0.001, WARD, [1, 1, 1]),
        (400, 0.001, WARD, [32] * 12 + [16]),
        # Given orders of which three take as long as a group may, or one does, or nobody knows
        (40, GROUP_S / 3, WARD, [3] * 13 + [1]),
        (4, GROUP_S, WARD, [1] * 4),
        (4, 60.0, WARD, [1] * 4),
        (4, math.inf, WARD, [1] * 4),
        # Given a worker that takes one at a time, or is of a version that says nothing of it
        (8, 0.001, Place("clients.ward.9", 2), [1] * 8),
    ],
)
def test_quick_orders_go_together(count: int, seconds: float, place: Place, expected: list[int]) -> None:
    sent = orders(count)
    groups = in_groups(sent, [seconds] * count, lambda _: place)
    assert [len(group) for group in groups] == expected
    # Then each goes once, in order
    assert [order for group in groups for order in group] == sent


def test_orders_that_others_follow_are_not_shared_out_among_the_processes() -> None:
    groups = in_groups(orders(40), [0.001] * 40, lambda _: WARD, more_follow=True)
    assert [len(group) for group in groups] == [32, 8]


def test_orders_of_other_workers_and_those_that_wait_for_a_turn_go_alone() -> None:
    # Given orders to two workers by turns
    other = Place("clients.north.9", 1, 32)
    groups = in_groups(orders(8), [0.001] * 8, lambda client_id: WARD if int(client_id[-1]) % 2 else other)
    # Then no group is of both
    numbers = ["".join(order.client_id[-1] for order in group) for group in groups]
    assert numbers == ["02", "46", "1", "3", "5", "7"]
    # And of a crowded round, whose clients wait for a turn, none goes with another
    waiting = orders(40, waits_for_turn=True)
    assert in_groups(waiting, [0.001] * 40, lambda _: WARD) == [[order] for order in waiting]


def test_a_client_is_expected_to_take_as_long_as_the_last_time() -> None:
    # Given what clients took for orders of a kind
    durations, [quick, slow, lost, cut, failed, new] = Durations(), orders(6)
    assert durations.expected([quick]) == [math.inf]
    for order, seconds in ((quick, 9.0), (quick, 0.01), (slow, 3.0)):
        durations.note(order, trained(order, duration_s=seconds))
    durations.note(lost, lost.respond(Status.LOST))
    durations.note(failed, failed.respond(Status.FAILED))
    durations.note(cut, trained(cut, status=Status.TIMED_OUT, duration_s=0.5))
    # Then nobody waits for those that were lost, cut short, or have failed, and of one that is new it is what is usual
    expected = [0.01, 3.0, math.inf, math.inf, math.inf, math.inf]
    assert durations.expected([quick, slow, lost, cut, failed, new]) == expected
    durations.note(cut, trained(cut, duration_s=0.5))
    assert durations.expected([new]) == [3.0]
    # And nothing is known of another kind
    assert durations.expected([evaluate_order("ward-0")]) == [math.inf]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 7.0, None]))))
def test_what_is_usual_is_the_median_of_what_each_took_the_last_time(said: list[tuple[int, float | None]]) -> None:
    # Given what clients took, some again and again; None: lost
    durations, asked = Durations(), orders(6)
    last: dict[int, float] = {}
    for number, seconds in said:
        order = asked[number]
        durations.note(order, order.respond(Status.LOST) if seconds is None else trained(order, duration_s=seconds))
        last[number] = math.inf if seconds is None else seconds
    # Then a new one is expected to take what is usual
    assert durations.expected(asked[5:]) == [statistics.median(last.values()) if last else math.inf]


@pytest.mark.parametrize(("seconds", "size"), [([math.inf, 0.0, 0.0], 32), ([0.0, 9.0, 9.0], 1)])
def test_one_client_does_not_decide_how_many_usually_go_together(seconds: list[float], size: int) -> None:
    assert usual_size(orders(3), seconds, WARD) == size


@pytest.mark.parametrize(("seconds", "size"), [(0.0, 32), (GROUP_S / 5, 5), (GROUP_S, 1), (9.0, 1), (math.inf, 1)])
def test_as_many_go_together_as_take_the_time_of_a_group(seconds: float, size: int) -> None:
    [order] = orders(1)
    assert group_size(order, seconds, WARD) == size
    # And none goes with another to a worker of one client, or where it waits for its turn
    assert group_size(order, seconds, Place("client.anna")) == 1
    assert group_size(order.model_copy(update={"waits_for_turn": True}), seconds, WARD) == 1


def test_of_a_group_that_has_failed_those_are_known_that_were_not_answered() -> None:
    # Given two groups, of the first of which one order is answered, and one is sent again with the second
    groups, [first, second, third, fourth] = Groups(), orders(4)
    one = groups.add([first, second, third])
    groups.answered([first.order_id, "of another group"])
    other = groups.add([third, fourth])
    assert groups.ids() == [one, other]
    assert one != other
    # When the first fails, then what is left of it is known, once
    assert groups.failed(one) == [second]
    assert groups.failed(one) == []
    assert groups.ids() == [other]
    # And a group of which all is answered is none any more
    groups.answered([third.order_id, fourth.order_id])
    assert groups.ids() == []
