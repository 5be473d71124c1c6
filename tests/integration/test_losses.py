"""Clients whose processes are killed in the middle of a round."""

from __future__ import annotations

from pathlib import Path

import psutil
from redis import Redis

from tests.integration.harness import Field, Program, events, history, part, wait_until


def start(field: Field, broker: Redis, run_dir: Path, rounds: int, **quick: str) -> tuple[Program, Program]:
    """Start a run of a quick and a slow client; return orchestrator and slow client once that trains."""
    field.client(broker, "client-1", **part(1, 2), STEP_S="0.2", **quick)
    slow = field.client(broker, "client-2", **part(2, 2), STEP_S="0.5")
    program = field.run(run_dir, f"--rounds {rounds} --no-evaluate-clients", broker=broker)
    wait_until(lambda: "/train: begun" in slow.output, "the slow client trains")
    return program, slow


def num_joined(run_dir: Path, client_id: str) -> int:
    """How often a client has joined a run, alone or at the same time as others."""
    return sum(client_id in event.clients for event in events(run_dir, "clients_joined"))


def test_a_clients_pool_process_that_is_killed_is_replaced(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client that trains
    run_dir = tmp_path / "run"
    program, slow = start(field, broker, run_dir, rounds=2)

    # When the process that trains is killed
    [pool_process] = psutil.Process(slow.process.pid).children()
    pool_process.kill()

    # Then its slot says that it is lost, the round goes on, and in the next round it trains again
    program.succeeds()
    first, second = history(run_dir)
    assert first["responses"]["client-2"]["status"] == "lost"
    assert "the client's process died while it trained: ended by SIGKILL" in first["responses"]["client-2"]["reason"]
    assert first["responses"]["client-1"]["status"] == "trained"
    assert second["responses"]["client-2"]["status"] == "trained"


def test_a_clients_worker_that_is_killed_is_welcome_again_when_it_is_started_anew(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a client that trains, beside one that is held in its round
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    program, slow = start(field, broker, run_dir, rounds=2, HELD=str(held))

    # When its worker is killed, and is there again after its slot was filled
    slow.end()
    wait_until(lambda: "client client-2 lost: the client vanished" in program.output, "its slot is filled as lost")
    field.client(broker, "client-2", **part(2, 2))
    wait_until(lambda: num_joined(run_dir, "client-2") == 2, "it is there again")
    held.unlink()

    # Then it takes part in the next round, under its id
    program.succeeds()
    first, second = history(run_dir)
    assert first["responses"]["client-2"]["status"] == "lost"
    assert second["responses"]["client-2"]["status"] == "trained"


def test_a_client_that_is_started_anew_at_once_trains_the_same_round(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a client that trains, whose announcement outlives it for a while
    run_dir = tmp_path / "run"
    client = field.client(broker, "client-1", **part(1, 1), STEP_S="0.5", CLIENT_HEARTBEAT_S="10")
    program = field.run(run_dir, "--rounds 1 --clients 1 --no-evaluate-clients", broker=broker)
    wait_until(lambda: "round 1 opened" in program.output, "the round is open")
    client.end()

    # When its worker is started again before that is over
    field.client(broker, "client-1", **part(1, 1))

    # Then it gets its order again
    program.succeeds()
    assert history(run_dir)[0]["responses"]["client-1"]["status"] == "trained"
