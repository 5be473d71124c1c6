"""What a server refuses for a while: it is waited for, and nobody ends of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as LostConnectionError
from redis.exceptions import ResponseError

from tasks.blobs.chunks import Chunk
from tasks.blobs.in_redis import RedisChunks
from tasks.broker.connection import Wait, connect
from tasks.broker.refusals import Parser, RefusedForNowError
from tests.integration import harness, unfit
from tests.integration.harness import Field, check_trained_once, history, wait_until


def _replica(client: Redis, **settings: str) -> None:
    for name, value in settings.items():
        client.config_set(name.replace("_", "-"), value)
    client.replicaof("127.0.0.1", 1)


PRIMARY: Callable[[Redis], object] = lambda client: client.replicaof("NO", "ONE")  # noqa: E731  # a table's cell
STATES: dict[str, tuple[tuple[str, ...], Callable[[Redis], object], Callable[[Redis], object]]] = {
    "READONLY": ((), _replica, PRIMARY),
    "MASTERDOWN": ((), lambda client: _replica(client, replica_serve_stale_data="no"), PRIMARY),
    "MISCONF": ((), unfit.fail_to_save, lambda client: client.config_set("stop-writes-on-bgsave-error", "no")),
    "NOREPLICAS": (
        (),
        lambda client: client.config_set("min-replicas-to-write", 1),
        lambda client: client.config_set("min-replicas-to-write", 0),
    ),
    "BUSY": ((), unfit.loop, lambda client: client.script_kill()),
    "CLUSTERDOWN": (
        tuple(harness.CLUSTER.split()),
        lambda client: None,
        lambda client: client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383),  # type: ignore[no-untyped-call]
    ),
}


@pytest.mark.parametrize("code", STATES)
def test_a_command_that_is_refused_for_now_is_carried_out_when_it_is_taken(code: str) -> None:
    # Given a server that refuses to write
    options, enter, leave = STATES[code]
    with harness.server(*options) as server, connect(harness.url(server.client), retries=0) as impatient:
        enter(server.client)
        wait_until(lambda: _code(impatient) == code, f"it refuses with {code}")
        patient = connect(harness.url(server.client))
        # When words and chunks are written meanwhile, and soon it takes them again
        later = threading.Timer(0.3, leave, [server.client])
        later.start()
        assert patient.set("a", "word")
        RedisChunks(patient).send([Chunk("b", [memoryview(b"chunk")])])
        with patient.pipeline() as pipe:
            pipe.set("c", "more")
            pipe.get("c")
            assert pipe.execute() == [True, b"more"]
        later.join()
        # Then they are there
        assert patient.get("b") == b"chunk"


def _code(client: Redis) -> str:
    try:
        client.get("x")
        client.set("x", "y")
    except RefusedForNowError as error:
        return str(error).split(": ", 1)[1].partition(" ")[0]
    return ""


def test_who_waits_for_a_word_waits_on_when_the_server_becomes_a_replica_and_a_primary_again(broker: Redis) -> None:
    # Given somebody who waits for a word
    waiting = connect(harness.url(broker))
    words: list[object] = []
    thread = threading.Thread(target=lambda: words.append(waiting.blpop(["queue"], 3)))
    thread.start()
    wait_until(lambda: broker.info("clients")["blocked_clients"] == 1, "somebody waits")
    # When the server becomes a replica, which unblocks all who wait, and a primary again
    _replica(broker)
    broker.replicaof("NO", "ONE")
    broker.rpush("queue", "word")
    # Then the word is heard
    thread.join()
    assert words == [(b"queue", b"word")]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
            RefusedForNowError,
        ),
        ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write", RefusedForNowError),
        ("LOADING Redis is loading the dataset in memory", RefusedForNowError),
        ("ERR Error running script (call to f_1): -NOPERM no", ResponseError),
        ("BUSYGROUP Consumer Group name already exists", ResponseError),
        ("BUSYKEY Target key name already exists.", ResponseError),
    ],
)
def test_refusals_that_pass_are_lost_connections_to_all_who_try_again(said: str, kind: type[Exception]) -> None:
    # Given what a server says, when it is read, then what passes is a lost connection, and what doesn't isn't
    error = Parser.parse_error(said)
    assert type(error) is kind
    assert isinstance(error, LostConnectionError) == (kind is RefusedForNowError)


def test_a_wait_is_told_every_few_seconds(caplog: pytest.LogCaptureFixture) -> None:
    # Given a broker that is tried once a second for 12 seconds, when it refuses, and then is gone
    now = [100.0]
    wait = Wait(lambda: now[0])
    for second in range(12):
        now[0] = 100.0 + second
        wait.note(RefusedForNowError("it loads its data: LOADING") if second < 8 else LostConnectionError("no route"))
    # Then two lines tell it
    assert caplog.messages == [
        "the broker refuses for now: it loads its data: LOADING; waiting since 5 s",
        "the broker can't be reached: no route; waiting since 10 s",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_run_goes_on_when_its_broker_was_a_replica_for_a_while(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a run in the middle of a round, and a client that waits for orders
    run_dir = tmp_path / "run"
    clients = field.clients(broker, 2, STEP_S="0.3")
    program = field.run(run_dir, "--rounds 2 --min-updates 2", broker=broker)
    wait_until(lambda: all(each.output.count("/train: begun") == 2 for each in clients), "both are in round 2")
    # When the broker takes no writes, is unblocked, and takes them again when each has noticed a few times
    _replica(broker)
    wait_until(lambda: all(each.output.count("refused by the broker for now") >= 3 for each in clients), "they noticed")
    wait_until(lambda: "for now: it has become a replica" in program.output, "the orchestrator has said so", 45)
    broker.replicaof("NO", "ONE")
    # Then the run ends, with nothing trained twice, lost, or counted twice, by the same workers
    program.succeeds()
    assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
    assert [record["late"] for record in history(run_dir)] == [[]] * 2
    check_trained_once(clients, 2)
    assert "the broker refuses for now: it has become a replica" in program.output
