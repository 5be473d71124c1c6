"""What a study keeps at its client, through a worker that is killed and an update that is rejected."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration.harness import Field, history, part, wait_until
from tests.integration.workload.accountant import SPENT_A_ROUND

ACCOUNTANT = "tests.integration.workload.accountant:Accountant"


def test_an_accountant_adds_up_the_accepted_rounds_alone(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given ten rounds, of which the fourth's update is rejected, and a client that is held in the seventh
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    own = {"CLIENT_WORKLOAD": ACCOUNTANT, "NAN_ROUND": "4", "HELD_ROUND": "7", "HELD": str(held), **part(1, 1)}
    client = field.client(broker, "client-1", **own)
    options = "--clients 1 --rounds 10 --no-evaluate-clients"
    program = field.run(run_dir, options, broker=broker, workload=ACCOUNTANT, **own)
    wait_until(lambda: "/7/train: begun" in client.output, "the seventh round trains")

    # When its worker is killed there, and started again
    client.end()
    held.unlink()
    field.client(broker, "client-1", **own)

    # Then each round finds what the accepted ones before it have spent
    program.succeeds()
    responses = [record["responses"].get("client-1", {}) for record in history(run_dir)]
    accepted = 0
    for response in responses:
        if response["status"] == "lost":
            continue
        assert response["metrics"]["spent"] == (accepted + 1) * SPENT_A_ROUND
        assert response["metrics"]["rounds"] == accepted + 1
        accepted += response["status"] == "trained"
    assert [response["status"] for response in responses].count("rejected") == 1
    assert accepted >= 8
