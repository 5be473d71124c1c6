"""How many connections a client's worker holds at the broker, and that those which it shares serve each user's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import TimeoutError as TimedOutError

from tasks.blobs import blob
from tasks.blobs.in_redis import of_client
from tasks.broker.connection import share
from tasks.broker.needs import NUM_CLIENT_CONNECTIONS
from tasks.broker.url import Broker
from tests.integration import harness
from tests.integration.harness import USER, Field, Server, history, wait_until

MIB = 2**20


def num_connections(broker: Redis) -> int:
    """The connections of those who connect as the tests' clients do."""
    return sum(each["user"] == USER for each in broker.client_list())


@pytest.mark.parametrize("shared", [False, True], ids=["one client", "two clients of a worker"])
def test_a_clients_worker_holds_few_connections_and_no_more_after_a_run(
    field: Field, broker: Redis, tmp_path: Path, shared: bool
) -> None:
    # Given a worker with one pool process, which waits for its first order, and an orchestrator that is another user
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    count = {"CLIENT_COUNT": "2", "CLIENT_CONCURRENCY": "1"} if shared else {"CLIENT_PART": "1/1"}
    num_clients = 2 if shared else 1
    worker = field.client(broker, "anna", CLIENT_STAY="yes", HELD=str(held), MODEL_ELEMENTS=str(MIB), **count)
    wait_until(lambda: len(harness.present(broker)) == num_clients, "it is there")
    at_socket = f"redis+socket://{broker.connection_pool.connection_kwargs['path']}"
    options = f"--rounds 3 --clients {num_clients} --timeout 200 --in-flight-mb 0.001"
    # When it is idle, trains, sends updates in turns, and is idle again
    assert num_connections(broker) == 2
    run = field.run(run_dir, options, broker=at_socket, MODEL_ELEMENTS=str(MIB))
    wait_until(lambda: "/train: begun" in worker.output, "it trains")
    seen = [num_connections(broker)]
    held.unlink()
    with harness.watched(lambda: seen.append(num_connections(broker))):
        run.succeeds()
    # Then it never has more than one for orders, one for signs of life, and one for its pool process
    assert max(seen) == NUM_CLIENT_CONNECTIONS == 3
    assert num_connections(broker) == 3
    assert len(history(run_dir)) == 3


@pytest.fixture
def server() -> Iterator[Server]:
    with harness.server(appendonly=True) as started:
        yield started


def pool_of(server: Server) -> ConnectionPool:
    return Broker.read(harness.url(server.client)).pool(socket_timeout=60.0)


def test_each_user_of_shared_connections_waits_as_long_as_it_will(server: Server) -> None:
    # Given the connections of one who waits for long, shared by one who doesn't
    pool = pool_of(server)
    owner, hasty = Redis(connection_pool=pool), share(pool, retries=0, timeout_s=0.1)
    for _ in range(2):
        # When nothing is said for a second, then one gives up, as it does on a connection that it made itself
        with pytest.raises(TimedOutError):
            hasty.blpop(["nothing"], 1)
        # And the other does not
        assert owner.blpop(["nothing"], 1) is None
    # And they need one connection
    assert num_connections(server.client) == 1


def test_who_shares_connections_tries_again_though_their_owner_does_not(server: Server) -> None:
    # Given a server that is killed
    pool = pool_of(server)
    owner, patient, store = Redis(connection_pool=pool), share(pool), of_client(lambda **how: share(pool, **how))
    ref = blob.publish(store, "b", [memoryview(b"model")])
    server.kill()
    # When it is started again a moment later
    with pytest.raises(LostConnectionError):
        owner.get("b:0")
    again = threading.Timer(0.5, server.start)
    again.start()
    # Then who is patient has waited for it, and so has the store of blobs, by the same connection
    assert patient.get("b:0") == b"model"
    assert bytes(store.get(ref)) == b"model"
    assert owner.get("b:0") == b"model"
    again.join()
    assert num_connections(server.client) == 1
