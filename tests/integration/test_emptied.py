"""Redis forgets everything in the middle of a run: it is emptied, or started anew with nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration import harness
from tests.integration.harness import Field, Program, Server, history, wait_until

ROUNDS = 2
CROWDED = ("--in-flight-mb", "1")


def start(field: Field, server: Server, run_dir: Path, *options: str, **environment: str) -> tuple[Program, Program]:
    """Start an orchestrator, and a worker that carries out the orders of four clients one after the other."""
    worker = field.client(
        server.client, "client", CLIENT_COUNT="4", CLIENT_CONCURRENCY="1", STEP_S="0.1", LOSS_S="0.3", **environment
    )
    program = field.run(run_dir, f"--rounds {ROUNDS} --clients 4", *options, broker=server.client, **environment)
    return program, worker


def run_undisturbed(field: Field, server: Server, run_dir: Path, *options: str, **environment: str) -> None:
    """Carry out a run, and wait until its worker has ended too."""
    for program in start(field, server, run_dir, *options, **environment):
        program.succeeds()


def assert_undisturbed(run_dir: Path, undisturbed: Path) -> None:
    """Check that a run has the models of an undisturbed one, and lost nobody."""
    for number in range(ROUNDS + 1):
        assert harness.checkpoint(run_dir, number) == harness.checkpoint(undisturbed, number)
    assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
    assert history(run_dir)[-1]["num_evaluated"] == 4


@pytest.mark.parametrize(
    ("kind", "options", "elements"),
    [
        ("1/train", (), "10"),
        ("2/verify-1", ("--verify", "peers"), "10"),
        ("2/evaluate", (), "10"),
        ("2/train", CROWDED, "800000"),
    ],
    ids=["training", "verifying", "evaluating", "crowded"],
)
def test_a_run_goes_on_when_redis_is_emptied(
    field: Field, tmp_path: Path, kind: str, options: tuple[str, ...], elements: str
) -> None:
    # Given an undisturbed run
    with harness.server() as server:
        run_undisturbed(field, server, tmp_path / "undisturbed", *options, MODEL_ELEMENTS=elements)

        # And another, of whose orders one is carried out and the others wait in the queue
        run_dir = tmp_path / "run"
        program, worker = start(field, server, run_dir, *options, MODEL_ELEMENTS=elements)
        wait_until(lambda: f"{kind}: begun" in worker.output, "an order is begun")

        # When Redis is emptied
        server.client.flushall()

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert "the broker was emptied" in program.output
        assert_undisturbed(run_dir, tmp_path / "undisturbed")


def test_a_run_goes_on_when_redis_is_started_anew_with_nothing(field: Field, tmp_path: Path) -> None:
    # Given an undisturbed run, and another in the middle of a round
    with harness.server() as server:
        run_undisturbed(field, server, tmp_path / "undisturbed")
        program, worker = start(field, server, tmp_path / "run")
        wait_until(lambda: "2/train: begun" in worker.output, "an order is begun")

        # When Redis is killed and comes back without what it held
        server.kill()
        server.start()

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert_undisturbed(tmp_path / "run", tmp_path / "undisturbed")


def test_a_run_that_is_taken_up_again_sends_what_redis_has_forgotten_meanwhile(field: Field, tmp_path: Path) -> None:
    # Given an undisturbed run, and another whose orchestrator was killed while a client trained
    with harness.server() as server:
        run_undisturbed(field, server, tmp_path / "undisturbed")
        run_dir = tmp_path / "run"
        program, worker = start(field, server, run_dir)
        wait_until(lambda: "2/train: begun" in worker.output, "an order is begun")
        program.end()

        # When Redis is emptied before the run is taken up again
        server.client.flushall()
        program = field.resume(run_dir, broker=server.client)

        # Then the run ends with the same models, and nobody was lost
        program.succeeds()
        assert_undisturbed(run_dir, tmp_path / "undisturbed")
