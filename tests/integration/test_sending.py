"""The messages that are published in one go are those that Celery would have sent."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from orchestrator.transport.sending import Call, Publisher
from tasks.broker.app import make_app
from tasks.broker.connection import connect
from tests.integration import harness
from tests.integration.harness import url

CHORD = {"task": "orchestrator.close_round", "args": [], "kwargs": {}, "options": {"task_id": "g/body", "queue": "q"}}


def messages(broker: Redis, queue: str) -> list[dict[str, Any]]:
    """The messages of a queue, oldest first, their bodies decoded."""
    found = [json.loads(raw) for raw in reversed(broker.lrange(queue, 0, -1))]
    for message in found:
        message["body"] = json.loads(base64.b64decode(message["body"]))
    return found


def comparable(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what differs each time, or says for show what the body says."""
    for name in ("argsrepr", "kwargsrepr", "origin"):
        message["headers"].pop(name)
    for name in ("delivery_tag", "reply_to"):
        message["properties"].pop(name)
    message["headers"]["ignore_result"] = bool(message["headers"]["ignore_result"])
    return message


def test_a_message_is_the_one_that_celery_sends(broker: Redis) -> None:
    # Given an order with limits, and a part of a chord
    app = make_app("orchestrator", url(broker), include=())
    publisher = Publisher(app, connect(url(broker)))
    limits = {"soft_time_limit": 2.5, "time_limit": 3.5}
    part = {"group_id": "g", "group_index": 3, "chord": CHORD, "ignore_result": True}
    # When both are published in one go, and sent by Celery
    publisher.publish(
        [
            Call("worker.train", "anna/1", "ours", args=({"order_id": "anna/1"},), options=limits),
            Call("orchestrator.ingest", "g/3", "ours", kwargs={"round_number": 1}, options=part),
        ]
    )
    app.send_task("worker.train", args=({"order_id": "anna/1"},), task_id="anna/1", queue="theirs", **limits)  # type: ignore[arg-type]
    app.send_task("orchestrator.ingest", kwargs={"round_number": 1}, task_id="g/3", queue="theirs", **part)  # type: ignore[arg-type]
    # Then the messages say the same, in the same order
    ours, theirs = messages(broker, "ours"), messages(broker, "theirs")
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        other["properties"]["delivery_info"]["routing_key"] = "ours"
        assert comparable(one) == comparable(other)


def test_each_message_has_a_tag_of_its_own(broker: Redis) -> None:
    app = make_app("orchestrator", url(broker), include=())
    Publisher(app, connect(url(broker))).publish([Call("t", str(number), "q") for number in range(1000)])
    tags = [message["properties"]["delivery_tag"] for message in messages(broker, "q")]
    assert len(set(tags)) == len(tags) == 1000
    assert [message["headers"]["id"] for message in messages(broker, "q")] == [str(number) for number in range(1000)]
    # And none tells of the machine that it comes from
    assert {message["headers"]["origin"] for message in messages(broker, "q")} == {"orchestrator"}


def test_a_queue_that_is_none_keeps_no_task_from_the_others(broker: Redis) -> None:
    # Given a client that has put a string where its orders are to come
    publisher = Publisher(make_app("orchestrator", url(broker), include=()), connect(url(broker)))
    broker.set("spoilt", b"mine")
    # When tasks are published, then the others' are on their queues
    publisher.publish([Call("t", queue, queue) for queue in ("one", "spoilt", "two")])
    assert [messages(broker, queue)[0]["headers"]["id"] for queue in ("one", "two")] == ["one", "two"]
    assert broker.get("spoilt") == b"mine"


def test_what_the_server_refuses_for_another_reason_is_raised(broker: Redis) -> None:
    # Given a user who may not write to a queue
    publisher = Publisher(make_app("orchestrator", url(broker), include=()), connect(url(broker)))
    broker.execute_command("ACL", "SETUSER", harness.USER, "-lpush")  # type: ignore[no-untyped-call]
    # When a task is published, then it says so
    with pytest.raises(ResponseError, match="permissions"):
        publisher.publish([Call("t", "one", "q")])
