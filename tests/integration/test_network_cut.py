"""The network is cut off in the middle of a run and joined again: nothing is closed, nothing goes through."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration.harness import Field, Program, check_trained_once, history, part, wait_until
from tests.integration.relay import Held, Relay, relay

ALL_WAYS = pytest.mark.parametrize("held", Held)
NUM_ROUNDS = {Held.FLOWS: 1, Held.RESET: 3, Held.FORGOTTEN: 3}
"""How long a cut is: so many rounds that the other clients do after one is missed."""


def start(
    field: Field, broker: Redis, link: Relay, run_dir: Path, steps_s: tuple[float, float]
) -> tuple[Program, Program]:
    """Start a run of two clients, the second of which goes over the relay; return the orchestrator and that one."""
    field.client(broker, "client-1", **part(1, 2), STEP_S=str(steps_s[0]))
    second = field.client(broker, "client-2", **part(2, 2), STEP_S=str(steps_s[1]), CELERY_BROKER_URL=link.url)
    return field.run(run_dir, "--rounds 500", broker=broker), second


def answers_of(run_dir: Path, client_id: str) -> dict[int, Any]:
    """A client's answers by round."""
    return {
        record["round_number"]: record["responses"][client_id]
        for record in history(run_dir)
        if client_id in record["responses"]
    }


def wait_until_it_trained_again(program: Program, run_dir: Path, after_round: int) -> None:
    def has_trained() -> bool:
        responses = answers_of(run_dir, "client-2")
        return any(number > after_round and responses[number]["status"] == "trained" for number in responses)

    wait_until(has_trained, f"client-2 is back and trains:\n{program.output}")


@pytest.mark.parametrize("held", [Held.FLOWS, Held.RESET])
def test_a_client_that_is_cut_off_while_it_trains_is_lost_and_comes_back(
    field: Field, broker: Redis, tmp_path: Path, held: Held
) -> None:
    # Given a client that trains for some two seconds
    run_dir = tmp_path / "run"
    with relay(broker) as link:
        program, client = start(field, broker, link, run_dir, steps_s=(0.1, 0.4))
        wait_until(lambda: "/train: begun" in client.output, "it trains")

        # When it is cut off, and its training ends before it is joined again
        link.cut()
        last = 4 + 2 * NUM_ROUNDS[held]
        wait_until(lambda: f"round {last} closed" in program.output, "the rounds go on without it")
        link.join(held)
        wait_until_it_trained_again(program, run_dir, after_round=last)
        program.send(signal.SIGINT)
        assert program.wait() == 130, program.output

    # Then its slot was lost at once, and its answer came late and was not counted
    first = history(run_dir)[0]
    assert first["responses"]["client-2"]["status"] == "lost"
    assert first["responses"]["client-2"]["reason"] == "the client vanished"
    assert first["responses"]["client-1"]["status"] == "trained"
    late = [response for record in history(run_dir) for response in record["late"]]
    assert [(response["client_id"], response["order_id"].split("/", 3)[3]) for response in late] == [
        ("client-2", "1/train")
    ]
    assert not list(broker.scan_iter("fl:blob:update/client-2/*/1:*"))


@ALL_WAYS
def test_a_client_that_is_cut_off_while_it_waits_comes_back(
    field: Field, broker: Redis, tmp_path: Path, held: Held
) -> None:
    # Given a client that has done its part of a round in which the other trains on
    run_dir = tmp_path / "run"
    with relay(broker) as link:
        program, _ = start(field, broker, link, run_dir, steps_s=(0.3, 0.0))
        wait_until(lambda: "client-2 trained" in program.output, "it has done its part")

        # When it is cut off until it is missed, and joined again
        link.cut()
        wait_until(lambda: "client-2 left" in program.output, "it is missed")
        num_closed = len(history(run_dir))
        wait_until(lambda: len(history(run_dir)) >= num_closed + NUM_ROUNDS[held], "the rounds go on without it")
        link.join(held)

        # Then it takes part in a later round, and what it had done before counted
        wait_until_it_trained_again(program, run_dir, after_round=1)
        program.send(signal.SIGINT)
        assert program.wait() == 130, program.output
    assert answers_of(run_dir, "client-2")[1]["status"] == "trained"
    assert [record["late"] for record in history(run_dir) if record["late"]] == []


@ALL_WAYS
def test_a_run_goes_on_when_the_orchestrator_was_cut_off(
    field: Field, broker: Redis, tmp_path: Path, held: Held
) -> None:
    # Given a run in the middle of a round
    run_dir, rounds = tmp_path / "run", 3
    with relay(broker) as link:
        clients = [field.client(broker, f"client-{number}", **part(number, 2), STEP_S="0.2") for number in (1, 2)]
        program = field.run(run_dir, f"--rounds {rounds}", broker=link.url)
        wait_until(lambda: "round 2 opened" in program.output, "the second round is open")

        # When the orchestrator and its worker are cut off until the clients have trained
        link.cut()
        wait_until(lambda: all(each.output.count("/train: trained") == 2 for each in clients), "they have trained")
        link.join(held)

        # Then the run is completed, and nobody was lost or trained twice
        program.succeeds()
    assert [a["status"] for record in history(run_dir) for a in record["responses"].values()] == [
        "trained"
    ] * 2 * rounds
    assert [record["late"] for record in history(run_dir)] == [[]] * rounds
    check_trained_once(clients, rounds)
