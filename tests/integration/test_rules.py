"""Clients and orchestrators under their rules: what a run takes is allowed, and what would harm another is denied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from tasks.broker import needs
from tasks.broker.probe import check_broker
from tasks.broker.rules import user_name
from tasks.scope import PRESENCE_CHANNEL, RUN_LOCK_KEY, ClientScope, RunScope, chord_keys, result_key, turn_key
from tests.integration import harness
from tests.integration.harness import EXAMPLE, Field, history, part, wait_until
from tests.integration.ruled import Ruled, ruled

CLIENTS = {f"client-{number}": None for number in (1, 2, 3)}

RUNS = {
    "plain": "",
    "crowded": "--in-flight-mb 0.0001",
    "peers": "--verify peers",
    "control variates": "--algorithm scaffold",
    "two exchanges": "--algorithm mime",
    "compressed": "--compression topk:0.25",
}


def check_trained(run_dir: Path, num_rounds: int, num_clients: int) -> None:
    """Check that all clients' updates were taken in each round."""
    statuses = harness.statuses(run_dir)
    assert [[*each.values()] for each in statuses] == [["trained"] * num_clients] * num_rounds


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_takes_nothing_that_is_denied(field: Field, tmp_path: Path, kind: str) -> None:
    # Given three clients under their rules, which wait for a part of the data
    run_dir = tmp_path / "run"
    with ruled(CLIENTS) as broker:
        clients = [
            field.client(broker.client(client_id), client_id, CLIENT_WORKLOAD="study:Study", cwd=EXAMPLE)
            for client_id in CLIENTS
        ]
        # When they train as an orchestrator has them, which is under its own
        options = f"--clients 3 --rounds 2 {RUNS[kind]}"
        program = field.run(run_dir, options, broker=broker.orchestrator, workload="study:Study", cwd=EXAMPLE)
        program.succeeds()
        for client in clients:
            client.succeeds()
        # Then nothing was denied to anyone, and nothing is left
        assert broker.denied() == []
        wait_until(lambda: {*broker.stored()} <= {f"fl:part:{each}".encode() for each in CLIENTS}, "all is removed")
    check_trained(run_dir, 2, 3)


def test_a_worker_of_many_clients_takes_nothing_that_is_denied(field: Field, tmp_path: Path) -> None:
    # Given a worker of eleven clients under its rules, and a round in which not all may send at once
    run_dir = tmp_path / "run"
    with ruled({"ward": 11}) as broker:
        worker = field.client(broker.client("ward"), "ward", CLIENT_COUNT="11", CLIENT_CONCURRENCY="2")
        # When they train, then nothing was denied
        options = "--clients 11 --rounds 2 --in-flight-mb 0.0001"
        field.run(run_dir, options, broker=broker.orchestrator).succeeds()
        worker.succeeds()
        assert broker.denied() == []
    check_trained(run_dir, 2, 11)


def test_one_that_joins_live_takes_nothing_that_is_denied(field: Field, tmp_path: Path) -> None:
    # Given a round that is open, and held, of a run with parts for two
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    with ruled(CLIENTS) as broker:
        field.client(broker.client("client-1"), "client-1", **part(1, 1), HELD=str(held))
        options = "--rounds 2 --clients 1 --accept live --no-evaluate-clients"
        program = field.run(run_dir, options, broker=broker.orchestrator)
        wait_until(lambda: "round 1 opened" in program.output, "the first round is open")
        # When another comes, which asks for its part of the data meanwhile
        field.client(broker.client("client-2"), "client-2")
        wait_until(lambda: "round 1: client client-2 joined it live" in program.output, "it has joined")
        held.unlink()
        # Then it trains with the other, and nothing was denied
        program.succeeds()
        assert broker.denied() == []
    check_trained(run_dir, 2, 2)


def test_a_run_that_is_gone_on_with_takes_nothing_that_is_denied(field: Field, tmp_path: Path) -> None:
    # Given a run of two clients that is killed in a round, as is one of the clients, which is started again
    run_dir, held = tmp_path / "run", tmp_path / "held"
    with ruled(CLIENTS) as broker:
        settings = {"HELD": str(held), "CLIENT_HEARTBEAT_S": "10", "STEP_S": "0.3"}
        clients = [field.client(broker.client(each), each, **settings) for each in ("client-1", "client-2")]
        program = field.run(run_dir, "--rounds 3 --clients 2", broker=broker.orchestrator)
        wait_until(lambda: history(run_dir), "a round is closed")
        held.touch()
        wait_until(lambda: len(history(run_dir)) < 3 and "round 2 opened" in program.output, "another is open")
        program.end()
        clients[1].end()
        field.client(broker.client("client-2"), "client-2", **settings)
        held.unlink()
        # When it is gone on with, then all train, and nothing was denied
        field.resume(run_dir, broker.orchestrator).succeeds()
        assert broker.denied() == []
    check_trained(run_dir, 3, 2)


