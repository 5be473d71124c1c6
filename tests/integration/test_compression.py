"""Compression between real processes: what a client owes survives its being killed."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration.harness import Field, Program, checkpoint, history, part, wait_until

ROUNDS = 5
MODEL = {"MODEL_ELEMENTS": "2000"}


def start(field: Field, broker: Redis, run_dir: Path, compression: str) -> Program:
    options = f"--rounds {ROUNDS} --compression {compression} --clients 2 --no-evaluate-clients"
    return field.run(run_dir, options, broker=broker, **MODEL)


def test_a_client_that_is_killed_and_started_again_still_owes_what_it_owed(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run of two clients that send the largest changes alone, without a disturbance
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    clients = [field.client(broker, f"client-{number}", **part(number, 2), **MODEL) for number in (1, 2)]
    program = start(field, broker, whole, "topk:0.05")
    program.succeeds()
    assert [each.wait() for each in clients] == [0, 0]
    assert {record["bytes_up"] < 0.1 * record["bytes_down"] for record in history(whole)} == {True}

    # When in another a client is killed while it trains the third round, and started again at once
    field.client(broker, "client-1", **part(1, 2), **MODEL)
    client = field.client(broker, "client-2", **part(2, 2), **MODEL, STEP_S="0.3", CLIENT_HEARTBEAT_S="10")
    program = start(field, broker, disturbed, "topk:0.05")
    wait_until(lambda: "round 3 opened" in program.output, "the third round is open")
    client.end()
    field.client(broker, "client-2", **part(2, 2), **MODEL, CLIENT_HEARTBEAT_S="10")

    # Then both end at the same model, to the last bit
    program.succeeds()
    assert [record["responses"]["client-2"]["status"] for record in history(disturbed)] == ["trained"] * ROUNDS
    assert checkpoint(disturbed, ROUNDS) == checkpoint(whole, ROUNDS)
