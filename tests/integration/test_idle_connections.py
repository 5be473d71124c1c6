"""Something between the machines forgets connections on which nothing is said, and tells neither side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import TimeoutError as TimedOutError

from tasks.broker import fresh
from tasks.broker.app import make_app
from tasks.broker.connection import connect
from tests.integration.relay import Held, Relay, relay

IDLE_S = 0.2
Use = Callable[[], object]


@pytest.fixture
def link(broker: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A relay to a broker, and connections that are idle after a moment."""
    monkeypatch.setattr(fresh, "MAX_IDLE_S", IDLE_S)
    with relay(broker) as made:
        yield made


def ours(url: str) -> Use:
    return connect(url, retries=0, timeout_s=1.0).ping


def results(url: str) -> Use:
    app = make_app("idle", url, include=())
    app.conf.update(redis_socket_timeout=1.0, redis_retry_on_timeout=False)
    backend: Any = app.backend
    return lambda: backend.client.get("key")


def messages(url: str) -> Use:
    app = make_app("idle", url, include=())
    app.conf.broker_transport_options |= {"socket_timeout": 1.0, "retry_on_timeout": False}
    connection: Any = app.connection_for_write()
    return lambda: connection.default_channel.queue_purge("queue")


def forget(link: Relay) -> None:
    link.cut()
    link.join(Held.FORGOTTEN)


@pytest.mark.parametrize("user", [ours, results, messages])
def test_a_connection_that_was_idle_is_made_anew(
    link: Relay, monkeypatch: pytest.MonkeyPatch, user: Callable[[str], Use]
) -> None:
    # Given who has a connection, which is kept as long as it is used
    use = user(link.url)
    use()
    # When it is idle, and is forgotten between the machines
    time.sleep(2 * IDLE_S)
    forget(link)
    # Then what is asked next is answered
    use()


def test_a_connection_that_was_just_used_is_used_again(broker: Redis, link: Relay) -> None:
    # Given who has a connection
    use = ours(link.url)
    use()
    before = int(broker.info("stats")["total_connections_received"])
    # When it is used again at once, then no other is made
    use()
    assert int(broker.info("stats")["total_connections_received"]) == before
    # And if it is forgotten just then, that takes a timeout to find out
    forget(link)
    with pytest.raises(TimedOutError):
        use()
