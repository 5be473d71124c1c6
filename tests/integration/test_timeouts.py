"""Timeouts: a round closes on time with every piece of work that was done."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, Program, history, part

TIMEOUT_S = 5.0
NUM_STEPS = 50


def run(field: Field, broker: Redis, run_dir: Path, *options: str, rounds: int) -> Program:
    usual = f"--rounds {rounds} --timeout {TIMEOUT_S} --epochs {NUM_STEPS} --no-evaluate-clients"
    return field.run(run_dir, usual, *options, broker=broker)


def test_a_straggler_contributes_what_it_did_to_every_round(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given two clients, of which one does fifty steps at once, and the other needs ten seconds
    run_dir = tmp_path / "run"
    field.client(broker, "client-1", **part(1, 2), STEP_S="0")
    field.client(broker, "client-2", **part(2, 2), STEP_S="0.2")

    # When there is a timeout that it can't keep
    program = run(field, broker, run_dir, rounds=3)
    program.succeeds()

    # Then each round closed with what it had done by then: some of its steps
    records = history(run_dir)
    assert len(records) == 3
    for record in records:
        slow = record["responses"]["client-2"]
        assert slow["status"] == "timed_out"
        assert 1 <= slow["num_steps"] < NUM_STEPS
        assert record["responses"]["client-1"]["status"] == "trained"


def test_the_same_holds_for_a_pool_without_soft_limits(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a slow client whose worker runs the solo pool
    run_dir = tmp_path / "run"
    field.client(broker, "client-1", "--pool", "solo", **part(1, 1), STEP_S="0.2")

    # When there is a timeout that it can't keep
    program = run(field, broker, run_dir, "--clients", "1", rounds=2)
    program.succeeds()

    # Then it contributes what it did
    assert [record["responses"]["client-1"]["status"] for record in history(run_dir)] == ["timed_out"] * 2
    assert all(1 <= record["responses"]["client-1"]["num_steps"] < NUM_STEPS for record in history(run_dir))


def test_a_step_inside_one_long_call_is_ended_by_the_hard_limit(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client that spends a minute in one call to C, which no soft limit ends
    run_dir, stuck = tmp_path / "run", tmp_path / "stuck"
    stuck.touch()
    field.client(broker, "client-1", **part(1, 2))
    field.client(broker, "client-2", **part(2, 2), STUCK=str(stuck))

    # When the time is over
    program = run(field, broker, run_dir, rounds=2)
    program.succeeds()

    # Then its process was ended and the slot says why, and it is free for the next round
    first, second = history(run_dir)
    assert first["responses"]["client-2"]["status"] == "failed"
    assert "train() didn't end within" in first["responses"]["client-2"]["reason"]
    assert first["status"] == "closed"
    assert second["responses"]["client-2"]["status"] == "trained"
    assert harness.summary(run_dir)["status"] == "completed"
