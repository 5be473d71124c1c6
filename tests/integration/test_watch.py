"""Clients that take more of the broker than rules can bound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from orchestrator.trust.authority import Authority
from orchestrator.trust.watch import LOOK_S, MAX_BYTES, MAX_CONNECTIONS, Watch
from tasks.scope import ClientScope, result_key
from tasks.trust.enrolment import Enrolment
from tests.integration.ruled import Ruled, ruled

NAMES = {"anna": None, "ward": 3}


@pytest.fixture
def broker() -> Iterator[Ruled]:
    with ruled(NAMES) as broker:
        yield broker


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority with whom anna and a worker of three are enrolled."""
    made = Authority.make(tmp_path / "trust", "redis+socket:///s")
    for client_id, count in NAMES.items():
        made.approve(Enrolment.make(tmp_path / client_id).request(client_id, count))
    return made


def as_orchestrator(broker: Ruled) -> Redis:
    return broker.connection_of("", user="orchestrator")


def test_who_puts_much_beside_its_updates_is_cut_off_and_no_other(broker: Ruled, authority: Authority) -> None:
    # Given a client of a worker's that puts much into answers that nobody waits for
    ward, anna = broker.connection_of("ward"), broker.connection_of("anna")
    for number in range(3):
        ward.set(result_key(ClientScope("ward-2").order_id("run", number, "x")), b"x" * (MAX_BYTES // 2))
    anna.set(ClientScope("anna").key, b"x" * (MAX_BYTES // 2))
    now = [0.0]
    watch = Watch(as_orchestrator(broker), authority.clients, lambda: now[0])
    # When it is looked for, then all that its worker serves are cut off, and what it put there is gone
    found = watch.cut_off_overbearing()
    assert found.keys() == {"ward-1", "ward-2", "ward-3"}
    assert "bytes at the broker beside its updates" in found["ward-2"]
    assert broker.stored().keys() == {b"fl:client:anna"}
    with pytest.raises(RedisError):
        ward.ping()
    with pytest.raises(AuthenticationError):
        broker.connection_of("ward").ping()
    assert anna.ping()
    # And the next look is a while later, with nothing more to say
    assert watch.cut_off_overbearing() == {}
    now[0] += LOOK_S
    assert watch.cut_off_overbearing() == {}


def test_who_puts_much_in_its_queue_s_place_is_cut_off_and_not_whose_orders_wait(
    broker: Ruled, authority: Authority
) -> None:
    # Given a client with much in the place of its queue, and a worker whose many orders wait in its own
    broker.connection_of("anna").set("client.anna", b"x" * (MAX_BYTES + 1))
    as_orchestrator(broker).lpush("clients.ward.3", b"x" * (MAX_BYTES + 1))
    # When it is looked for, then the one is cut off, and what it put there is gone; the other's orders are there
    found = Watch(as_orchestrator(broker), authority.clients).cut_off_overbearing()
    assert found.keys() == {"anna"}
    assert broker.stored().keys() == {b"clients.ward.3"}


def test_a_worker_of_many_is_cut_off_for_what_is_in_its_queue_s_place(broker: Ruled, authority: Authority) -> None:
    broker.connection_of("ward").set("clients.ward.3", b"x" * (MAX_BYTES + 1))
    found = Watch(as_orchestrator(broker), authority.clients).cut_off_overbearing()
    assert found.keys() == {"ward-1", "ward-2", "ward-3"}


def test_who_has_many_connections_is_cut_off(broker: Ruled, authority: Authority) -> None:
    connections = [broker.connection_of("anna") for _ in range(MAX_CONNECTIONS + 1)]
    for each in connections:
        each.ping()
    found = Watch(as_orchestrator(broker), authority.clients).cut_off_overbearing()
    assert found == {"anna": f"it has {MAX_CONNECTIONS + 1} connections: {MAX_CONNECTIONS} are allowed"}
    with pytest.raises(RedisError):
        connections[0].ping()