ANNA, BERT, RUN = ClientScope("anna"), ClientScope("bert"), RunScope("run")
UPDATE, ANSWER = f"{ANNA.update('run', 1)}:0", result_key(ANNA.order_id("run", 1, "train"))
CHORD, CLOSED = RUN.new_chord_id(1), result_key(RUN.new_close_id(1))
MODEL, TURN = f"{RUN.model(0)}:0", turn_key(ANNA.update("run", 1))
STRINGS = (UPDATE, ANSWER, CLOSED, MODEL, ANNA.key, ANNA.away_key, ANNA.part_key, ANNA.passed_over_key, RUN_LOCK_KEY)
OWN = f"{BERT.update('run', 1)}:0"

ATTACKS = {
    "a task of closing is forged": ("LPUSH", RunScope("run").queue, "{}"),
    "a task of taking in is forged": ("RPUSH", RunScope("run").queue, "{}"),
    "a task is put in the queue's place": ("SET", RunScope("run").queue, "{}"),
    "the orchestrator's tasks are taken": ("BRPOP", "orchestrator", "1"),
    "its tasks are read": ("LRANGE", "orchestrator", "0", "-1"),
    "its queue is removed": ("UNLINK", "orchestrator"),
    "workers are told to end": ("PUBLISH", "/0.celery.pidbox", "{}"),
    "another's queue is bound": ("SADD", "_kombu.binding.celery.pidbox", "x"),
    "another's answer is written": ("SETEX", ANSWER, "60", "{}"),
    "another's answer is read": ("GET", ANSWER),
    "another's answer is removed": ("DEL", ANSWER),
    "another's answer is told of": ("PUBLISH", ANSWER, "{}"),
    "another's update is written": ("SET", UPDATE, "x"),
    "another's update is read": ("GET", UPDATE),
    "another's update is looked for": ("EXISTS", UPDATE),
    "another's update is removed": ("UNLINK", UPDATE),
    "another's turn is given": ("RPUSH", TURN, "go"),
    "another's turn is taken": ("BLMOVE", TURN, turn_key(BERT.update("run", 1)), "LEFT", "RIGHT", "1"),
    "another's order is taken": ("BRPOP", ANNA.queue, "1"),
    "another's orders are counted": ("LLEN", ANNA.queue),
    "another is sent an order": ("LPUSH", ANNA.queue, "{}"),
    "another's queue is replaced": ("SET", ANNA.queue, "x"),
    "another's announcement is replaced": ("SET", ANNA.key, "{}"),
    "another's announcement is removed": ("DEL", ANNA.key),
    "another's announcement is read": ("GETRANGE", ANNA.key, "0", "10"),
    "another's announcement expires": ("PEXPIRE", ANNA.key, "1"),
    "another's part is replaced": ("SET", ANNA.part_key, "0/1 ab"),
    "its own part is replaced": ("SET", BERT.part_key, "0/1 ab"),
    "a part is asked for in another's place": ("SET", ANNA.wants_part_key, "ab"),
    "another is sent away": ("SET", ANNA.away_key, ""),
    "another is told to pass over": ("SET", ANNA.passed_over_key, "x"),
    "another model is put there for all": ("SET", MODEL, "x"),
    "the model is removed": ("DEL", MODEL),
    "what is handed out is replaced": ("SET", f"{RUN.new_handed_out()}:0", "x"),
    "the notice is replaced": ("SET", RUN_LOCK_KEY, "{}"),
    "the notice is removed": ("UNLINK", RUN_LOCK_KEY),
    "the mark is replaced": ("SET", RUN.mark_key, "0"),
    "the result of closing is written": ("SET", CLOSED, "{}"),
    "the result of closing is told of": ("PUBLISH", CLOSED, "{}"),
    **{f"a chord's key {key[-2:]} is written": ("SET", key, "1") for key in chord_keys(CHORD)},
    "answers are listened to": ("PSUBSCRIBE", "celery-task-meta-*"),
    "another's answer is listened to": ("SUBSCRIBE", ANSWER),
    "its own answers are listened to": ("PSUBSCRIBE", BERT.results),
    "presence is listened to": ("SUBSCRIBE", PRESENCE_CHANNEL),
    "all is listened to": ("MONITOR",),
    "its own queue is filled from the right": ("RPUSH", BERT.queue, "{}"),
    "its own queue is filled from the left": ("LPUSH", BERT.queue, "{}"),
    **{
        " ".join(words): words
        for words in (
            ("FLUSHALL",), ("FLUSHDB",), ("SHUTDOWN", "NOSAVE"), ("CONFIG", "SET", "maxmemory", "1mb"),
            ("CONFIG", "GET", "*"), ("CONFIG", "REWRITE"), ("INFO",), ("CLIENT", "KILL", "TYPE", "normal"),
            ("CLIENT", "PAUSE", "100"), ("CLIENT", "LIST"), ("CLIENT", "NO-EVICT", "on"), ("DEBUG", "SLEEP", "0"),
            ("ACL", "SETUSER", "bert", "on"), ("ACL", "LIST"), ("ACL", "WHOAMI"), ("ACL", "LOG", "RESET"),
            ("REPLICAOF", "127.0.0.1", "1"), ("FAILOVER",), ("SYNC",), ("MODULE", "LIST"), ("LATENCY", "RESET"),
            ("SLOWLOG", "GET"), ("MEMORY", "DOCTOR"), ("COMMAND",), ("SCRIPT", "LOAD", "return 1"),
            ("SCRIPT", "KILL"), ("EVAL", "return 1", "0"), ("EVALSHA", "0" * 40, "0"), ("EVAL_RO", "return 1", "0"),
            ("FUNCTION", "LIST"), ("FCALL", "f", "0"), ("KEYS", "*"), ("SCAN", "0"), ("RANDOMKEY",), ("DBSIZE",),
            ("SAVE",), ("BGSAVE",), ("BGREWRITEAOF",), ("LASTSAVE",), ("SWAPDB", "0", "1"), ("MOVE", OWN, "1"),
            ("COPY", OWN, f"{OWN}1"), ("RENAME", OWN, f"{OWN}1"), ("DUMP", OWN), ("RESTORE", OWN, "0", "x"),
            ("SORT", OWN), ("OBJECT", "ENCODING", OWN), ("APPEND", OWN, "x"), ("SETRANGE", OWN, "536870910", "x"),
            ("WATCH", OWN), ("SUBSCRIBE", "x"), ("WAIT", "1", "0"), ("MIGRATE", "127.0.0.1", "1", OWN, "0", "1"),
        )
    },
}  # fmt: skip
"""What a client with a credential of its own may try -> the command."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Ruled]:
    """A server at which a run is on with two clients."""
    with ruled({"anna": None, "bert": None}) as started:
        admin = started.server.client
        for key in (*STRINGS, OWN):
            admin.set(key, "what is there")
        for key in ("orchestrator", ANNA.queue, BERT.queue, TURN):
            admin.rpush(key, "one")
        yield started


@pytest.fixture
def bert(broker: Ruled) -> Iterator[Redis]:
    """The server as bert reaches it, by his own credential."""
    with broker.connection_of("bert") as client:
        yield client


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_denied_and_changes_nothing_and_is_in_the_server_s_log(
    broker: Ruled, bert: Redis, attack: str
) -> None:
    # Given what is at the broker
    broker.server.client.acl_log_reset()
    stored, words = broker.stored(), ATTACKS[attack]
    # When a client tries what is none of its business, then it is denied
    with pytest.raises(NoPermissionError):
        bert.execute_command(*words)  # type: ignore[no-untyped-call]  # redis has no types for it
    # And nothing is changed, and who tried stands in the log
    assert broker.stored() == stored
    ((user, denied),) = broker.denied()
    assert user == user_name("bert")
    assert denied == words[0].lower() or denied in words or denied.startswith(f"{words[0].lower()}|")


def test_nobody_joins_by_others_ids(broker: Ruled, bert: Redis) -> None:
    # Given what is at the broker
    broker.server.client.acl_log_reset()
    stored = broker.stored()
    # When a client announces five thousand that there aren't, then each is denied
    with bert.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.set(ClientScope(f"bert-{number}").key, "{}", px=60_000)
        answers = pipe.execute(raise_on_error=False)
    assert {type(answer) for answer in answers} == {NoPermissionError}
    assert broker.stored() == stored
    assert {user for user, _ in broker.denied()} == {user_name("bert")}


def test_what_a_client_does_is_allowed(broker: Ruled, bert: Redis) -> None:
    # Given a client's credential
    broker.server.client.acl_log_reset()
    needed = needs.of_client("bert", BERT.queue)
    # When its worker looks at the broker, and does all that it needs, of which some are wrong for what is there
    check_broker(broker.client("bert"), needed)
    with bert.pipeline() as pipe:
        for words in needed.commands:
            pipe.execute_command(*words)  # type: ignore[no-untyped-call]  # redis has no types for it
        pipe.execute(raise_on_error=False)
    # Then nothing was denied
    assert broker.denied() == []
    assert bert.get(MODEL) == b"what is there"
