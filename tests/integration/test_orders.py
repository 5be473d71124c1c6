"""Orders that a client's real worker carries out."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, part, wait_until

pytestmark = pytest.mark.usefixtures("counted")


def test_a_client_announces_what_it_has(field: Field, broker: Redis) -> None:
    # Given a worker with the second of four parts of the digits
    field.client(broker, "client-1", **part(2, 4), CLIENT_WORKLOAD="digits")

    # When it has joined
    said = wait_until(lambda: harness.announcement(broker, "client-1"), "it is there")

    # Then it says how many examples it has: 1,438 / 4, less a tenth
    assert said["num_examples"] == 324
    assert said["leaving"] is False


def test_a_client_that_is_told_to_come_back_later_does(field: Field, broker: Redis) -> None:
    # Given a client that is there
    program = field.client(broker, "client-1", **part(1, 1))
    said = wait_until(lambda: harness.announcement(broker, "client-1"), "it is there")

    # When it is told to leave for a while
    response = harness.disconnect(broker, "client-1", said["incarnation"], reconnect_after_s=3)

    # Then it is gone, its worker goes on, and it comes back by itself
    assert response["status"] == "done"
    assert harness.announcement(broker, "client-1") is None
    again = wait_until(lambda: harness.announcement(broker, "client-1"), "it is back")
    assert again["incarnation"] == said["incarnation"]
    assert program.process.poll() is None


def test_a_client_that_is_told_to_leave_for_good_ends(field: Field, broker: Redis) -> None:
    # Given a client that is there
    program = field.client(broker, "client-1", **part(1, 1))
    said = wait_until(lambda: harness.announcement(broker, "client-1"), "it is there")

    # When an order for a former start of it comes, then it stays
    response = harness.disconnect(broker, "client-1", "former", reconnect_after_s=0, number=1)
    assert response["reason"] == "the order is for a former start of this client"
    assert harness.present(broker) == {"client-1"}

    # When it is meant, then its worker ends with exit code 0
    assert harness.disconnect(broker, "client-1", said["incarnation"], reconnect_after_s=0, number=2)["reason"] == ""
    program.succeeds()
