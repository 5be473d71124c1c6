"""Which orders still wait on their queues."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.transport.queued import Queued


def test_what_is_sent_again_while_it_is_carried_out_was_taken_once() -> None:
    # Given an order that was taken, and sent again, as its client has come back
    queued = Queued()
    queued.sent("client.anna", ["1"])
    assert queued.taken({"client.anna": 0}) == ["1"]
    queued.sent("client.anna", ["1"])
    # When it is answered, then nothing is looked at any more
    queued.answered(["1"])
    assert queued.queues() == []


def test_what_is_removed_is_not_taken() -> None:
    queued = Queued()
    queued.sent("client.anna", ["1"])
    queued.emptied("client.anna")
    queued.answered(["1"])
    assert queued.taken({}) == []
    assert queued.taken({"client.bert": 0}) == []


@given(st.lists(st.one_of(st.integers(1, 3), st.just("take"), st.just("look"), st.just("answer")), max_size=40))
def test_what_is_told_is_what_a_queue_that_is_first_in_first_out_has_given(acts: list[int | str]) -> None:
    # Given a queue to which messages with some orders each are sent
    queued, queue = Queued(), deque[list[str]]()
    sent, taken, told = 0, list[str](), list[str]()
    for act in acts:
        if isinstance(act, int):
            orders = [str(sent + index) for index in range(act)]
            sent += act
            queue.append(orders)
            queued.sent("q", orders)
        elif act == "take" and queue:
            taken += queue.popleft()
        elif act == "answer" and taken:
            queued.answered(taken[-1:])
        elif act == "look":
            told += queued.taken({"q": len(queue)})
            # Then each look tells of what was taken by then, once and in order
            assert told == taken
    told += queued.taken({"q": len(queue)})
    assert told == taken
