"""Rounds with more updates than may be on their way at a time: turns, and what becomes of those who wait for theirs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
from redis import Redis

from orchestrator.transport.uploads import LEAST
from tasks.messages import READY
from tests.integration import harness
from tests.integration.harness import (
    Field,
    Program,
    check_trained_once,
    history,
    part,
    statuses,
    summary,
    wait_until,
    watched,
)

COUNT = 5


def clients(field: Field, broker: Redis, count: int = COUNT, **environment: str) -> list[Program]:
    """Start clients that have a queue each, and don't train while they are held."""
    return field.clients(broker, count, HELD=str(held(field)), **environment)


def held(field: Field) -> Path:
    """The file that holds the clients."""
    return field.folder / "held"


def run(field: Field, broker: Redis, run_dir: Path, *options: str, rounds: int = 2, count: int = COUNT) -> Program:
    """Start a run in which two updates are all that may be on their way."""
    usual = f"--rounds {rounds} --clients {count} --in-flight-mb 0.0001 --no-evaluate-clients"
    return field.run(run_dir, usual, *options, broker=broker)


def all_trained(count: int = COUNT) -> dict[str, str]:
    return {f"client-{number}": "trained" for number in range(1, count + 1)}


def waiting(broker: Redis) -> set[str]:
    """Ids of the clients that have said that they are ready."""
    keys = list(broker.scan_iter("celery-task-meta-*/train"))
    values = [json.loads(value) for value in broker.mget(keys) if value] if keys else []
    return {value["task_id"].split("/")[1] for value in values if value["status"] == READY}


def updates(broker: Redis) -> set[bytes]:
    """The updates that are in the broker at one moment, which a scan of several steps isn't."""
    found: list[bytes] = broker.keys("fl:blob:update/client-*:0")  # type: ignore[assignment]  # not asynchronous
    return {key.rpartition(b":")[0] for key in found}


def run_until_all_wait(
    field: Field, broker: Redis, run_dir: Path, *options: str, rounds: int = 2, count: int = COUNT
) -> Program:
    """Start a run whose orchestrator stands still, stopped, when all clients wait for their turn in the first round."""
    held(field).touch()
    program = run(field, broker, run_dir, *options, rounds=rounds, count=count)
    wait_until(lambda: "round 1 opened" in program.output, "the round is open")
    program.send(signal.SIGSTOP)
    held(field).unlink()
    wait_until(lambda: len(waiting(broker)) == count, "all wait for their turn")
    return program


