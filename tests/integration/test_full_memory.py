"""A broker whose memory is full (``maxmemory``), for a while or for good."""

from __future__ import annotations

import json
import math
import signal
import threading
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry

from orchestrator.transport.sending import Call, Publisher
from tasks.broker.app import make_app
from tasks.broker.connection import check_keeps_all, connect, memory_left
from tasks.broker.presence import RedisRegistry
from tasks.scope import ClientScope
from tests.integration.harness import ENCODED, USER, Field, check_trained_once, history, statuses, url, wait_until
from tests.integration.test_turns import all_trained, clients, run_until_all_wait
from tests.support import announcement

MIB = 2**20


def num_refused(broker: Redis) -> int:
    """How many commands the server had no memory for."""
    return int(broker.info("errorstats").get("errorstat_OOM", {}).get("count", 0))


def test_tasks_that_there_is_no_memory_for_are_published_when_there_is(broker: Redis) -> None:
    # Given a server with room for some of the tasks, until it is given more
    publisher = Publisher(make_app("orchestrator", url(broker), include=()), connect(url(broker)))
    calls = [Call("worker.train", f"anna/{number}", "queue", args=("x" * MIB,)) for number in range(8)]
    broker.config_set("maxmemory", broker.info("memory")["used_memory"] + 4 * MIB)
    more = threading.Timer(0.5, broker.config_set, ["maxmemory", 0])
    more.start()
    # When they are published
    publisher.publish(calls)
    more.join()
    # Then each is there once, though one that was refused may be behind others
    ids = [json.loads(raw)["headers"]["id"] for raw in reversed(broker.lrange("queue", 0, -1))]
    assert sorted(ids) == [call.task_id for call in calls]


def test_a_memory_that_stays_full_is_an_error(broker: Redis) -> None:
    client = Redis(
        unix_socket_path=broker.connection_pool.connection_kwargs["path"],
        retry=Retry(ConstantBackoff(0.01), 2, (OutOfMemoryError,)),
    )
    publisher = Publisher(make_app("orchestrator", url(broker), include=()), client)
    broker.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        publisher.publish([Call("worker.train", "anna/1", "queue")])


def test_an_announcement_lives_on_where_there_is_no_memory_to_write_it_anew(broker: Redis) -> None:
    # Given two clients, of which one was announced before the memory was full
    registry = RedisRegistry(broker)
    anna, bert = (announcement(client_id, heartbeat_s=10) for client_id in ("anna", "bert"))
    registry.announce_all([anna])
    broker.pexpire(ClientScope("anna").key, 5000)
    broker.config_set("maxmemory", 1)
    # When they are announced again, then the one lives on, and the other isn't there
    assert registry.announce_all([anna]) == [anna]
    assert broker.pttl(ClientScope("anna").key) > 20_000
    with pytest.raises(OutOfMemoryError):
        registry.announce_all([anna, bert])
    assert registry.present() == {"anna": anna}


def test_a_round_goes_on_when_the_brokers_memory_was_full_for_longer_than_a_client_may_be_silent(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given five clients that wait for their turn, and are lost if nothing is heard of them for 1.25 s
    run_dir = tmp_path / "run"
    started = clients(field, broker)
    program = run_until_all_wait(field, broker, run_dir)

    # When the memory is full while each of them, two times a second, says seven times that it is there
    broker.config_set("maxmemory", 1)
    program.send(signal.SIGCONT)
    wait_until(lambda: num_refused(broker) >= 7 * len(started), "they have been refused")
    assert not history(run_dir)
    broker.config_set("maxmemory", 0)

    # Then all get their turn, and nobody trains twice; what it takes was told at the start
    assert "of the broker's memory" in program.output
    assert "there is no limit (maxmemory 0)" in program.output
    program.succeeds()
    assert statuses(run_dir) == [all_trained()] * 2
    check_trained_once(started, 2)


def test_what_a_broker_has_room_for_is_what_it_says(broker: Redis) -> None:
    # Given a server without a limit, and then with one, when it is asked, then what it holds is counted
    assert memory_left(broker) == math.inf
    broker.config_set("maxmemory", 100 * MIB)
    broker.set("held", bytes(10 * MIB))
    left = memory_left(broker)
    assert left is not None
    assert 60 * MIB < left < 90 * MIB
    # And who may not ask isn't told, and one that holds more than it may has none
    broker.acl_setuser("anna", enabled=True, passwords=["+secret"], categories=["+@all"], commands=["-info"])
    with connect(url(broker).replace(f"{USER}:{ENCODED}", "anna:secret")) as client:
        assert memory_left(client) is None
    broker.config_set("maxmemory", MIB)
    assert memory_left(broker) == 0


def test_a_run_on_a_broker_whose_memory_is_full_says_so(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a broker without memory
    broker.config_set("maxmemory", 1)
    # When a run is begun, then it says so in a line
    program = field.run(tmp_path / "run", broker=broker)
    assert program.wait() == 1
    assert "error: the broker's memory is full, and stayed so (maxmemory, noeviction): give it more" in program.output
    assert "Traceback" not in program.output


def test_a_broker_that_removes_keys_is_refused_with_what_to_set(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a broker that makes room for new keys by removing others
    broker.config_set("maxmemory", 100 * MIB)
    broker.config_set("maxmemory-policy", "allkeys-lru")
    # When a run is to begin on it
    program = field.run(tmp_path / "run", broker=broker)
    # Then it is refused in a line that says what to set, and nothing is begun
    assert program.wait() == 2, program.output
    [line] = program.output.splitlines()
    assert "maxmemory 104857600, maxmemory-policy allkeys-lru" in line
    assert "set maxmemory-policy noeviction there, or maxmemory 0" in line
    assert not (tmp_path / "run").exists()


def test_a_broker_that_is_set_to_remove_keys_later_ends_the_run_with_what_to_set(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run that waits for clients
    program = field.run(tmp_path / "run", broker=broker)
    wait_until(lambda: "waiting for clients" in program.output, "it waits")
    # When its broker is set to remove keys
    broker.config_set("maxmemory", 100 * MIB)
    broker.config_set("maxmemory-policy", "volatile-ttl")
    # Then it ends with what to set
    assert program.wait() == 2, program.output
    assert "set maxmemory-policy noeviction there, or maxmemory 0" in program.output.splitlines()[-1]


@pytest.mark.parametrize(("maxmemory", "policy"), [(0, "allkeys-lru"), (100 * MIB, "noeviction")])
def test_a_broker_that_removes_nothing_is_fine(broker: Redis, maxmemory: int, policy: str) -> None:
    broker.config_set("maxmemory", maxmemory)
    broker.config_set("maxmemory-policy", policy)
    assert check_keeps_all(broker)


def test_a_broker_that_doesnt_say_whether_it_removes_keys_is_gone_on_with(broker: Redis) -> None:
    # Given a user of the broker that may not ask
    broker.acl_setuser("anna", enabled=True, nopass=True, commands=["+@all", "-info"], keys=["*"], channels=["*"])
    client = Redis(unix_socket_path=broker.connection_pool.connection_kwargs["path"], username="anna", password="any")
    # When it asks, then it is told that it isn't known
    assert not check_keeps_all(client)
    client.close()
