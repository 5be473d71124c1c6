"""Clients that get their turn to send an update and send nothing, while others wait for theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redis import Redis

from orchestrator.driver.collector import SILENT
from orchestrator.transport.uploads import slow_updates_at_a_time
from tasks.messages import READY
from tests.integration import harness
from tests.integration.harness import Field, history, wait_until
from tests.integration.liar import Liar, living

IN_FLIGHT_MB = 0.0001
ENOUGH = 16
"""Clients that fill all turns there are."""


def say_ready(_: Liar, order: dict[str, Any]) -> str:
    """Say that the update is ready; it never comes."""
    return json.dumps({"status": READY, "task_id": order["order_id"]})


def test_clients_that_never_send_their_updates_are_given_up_and_the_others_come_in(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given clients that fill all turns and send nothing, and three that train for a while first
    run_dir = tmp_path / "run"
    assert slow_updates_at_a_time(IN_FLIGHT_MB * 1e6, 100) <= ENOUGH
    field.clients(broker, 3, STEP_S="0.6")
    with living(Liar(broker, [f"a-{number:02d}" for number in range(ENOUGH)], say_ready)):
        wait_until(lambda: len(harness.present(broker)) == ENOUGH + 3, "all are there")
        # When they take part in a round
        # Then the honest ones have their turn when the others have had their time, long before all is over
        options = f"--rounds 1 --clients {ENOUGH + 3} --in-flight-mb {IN_FLIGHT_MB} --timeout 12 --no-evaluate-clients"
        field.run(run_dir, options, broker=broker).succeeds()
    [record] = history(run_dir)
    told = {client_id: (response["status"], response["reason"]) for client_id, response in record["responses"].items()}
    assert {client_id: told[client_id] for client_id in told if client_id.startswith("client-")} == {
        f"client-{number}": ("trained", "") for number in (1, 2, 3)
    }
    assert ("lost", SILENT) in told.values()
    assert {status for client_id, (status, _) in told.items() if client_id.startswith("a-")} == {"lost"}
    # And nothing of them is left
    assert list(broker.scan_iter("fl:blob:*")) == []