def test_no_more_updates_than_may_be_are_on_their_way_and_nothing_is_left(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given five clients, and room for two updates
    run_dir = tmp_path / "run"
    started = clients(field, broker)
    seen = [0]

    # When they train for some rounds
    with watched(lambda: seen.append(len(updates(broker)))):
        run(field, broker, run_dir, rounds=4).succeeds()

    # Then each has trained in each round, in its turn
    assert statuses(run_dir) == [all_trained()] * 4
    assert 1 <= max(seen) <= LEAST
    # And of orders, answers, updates and turns nothing is left when all are gone
    check_trained_once(started, 4)
    assert list(broker.scan_iter("fl:blob:*")) == list(broker.scan_iter("celery-task-meta-*")) == []


def test_a_client_that_is_killed_while_it_waits_for_its_turn_is_lost_alone(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given five clients that wait for their turn
    run_dir = tmp_path / "run"
    started = clients(field, broker)
    program = run_until_all_wait(field, broker, run_dir, rounds=3)

    # When the worker of one is killed
    started[0].end()
    program.send(signal.SIGCONT)

    # Then its slot is lost as soon as its announcement is, long before the deadline, and the run completes
    wait_until(lambda: "client client-1 lost: the client vanished" in program.output, "its slot is lost")
    program.succeeds()
    assert statuses(run_dir) == [
        {**all_trained(), "client-1": "lost"},
        *[{name: status for name, status in all_trained().items() if name != "client-1"}] * 2,
    ]
    # And what it said is gone with the run
    assert list(broker.scan_iter("fl:blob:*")) == list(broker.scan_iter("celery-task-meta-*")) == []


def test_a_client_that_is_ready_too_late_is_told_to_stop(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client whose pool process is frozen as it trains, while the others go on
    run_dir = tmp_path / "run"
    started = clients(field, broker, 4, STEP_S="0.2")
    frozen = field.client(broker, "client-5", **part(5, 5), STEP_S="0.6")
    wait_until(lambda: len(harness.present(broker)) == COUNT, "all are there")
    program = run(field, broker, run_dir, "--timeout", "4", rounds=4)
    wait_until(lambda: " trained" in program.output, "the others have trained, while it trains")
    [process] = frozen.descendants()
    process.suspend()

    # When it goes on after the round has been closed
    wait_until(lambda: history(run_dir), "the round is closed")
    process.resume()

    # Then its update isn't waited for, which is recorded, and it takes part in the later rounds
    program.succeeds()
    records = history(run_dir)
    assert records[0]["responses"]["client-5"]["status"] == "lost"
    assert records[-1]["responses"]["client-5"]["status"] == "trained"
    late = [late["client_id"] for record in records for late in record["late"]]
    assert late == ["client-5"], frozen.output
    assert "its round is over" in frozen.output
    assert all(
        record["responses"][f"client-{number}"]["status"] == "trained" for record in records for number in (1, 2)
    )
    for client in [*started, frozen]:
        client.succeeds()


def test_an_orchestrator_that_is_killed_while_clients_wait_takes_their_updates_when_it_is_resumed(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given five clients that wait for their turn
    run_dir = tmp_path / "run"
    started = clients(field, broker)
    program = run_until_all_wait(field, broker, run_dir)

    # When the orchestrator is killed and the run is taken up again
    program.process.kill()
    program.wait()
    resumed = field.resume(run_dir, broker=broker)

    # Then it completes with the updates that were ready, and nobody has trained twice
    resumed.succeeds()
    assert statuses(run_dir) == [all_trained()] * 2
    check_trained_once(started, 2)


def num_taken_in(run_dir: Path) -> int:
    """How many slots of the first round have a record."""
    path = run_dir / "updates" / "round-0001" / "slots.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_a_round_whose_machine_lost_power_is_opened_anew_with_those_who_wait(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a round in which some have sent their updates, while others train
    run_dir = tmp_path / "run"
    clients(field, broker, COUNT, **{"STEP_S_client-5": "0.8"})
    program = run(field, broker, run_dir, rounds=1)
    wait_until(lambda: num_taken_in(run_dir) >= 3, "some are taken in")
    program.send(signal.SIGKILL)
    program.wait()

    # When what was not on disk is empty after a loss of power, and the run is taken up again
    for path in (run_dir / "updates" / "round-0001").iterdir():
        path.write_bytes(b"")
    opened = run_dir / "open-round.json"
    opened.write_text(json.dumps({**json.loads(opened.read_text()), "boot_id": "another"}))
    resumed = field.resume(run_dir, broker=broker)

    # Then all of the round's updates are made, or sent, again
    resumed.succeeds()
    assert statuses(run_dir) == [all_trained()]


def test_the_own_worker_may_be_killed_while_updates_wait(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a round of updates that wait for their turn
    run_dir = tmp_path / "run"
    clients(field, broker, 8)
    program = run_until_all_wait(field, broker, run_dir, count=8)

    # When the own worker stands still, so that updates are on their way, and is killed
    worker = program.worker("orchestrator.*@%h")
    for process in [worker, *worker.children()]:
        process.suspend()
    program.send(signal.SIGCONT)
    wait_until(lambda: len(updates(broker)) >= LEAST, "updates are on their way")
    worker.kill()

    # Then it is started anew, and every update is taken in once
    program.succeeds()
    assert "is started anew" in program.output
    assert statuses(run_dir) == [all_trained(8)] * 2


def test_redis_may_be_killed_while_clients_wait_for_their_turn(field: Field, tmp_path: Path) -> None:
    # Given five clients that wait for their turn, over a Redis that writes down what it holds
    run_dir = tmp_path / "run"
    with harness.server(appendonly=True) as server:
        started = clients(field, server.client, CLIENT_HEARTBEAT_S="2")
        program = run_until_all_wait(field, server.client, run_dir)

        # When Redis is killed and started again
        server.kill()
        program.send(signal.SIGCONT)
        server.start()

        # Then all get their turn, and nobody trains twice
        program.succeeds()
        assert statuses(run_dir) == [all_trained()] * 2
        check_trained_once(started, 2)


def test_turns_that_redis_forgot_are_given_again(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given clients that wait for their turn, one of which stands still
    run_dir = tmp_path / "run"
    started = clients(field, broker)
    program = run_until_all_wait(field, broker, run_dir, rounds=1)
    [process] = started[0].descendants()
    process.suspend()

    # When it is told that it is its turn, and the broker forgets that
    program.send(signal.SIGCONT)
    key = wait_until(lambda: list(broker.scan_iter("fl:blob:update/client-1/*:turn")), "it has its turn")[0]
    broker.delete(key)
    process.resume()

    # Then it is told again
    program.succeeds()
    assert statuses(run_dir) == [all_trained()]


def test_a_client_that_spoils_its_queue_and_its_turn_harms_nobody_else(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given five clients that wait for their turn
    run_dir = tmp_path / "run"
    clients(field, broker)
    program = run_until_all_wait(field, broker, run_dir, "--timeout", "5")

    # When one has put what is no list where it is to be told, and where its next order is to come
    run_id = json.loads((run_dir / "config.json").read_text())["run_id"]
    broker.set(f"fl:blob:update/client-1/{run_id}/1:turn", b"mine")
    broker.set("client.client-1", b"mine too")
    program.send(signal.SIGCONT)

    # Then it has its turn all the same, and of the next round it is left out
    program.succeeds()
    first, second = statuses(run_dir)
    assert first["client-2"] == second["client-2"] == "trained"
    assert second["client-1"] == "lost"
    assert summary(run_dir)["status"] == "completed"


def many(field: Field, broker: Redis, count: int, **environment: str) -> Program:
    """Start a worker of many clients with two pool processes; they don't train while they are held."""
    shared = {"CLIENT_COUNT": str(count), "CLIENT_CONCURRENCY": "2", "STEP_S": "0.05", "HELD": str(held(field))}
    return field.client(broker, "client", **shared, **environment)


def test_many_clients_of_one_worker_get_their_orders_as_there_is_room_and_one_joins(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given twelve clients of one worker, which stay in their first round until one has joined it
    run_dir = tmp_path / "run"
    held(field).touch()
    worker = many(field, broker, 12)
    wait_until(lambda: len(harness.present(broker)) == 12, "all are there")
    lengths: list[int] = []
    with watched(lambda: lengths.append(broker.llen("clients.client.12"))):
        program = run(field, broker, run_dir, "--accept", "live", count=12)
        wait_until(lambda: worker.output.count("/train: begun") == 2, "two are about to train")

        # When one of its processes is killed, and a client with a queue of its own joins
        psutil.Process(worker.process.pid).children()[0].kill()
        field.client(broker, "newcomer", **part(1, 12))
        wait_until(lambda: "client newcomer joined it live" in program.output, "it has joined the first round")
        held(field).unlink()
        program.succeeds()

    # Then one slot at the most is lost, and in the next round all have trained
    first, second = (list(found.values()) for found in statuses(run_dir))
    assert first.count("trained") >= 12
    assert second == ["trained"] * 13
    # And the orders were never all out
    assert max(lengths) < 12


def test_a_client_that_waits_for_the_turn_of_a_run_that_is_gone_serves_the_next(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given clients that wait for their turn, and an orchestrator that is killed
    started = clients(field, broker, 4)
    program = run_until_all_wait(field, broker, tmp_path / "first", count=4)
    program.process.kill()
    program.wait()

    # When another run begins as soon as the first one's notice is gone
    wait_until(lambda: not broker.exists("fl:federation"), "the notice is gone")
    second = run(field, broker, tmp_path / "second", count=4)

    # Then they let go of the first and serve the second
    second.succeeds()
    assert statuses(tmp_path / "second") == [all_trained(4)] * 2
    for client in started:
        client.succeeds()
        assert "has begun" in client.output
