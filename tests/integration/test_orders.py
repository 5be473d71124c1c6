"""Orders that a client's real worker carries out."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from tasks import names
from tasks.app import make_app
from tasks.messages import DisconnectOrder, encode
from tests.integration import harness
from tests.integration.harness import Field, part, url, wait_until


def announcement(broker: Redis, client_id: str) -> dict[str, Any] | None:
    value = broker.get(names.client_key(client_id))
    return json.loads(value) if value else None


def disconnect(broker: Redis, incarnation: str, reconnect_after_s: float, number: int = 1) -> dict[str, Any]:
    """Send client-1 an order to leave, and return its answer."""
    order = DisconnectOrder(
        order_id=names.order_id("client-1", "run", number, "disconnect"),
        run_id="run",
        client_id="client-1",
        round_number=number,
        workload="pulled:Pulled",
        timeout_s=30,
        deadline=1e12,
        incarnation=incarnation,
        message="see you",
        reconnect_after_s=reconnect_after_s,
    )
    app = make_app("test", url(broker), include=())
    app.send_task(
        names.DISCONNECT_TASK, args=(encode(order),), task_id=order.order_id, queue=names.client_queue("client-1")
    )
    raw = wait_until(lambda: broker.get(names.result_key(order.order_id)), "the order is answered")
    answer: dict[str, Any] = json.loads(raw)["result"]
    return answer


def test_a_client_announces_what_it_has(field: Field, broker: Redis) -> None:
    # Given a worker with the second of four parts of the digits
    field.client(broker, "client-1", **part(2, 4), CLIENT_WORKLOAD="digits")

    # When it has joined
    said = wait_until(lambda: announcement(broker, "client-1"), "it is there")

    # Then it says how many examples it has, of which labels, and what it computes with: 1,438 / 4, less a tenth
    assert said["num_examples"] == 324
    assert sum(said["labels"].values()) == 324
    assert set(said["labels"]) == {str(digit) for digit in range(10)}
    assert said["hardware"]["num_cpus"] >= 1
    assert said["hardware"]["memory_bytes"] > 10**8
    assert said["leaving"] is False


def test_a_client_that_is_told_to_come_back_later_does(field: Field, broker: Redis) -> None:
    # Given a client that is there
    program = field.client(broker, "client-1", **part(1, 1))
    said = wait_until(lambda: announcement(broker, "client-1"), "it is there")

    # When it is told to leave for a while
    answer = disconnect(broker, said["incarnation"], reconnect_after_s=3)

    # Then it is gone, its worker goes on, and it comes back by itself
    assert answer["status"] == "done"
    assert announcement(broker, "client-1") is None
    again = wait_until(lambda: announcement(broker, "client-1"), "it is back")
    assert again["incarnation"] == said["incarnation"]
    assert program.process.poll() is None


def test_a_client_that_is_told_to_leave_for_good_ends(field: Field, broker: Redis) -> None:
    # Given a client that is there
    program = field.client(broker, "client-1", **part(1, 1))
    said = wait_until(lambda: announcement(broker, "client-1"), "it is there")

    # When an order for a former start of it comes, then it stays
    answer = disconnect(broker, "former", reconnect_after_s=0, number=1)
    assert answer["reason"] == "the order is for a former start of this client"
    assert harness.present(broker) == {"client-1"}

    # When it is meant, then its worker ends with exit code 0
    assert disconnect(broker, said["incarnation"], reconnect_after_s=0, number=2)["reason"] == ""
    assert program.wait() == 0
