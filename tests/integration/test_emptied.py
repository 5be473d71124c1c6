"""Redis forgets everything in the middle of a run: it is emptied, or started anew with nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration import harness
from tests.integration.harness import Field, Program, Server, history, wait_until

ROUNDS = 2
CLIENTS = 4


def start(field: Field, server: Server, run_dir: Path, **options: str) -> tuple[Program, Program]:
    """Start an orchestrator, and a worker that carries out the orders of four clients one after the other."""
    slow = {"STEP_S": "0.1", "LOSS_S": "0.3"}
    worker = field.client(server.client, "client", CLIENT_COUNT=str(CLIENTS), CLIENT_CONCURRENCY="1", **slow)
    more = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    program = field.run(run_dir, f"--rounds {ROUNDS} --clients {CLIENTS}", *more, broker=server.client, **slow)
    return program, worker


def assert_undisturbed(run_dir: Path, undisturbed: Path) -> None:
    """Check that a run has the models of an undisturbed one, and lost nobody."""
    for number in range(ROUNDS + 1):
        assert harness.checkpoint(run_dir, number) == harness.checkpoint(undisturbed, number)
    assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
    assert history(run_dir)[-1]["num_evaluated"] == CLIENTS


@pytest.mark.parametrize(
    ("kind", "options", "elements"),
    [
        ("1/train", {}, "10"),
        ("2/verify-1", {"verify": "peers"}, "10"),
        ("2/evaluate", {}, "10"),
        ("2/train", {"in_flight_mb": "1"}, "800000"),
    ],
    ids=["training", "verifying", "evaluating", "crowded"],
)
def test_a_run_goes_on_when_redis_is_emptied(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, options: Mapping[str, str], elements: str
) -> None:
    # Given an undisturbed run
    monkeypatch.setenv("MODEL_ELEMENTS", elements)
    undisturbed = harness.undisturbed(tmp_path, rounds=ROUNDS, clients=CLIENTS, **options)

    # And another, of whose orders one is carried out and the others wait in the queue
    with harness.server() as server:
        run_dir = tmp_path / "run"
        program, worker = start(field, server, run_dir, **options)
        wait_until(lambda: f"{kind}: begun" in worker.output, "an order is begun")

        # When Redis is emptied
        server.client.flushall()

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert "the broker was emptied" in program.output
        assert_undisturbed(run_dir, undisturbed)


def test_a_run_goes_on_when_redis_is_started_anew_with_nothing(field: Field, tmp_path: Path) -> None:
    # Given an undisturbed run, and another in the middle of a round
    undisturbed = harness.undisturbed(tmp_path, rounds=ROUNDS, clients=CLIENTS)
    with harness.server() as server:
        program, worker = start(field, server, tmp_path / "run")
        wait_until(lambda: "2/train: begun" in worker.output, "an order is begun")

        # When Redis is killed and comes back without what it held
        server.kill()
        server.start()

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert_undisturbed(tmp_path / "run", undisturbed)


def test_a_run_that_is_taken_up_again_sends_what_redis_has_forgotten_meanwhile(field: Field, tmp_path: Path) -> None:
    # Given an undisturbed run, and another whose orchestrator was killed while a client trained
    undisturbed = harness.undisturbed(tmp_path, rounds=ROUNDS, clients=CLIENTS)
    with harness.server() as server:
        run_dir = tmp_path / "run"
        program, worker = start(field, server, run_dir)
        wait_until(lambda: "2/train: begun" in worker.output, "an order is begun")
        program.end()

        # When Redis is emptied before the run is taken up again
        server.client.flushall()
        program = field.resume(run_dir, broker=server.client)

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert_undisturbed(run_dir, undisturbed)
