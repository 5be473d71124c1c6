"""Redis is killed in the middle of a round and comes back with what it had written down (AOF)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration import harness
from tests.integration.harness import Field, history, part, url, wait_until

ROUNDS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final checkpoint of the same run without an outage."""
    folder = tmp_path_factory.mktemp("undisturbed")
    field = Field(folder)
    try:
        program = field.orchestrator("--run-dir", str(folder / "run"), "--rounds", str(ROUNDS), "--min-updates", "2")
        assert program.wait() == 0, program.output
    finally:
        field.end()
    return harness.checkpoint(folder / "run", ROUNDS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("outage_s", [2, 20])
def test_a_run_goes_on_through_a_restart_of_redis(
    field: Field, tmp_path: Path, undisturbed: bytes, outage_s: float
) -> None:
    # Given a run in the middle of a round, over a Redis that writes down what it holds
    run_dir = tmp_path / "run"
    with harness.server(appendonly=True) as server:
        clients = [
            field.client(server.client, f"client-{number}", **part(number, 2), STEP_S="0.3") for number in (1, 2)
        ]
        program = field.orchestrator(
            "--broker", url(server.client), "--run-dir", str(run_dir), "--rounds", str(ROUNDS), "--min-updates", "2"
        )
        wait_until(lambda: "round 2 opened" in program.output, "the second round is open")

        # When Redis is killed, and comes back after a while
        server.kill()
        time.sleep(outage_s)
        server.start()

        # Then the run ends with the same model, and nothing was trained twice, lost, or counted twice
        assert program.wait(120) == 0, program.output
        assert harness.checkpoint(run_dir, ROUNDS) == undisturbed
        assert {a["status"] for record in history(run_dir) for a in record["answers"].values()} == {"trained"}
        assert [record["late"] for record in history(run_dir)] == [[]] * ROUNDS
        for client in clients:
            assert client.wait() == 0, client.output
            assert client.output.count("/train: trained") == ROUNDS, client.output
