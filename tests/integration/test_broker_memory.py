"""A real server that is emptied, goes back in time, or is only away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from orchestrator.transport.broker_memory import LOOK_S, BrokerMemory, WatchedRegistry
from tasks.errors import BrokerUnreachableError
from tasks.scope import RunScope
from tests.integration import harness
from tests.support import announcement


class Scene:
    """A server, and what the broker's memory sees of it on a clock of the test's own."""

    def __init__(self, server: harness.Server) -> None:
        self.server = server
        self.now = 0.0
        # Once and again: without a connection that is left over from before the server was killed.
        self.client = Redis(unix_socket_path=str(server.socket), retry=Retry(NoBackoff(), 1))
        self.memory = BrokerMemory(self.client, "run", lambda: self.now)
        self.registry = WatchedRegistry(self.client, self.memory)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with harness.server(appendonly=True) as server:
        made = Scene(server)
        yield made
        made.client.close()


def test_a_broker_that_keeps_its_mark_has_forgotten_nothing(scene: Scene) -> None:
    # Given a mark that was left
    scene.memory.look()
    scene.memory.take_forgotten()
    # When it is looked for, also after the server was killed and came back with what it had written down
    assert not scene.memory.look()
    scene.server.kill()
    with pytest.raises(RedisError):
        scene.memory.look()
    scene.server.start()
    # Then nothing is forgotten
    assert not scene.memory.look()
    assert not scene.memory.take_forgotten()


def test_a_mark_whose_leaving_was_not_confirmed_may_be_there(scene: Scene) -> None:
    # Given marks up to the third, whose leaving was heard of, and a fourth, whose leaving was not
    for _ in range(3):
        scene.memory.look()
    scene.memory.take_forgotten()
    scene.client.set(RunScope("run").mark_key, 4)
    # When it is looked for, then nothing is forgotten
    assert not scene.memory.look()


@pytest.mark.parametrize("value", [None, "2", "nonsense"], ids=["emptied", "from before", "something else"])
def test_a_mark_that_is_gone_or_older_tells_that_the_broker_has_forgotten_once(scene: Scene, value: str | None) -> None:
    # Given three marks that were left
    for _ in range(3):
        scene.memory.look()
    scene.memory.take_forgotten()
    # When the broker has none any more, or one from before, or something else
    scene.client.flushall()
    if value is not None:
        scene.client.set(RunScope("run").mark_key, value)
    # Then it has forgotten, which is said once
    assert scene.memory.look()
    assert not scene.memory.look()
    assert [scene.memory.take_forgotten(), scene.memory.take_forgotten()] == [True, False]


def test_nobody_is_gone_for_being_forgotten(scene: Scene) -> None:
    # Given two clients that are there
    for client_id in ("anna", "bert"):
        scene.registry.announce_all([announcement(client_id, heartbeat_s=10)])
    scene.memory.look()
    assert list(scene.registry.present()) == ["anna", "bert"]
    # When the broker is emptied right after a look at the mark
    scene.client.flushall()
    # Then that is found out, rather than that nobody is there
    with pytest.raises(BrokerUnreachableError, match="the broker was emptied"):
        scene.registry.present()
    assert scene.memory.take_forgotten()


def test_nobody_is_gone_whose_announcement_ran_out_while_the_broker_was_away(scene: Scene) -> None:
    # Given two clients that are there, and a broker that is killed and comes back with what it had written down
    for client_id in ("anna", "bert"):
        scene.registry.announce_all([announcement(client_id, heartbeat_s=10)])
    scene.memory.look()
    scene.memory.take_forgotten()
    scene.registry.present()
    scene.server.kill()
    scene.server.start()
    # When one's announcement has run out meanwhile, and nobody here has seen the broker away, then that is told once
    scene.client.delete("fl:client:anna")
    with pytest.raises(BrokerUnreachableError, match="the broker was started anew"):
        scene.registry.present()
    assert list(scene.registry.present()) == ["bert"]
    assert not scene.memory.take_forgotten()


def test_a_client_that_is_gone_is_gone(scene: Scene) -> None:
    # Given two clients that are there, of which one goes
    for client_id in ("anna", "bert"):
        scene.registry.announce_all([announcement(client_id, heartbeat_s=10)])
    scene.memory.look()
    scene.registry.present()
    scene.client.delete("fl:client:anna")
    # When it is looked who is there, a second later too, then the other is
    assert list(scene.registry.present()) == ["bert"]
    scene.now += LOOK_S
    assert list(scene.registry.present()) == ["bert"]
