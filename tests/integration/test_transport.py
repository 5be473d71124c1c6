"""Orders and turns at a real broker, as the orchestrator sends them and takes them back."""

from __future__ import annotations

import json

import pytest
from redis import Redis

from orchestrator.transport.over_redis import MOST_QUEUE_BYTES, RedisTransport
from tasks.broker.app import make_app
from tasks.broker.turns import STOP, NotWantedError, RedisTurns
from tasks.scope import ClientScope, client_queue, result_key, shared_queue
from tests.integration import harness
from tests.support import train_order

PATIENCE_S = 120.0


@pytest.fixture
def transport(broker: Redis) -> RedisTransport:
    """A transport for a run."""
    url = harness.url(broker)
    return RedisTransport(make_app("orchestrator", url, include=()), url, "run")


def say(broker: Redis, order_id: str, text: str) -> None:
    """Store a result as Celery's backend does, and tell those who listen."""
    broker.set(result_key(order_id), text)
    broker.publish(result_key(order_id), text)


def test_orders_are_on_their_clients_queues_until_they_are_taken_back(transport: RedisTransport, broker: Redis) -> None:
    # Given orders to two clients, when they are sent, then each is in its client's queue
    orders = [train_order("anna"), train_order("bert")]
    transport.send(orders)
    [message] = broker.lrange(client_queue("anna"), 0, -1)
    assert json.loads(message)["headers"]["id"] == orders[0].order_id
    # When one is taken back that was sent twice, then another run's is there still, and the other client's
    theirs = train_order("anna", run_id="runs", order_id=ClientScope("anna").order_id("runs", 1, "train"))
    transport.send([theirs, orders[0]])
    transport.withdraw(orders[0])
    [left] = broker.lrange(client_queue("anna"), 0, -1)
    assert json.loads(left)["headers"]["id"] == theirs.order_id
    assert broker.llen(client_queue("bert")) == 1
    # And what is no queue is left alone
    broker.set(client_queue("carl"), "no queue")
    transport.withdraw(train_order("carl"))
    assert broker.get(client_queue("carl")) == b"no queue"
    # And of what a client has put into its queue that is far too long, nothing is left
    broker.lpush(client_queue("dora"), b"x" * MOST_QUEUE_BYTES)
    transport.withdraw(train_order("dora"))
    assert not broker.exists(client_queue("dora"))


def test_which_orders_were_taken_is_told_once(transport: RedisTransport, broker: Redis) -> None:
    # Given orders to clients that share a queue, two of them by one message, and to one with a queue of its own
    queue = shared_queue("ward", 4)
    orders = [train_order(f"ward-{number}") for number in range(4)]
    ids = [order.order_id for order in orders]
    transport.send_together([orders[:1], orders[2:3], orders[3:]], lambda _: queue)
    transport.send_together([orders[:2]], lambda _: queue)
    transport.send([train_order("anna")])
    assert transport.taken() == []
    # When a worker takes the first, then that is told once
    broker.rpop(queue)
    assert transport.taken() == ids[:1]
    assert transport.taken() == []
    # When one is answered, then so were those taken that were sent before it
    say(broker, ids[3], "done")
    broker.rpop(queue, 2)
    assert transport.collect(ids, PATIENCE_S) == {ids[3]: b"done"}
    assert transport.taken() == ids[2:]
    # When a client puts something else in its queue's place, or its order is taken back, then nothing was taken
    broker.unlink(client_queue("anna"))
    broker.set(client_queue("anna"), "no queue")
    assert transport.taken() == []
    transport.withdraw(train_order("anna"))
    assert transport.taken() == []
    # And those that go together are taken together
    broker.rpop(queue)
    assert transport.taken() == ids[:2]


def test_what_was_read_of_an_order_isnt_its_end_if_more_is_expected(transport: RedisTransport, broker: Redis) -> None:
    # Given an order whose client says that it is ready to send
    order = train_order()
    assert transport.collect([order.order_id], 0.0) == {}
    say(broker, order.order_id, "ready")
    assert transport.collect([order.order_id], PATIENCE_S) == {order.order_id: b"ready"}
    # When more is expected, and comes, then that is found
    transport.expect_more(order.order_id)
    say(broker, order.order_id, "done")
    assert transport.collect([order.order_id], PATIENCE_S) == {order.order_id: b"done"}
    # When it is forgotten, then nothing is left of it
    transport.forget([order.order_id])
    assert not broker.exists(result_key(order.order_id))


def test_of_a_failed_group_only_those_are_sent_again_that_are_still_to_come_by_it(
    transport: RedisTransport, broker: Redis
) -> None:
    # Given a group of orders, of which one was sent again since then, one is wanted no more, and one is answered
    queue = shared_queue("ward", 4)
    orders = [train_order(f"ward-{number}") for number in range(4)]
    transport.send_together([orders], lambda _: queue)
    [group] = broker.lrange(queue, 0, -1)
    transport.send_together([[orders[0]]], lambda _: queue)
    transport.withdraw(orders[1], lambda _: queue)
    order_ids = [order.order_id for order in orders]
    assert transport.collect(order_ids, 0.0) == {}
    say(broker, order_ids[2], "done")
    assert transport.collect(order_ids, PATIENCE_S) == {order_ids[2]: b"done"}
    # When the group fails, then the last is sent again, by itself
    broker.unlink(queue)
    group_id = json.loads(group)["headers"]["id"]
    say(broker, group_id, "failed")
    assert transport.collect(order_ids[3:], PATIENCE_S) == {}
    sent = [json.loads(message)["headers"]["id"] for message in broker.lrange(queue, 0, -1)]
    assert sent == [order_ids[3]]
    # And nothing is left of the group
    assert not broker.exists(result_key(group_id))


def test_a_turn_that_is_given_is_there_until_it_is_taken_away(transport: RedisTransport, broker: Redis) -> None:
    # Given two clients that wait to send, when one may, and the other is to stop
    first, second = train_order("anna"), train_order("bert")
    transport.give_turn(first)
    transport.give_turn(second, STOP)
    # Then the one goes on, as often as it asks, and the other hears that nobody wants its update
    turns = RedisTurns(broker)
    for _ in range(2):
        turns.wait(first.update_blob, "run", PATIENCE_S)
    with pytest.raises(NotWantedError, match="its round is over"):
        turns.wait(second.update_blob, "run", PATIENCE_S)
    # When the turns are taken away, then there is none
    transport.take_turns_away([first, second])
    with pytest.raises(NotWantedError, match="not the update's turn within 0 s"):
        turns.wait(first.update_blob, "run", 0.1)


def test_a_connection_that_was_never_lost_isnt_there_again(transport: RedisTransport) -> None:
    assert not transport.take_reconnected()
