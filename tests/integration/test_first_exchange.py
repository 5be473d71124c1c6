"""Rounds of two exchanges with real processes: what becomes of those who are slow or killed in one, or between them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from tasks import arrays
from tests.integration import harness
from tests.integration.harness import Field, Program, history, part, wait_until

ASKING_FIRST = "tests.support:ASKING_FIRST"
COUNT = 3


def client(field: Field, broker: Redis, number: int, **environment: str) -> Program:
    """Start one of three clients, which may carry out an algorithm that asks for the loss first."""
    settings = {**part(number, COUNT), "CLIENT_ALGORITHM": ASKING_FIRST, **environment}
    return field.client(broker, f"client-{number}", **settings)


def run(field: Field, broker: Redis, run_dir: Path, *options: str) -> Program:
    usual = f"--algorithm {ASKING_FIRST} --rounds 1 --clients {COUNT} --no-evaluate-clients"
    return field.run(run_dir, usual, *options, broker=broker)


def has_answered(broker: Redis, client_id: str) -> bool:
    """Say whether a client's answer in the first exchange is stored."""
    return any(broker.scan_iter(f"celery-task-meta-client/{client_id}/*/1/survey"))


def told(record: dict[str, Any]) -> dict[str, float]:
    """What the clients that trained were told that the mean loss is."""
    return {name: response["metrics"]["told"] for name, response in record["responses"].items() if response["metrics"]}


def mean_loss(run_dir: Path, *numbers: int) -> float:
    """The mean of the losses of these clients at the initial model."""
    point = arrays.map_file(run_dir / "checkpoints" / "round-0000.safetensors")["point"]
    return float(np.mean([np.mean((point - np.float32(number)) ** 2) for number in numbers]))


def test_a_client_that_is_killed_between_the_exchanges_is_lost_and_what_it_sent_counts(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a client that has sent what it was asked for first, while another is at it
    run_dir = tmp_path / "run"
    client(field, broker, 1)
    client(field, broker, 2, LOSS_S="4")
    killed = client(field, broker, 3)
    program = run(field, broker, run_dir)
    wait_until(lambda: has_answered(broker, "client-3"), "it has answered")

    # When it is killed
    killed.end()

    # Then its slot is lost, and the others train with the mean of what all three sent
    program.succeeds()
    [record] = history(run_dir)
    responses = {name: (response["status"], response["reason"]) for name, response in record["responses"].items()}
    assert responses == {
        "client-1": ("trained", ""),
        "client-2": ("trained", ""),
        "client-3": ("lost", "the client vanished"),
    }
    expected = pytest.approx(mean_loss(run_dir, 1, 2, 3), rel=1e-6)
    assert told(record) == {"client-1": expected, "client-2": expected}


@pytest.mark.parametrize(("how", "options"), [("killed", ""), ("too slow", "--timeout 3")])
def test_a_client_that_is_killed_or_too_slow_in_the_first_exchange_is_left_out_of_both(
    field: Field, broker: Redis, tmp_path: Path, how: str, options: str
) -> None:
    # Given a client that takes a minute for what it was asked for first, where the timeout is long, or is three seconds
    run_dir = tmp_path / "run"
    for number in (1, 2):
        client(field, broker, number)
    third = client(field, broker, 3, LOSS_S="60")
    program = run(field, broker, run_dir, options)
    wait_until(lambda: "/survey: begun" in third.output, "it is at it")

    # When it is killed, or its time is over before the minute is
    if how == "killed":
        third.end()

    # Then its slot is lost, and the others train with the mean of what these two sent
    program.succeeds()
    [record] = history(run_dir)
    assert record["status"] == "closed"
    assert record["responses"]["client-3"]["status"] in ({"lost"} if how == "killed" else {"failed", "lost"})
    expected = pytest.approx(mean_loss(run_dir, 1, 2), rel=1e-6)
    assert told(record) == {"client-1": expected, "client-2": expected}
    assert "client-3 train" not in program.output
    assert "/train" not in third.output


@pytest.mark.parametrize("exchange", ["survey", "train"])
def test_an_orchestrator_that_is_killed_in_either_exchange_ends_at_the_same_model_and_nobody_works_twice(
    field: Field, broker: Redis, tmp_path: Path, exchange: str
) -> None:
    # Given what an undisturbed run comes to
    reference = harness.undisturbed(tmp_path, rounds=2, clients=COUNT, algorithm=ASKING_FIRST)
    run_dir = tmp_path / "run"

    # When another is killed in an exchange of its first round, and taken up again
    clients = [client(field, broker, number, LOSS_S="1.5", STEP_S="0.4") for number in range(1, COUNT + 1)]
    program = run(field, broker, run_dir, "--rounds", "2")
    wait_until(lambda: f"/1/{exchange}" in clients[0].output, "that exchange is on")
    program.send(signal.SIGKILL)
    program.wait()
    again = field.resume(run_dir, broker=broker)
    again.succeeds()

    # Then it comes to the same, to the last bit, each client having done each thing once a round
    assert harness.checkpoint(run_dir, 2) == harness.checkpoint(reference, 2)
    for each in clients:
        each.succeeds()
        assert [each.output.count(f"/{number}/survey: begun") for number in (1, 2)] == [1, 1]
        assert [each.output.count(f"/{number}/train-") for number in (1, 2)] == [2, 2]  # begun, and done
    # And nothing is left of it
    assert list(broker.scan_iter("fl:blob:*")) == list(broker.scan_iter("celery-task-meta-*")) == []


def test_a_crowded_round_of_two_exchanges_gives_the_same_model(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given six clients of one worker, and two with a queue each; room for all that they send, or for two at a time
    models = []
    for in_flight_mb in ("64", "0.0001"):
        run_dir = tmp_path / f"run-{in_flight_mb}"
        many = {"CLIENT_COUNT": "6", "CLIENT_CONCURRENCY": "2", "CLIENT_ALGORITHM": ASKING_FIRST}
        workers = [field.client(broker, "ward", **many), *(client(field, broker, number) for number in (1, 2))]
        # When they take part
        program = run(field, broker, run_dir, "--clients", "8", "--rounds", "2", "--in-flight-mb", in_flight_mb)
        program.succeeds()
        records = history(run_dir)
        assert [sorted(told(record)) == sorted(record["cohort"]) for record in records] == [True, True]
        assert [len(record["cohort"]) for record in records] == [8, 8]
        models.append(harness.checkpoint(run_dir, 2))
        # Then nothing of what they sent is left
        for worker in workers:
            worker.succeeds()
        assert list(broker.scan_iter("fl:blob:*")) == list(broker.scan_iter("celery-task-meta-*")) == []
    # And the models are equal
    assert models[0] == models[1]
