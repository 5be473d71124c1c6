"""What becomes of answers that come when their round is over."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from orchestrator.driver.late_responses import AGAIN_S, MAX_OUTSTANDING, LateResponses
from orchestrator.transport.eager import EagerTransport
from orchestrator.transport.transport import RunServices
from tasks.blobs.chunks import MemoryChunks
from tasks.broker.app import make_app
from tasks.broker.turns import STOP
from tasks.messages import READY, Order, Status, encode
from tests.support import MemoryRegistry, evaluate_order, publish_update, train_order, trained


@pytest.fixture
def transport() -> EagerTransport:
    return EagerTransport(make_app("late", "memory://", include=(), task_always_eager=True))


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def late(transport: EagerTransport, chunks: MemoryChunks, clock: Clock) -> LateResponses:
    registry = MemoryRegistry()
    services = RunServices(
        transport=transport,
        present=registry.present,
        tell=registry.say_passed_over,
        blobs=chunks,
        broker_time=lambda: 0.0,
        poll=lambda: False,
        tidy=lambda: None,
    )
    return LateResponses(services, clock)


def answer(order: Order) -> bytes:
    return json.dumps({"status": "SUCCESS", "result": encode(trained(order))}).encode()


def test_a_late_answer_is_told_once_and_its_update_goes(late: LateResponses, chunks: MemoryChunks) -> None:
    # Given an order whose slot was filled without an answer, and an update that came all the same
    order = train_order()
    late.expect([order])
    publish_update(chunks, order, {})
    # When its answer comes
    late.take(order.order_id, answer(order))
    # Then it is told, once, nobody looks out for it any more, and the update is gone
    [response] = late.pop()
    assert (response.client_id, response.status) == ("anna", Status.TRAINED)
    assert (late.pop(), late.expected(), chunks.chunks) == ([], [], {})


def test_a_client_that_is_only_ready_is_told_to_stop_and_its_answer_is_waited_for(
    late: LateResponses, transport: EagerTransport
) -> None:
    # Given an order whose slot was filled, when its client is ready to send, then it is told that nobody wants it
    order = train_order(waits_for_turn=True)
    late.expect([order])
    late.take(order.order_id, json.dumps({"status": READY, "task_id": order.order_id}))
    assert transport.turns == {order.update_blob: STOP}
    assert (late.pop(), late.expected()) == ([], [order.order_id])
    # When its answer comes, then the word is taken away
    late.take(order.order_id, answer(order))
    assert transport.turns == {}


def test_a_client_that_is_never_heard_of_again_is_told_to_stop_once(
    late: LateResponses, transport: EagerTransport
) -> None:
    # Given an order whose client was told to stop
    order = train_order()
    late.expect([order])
    late.stop(order)
    transport.turns.clear()
    # When it is to be told again, then it isn't
    late.stop(order)
    assert transport.turns == {}


def test_the_newest_orders_alone_are_looked_out_for(late: LateResponses) -> None:
    # Given more orders than are looked out for, when they are added, then the oldest are given up
    orders = [train_order(round_number=number) for number in range(1, MAX_OUTSTANDING + 3)]
    late.expect(orders)
    assert late.expected() == [order.order_id for order in orders[2:]]


def test_an_order_without_an_update_has_none_to_remove(late: LateResponses, chunks: MemoryChunks) -> None:
    # Given an order to evaluate, and somebody's blob, when it is answered late, then it is told and the blob stays
    order = evaluate_order()
    late.expect([order])
    publish_update(chunks, train_order(), {})
    response = order.respond(Status.EVALUATED, num_examples=2)
    late.take(order.order_id, json.dumps({"status": "SUCCESS", "result": encode(response)}))
    assert [each.status for each in late.pop()] == [Status.EVALUATED]
    assert chunks.chunks


def test_orders_of_closed_rounds_are_forgotten_again_but_for_those_that_may_still_be_answered(
    late: LateResponses, clock: Clock
) -> None:
    # Given two orders of a round that is over, one of which is looked out for
    late.expect([train_order("anna")])
    first = [train_order(client_id).order_id for client_id in ("anna", "bert")]
    assert late.recently_closed(first) == [first[1]]
    # When a later round is over, then those before are returned with it
    clock.now += AGAIN_S
    second = train_order("bert", 2).order_id
    assert late.recently_closed([second]) == [first[1], second]
    # But not with each of many short rounds
    third = train_order("bert", 3).order_id
    assert late.recently_closed([third]) == [third]


def test_all_orders_of_a_closed_round_are_forgotten_however_many_they_are(late: LateResponses, clock: Clock) -> None:
    # Given a round with more orders than are remembered, when it is over, then none of them is left at the broker
    ids = [train_order(f"client-{number}").order_id for number in range(MAX_OUTSTANDING + 2)]
    assert late.recently_closed(ids) == ids
    # And the newest are returned with a later round
    clock.now += AGAIN_S
    assert late.recently_closed([]) == ids[2:]
