"""Redis is killed in the middle of a round and comes back with what it had written down (AOF)."""

from __future__ import annotations

from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from redis import Redis

from tasks.broker.app import make_app
from tests.integration import harness
from tests.integration.harness import Field, check_trained_once, history, wait_until

ROUNDS = 4


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final checkpoint of the same run without an outage."""
    return harness.checkpoint(harness.undisturbed(tmp_path_factory.mktemp("undisturbed"), rounds=ROUNDS), ROUNDS)


@pytest.mark.parametrize("num_missed", [3, 30])
def test_a_run_goes_on_through_a_restart_of_redis(
    field: Field, tmp_path: Path, undisturbed: bytes, num_missed: int
) -> None:
    # Given a run in the middle of a round, over a Redis that writes down what it holds
    run_dir = tmp_path / "run"
    with harness.server(appendonly=True) as server:
        clients = field.clients(server.client, 2, STEP_S="0.3")
        program = field.run(run_dir, f"--rounds {ROUNDS} --min-updates 2", broker=server.client)
        wait_until(lambda: all(each.output.count("/train: begun") == 2 for each in clients), "both are in round 2")

        # When Redis is killed, and comes back when each client has missed it at so many heartbeats, two a second
        server.kill()
        missed = "can't reach the broker"
        wait_until(lambda: all(each.output.count(missed) >= num_missed for each in clients), "they have missed it")
        server.start()

        # Then the run ends with the same model, and nothing was trained twice, lost, or counted twice
        program.succeeds()
        assert harness.checkpoint(run_dir, ROUNDS) == undisturbed
        assert {a["status"] for record in history(run_dir) for a in record["responses"].values()} == {"trained"}
        assert [record["late"] for record in history(run_dir)] == [[]] * ROUNDS
        check_trained_once(clients, ROUNDS)


def test_who_listens_for_broadcasts_waits_for_none(broker: Redis) -> None:
    # Given what a worker's event loop hears broadcasts by
    connection: Any = make_app("listening", harness.url(broker), include=()).connection_for_read()
    with connection, broker.pubsub() as listening:  # type: ignore[no-untyped-call]
        channel = connection.default_channel
        listening.subscribe("broadcasts")
        assert listening.parse_response()[0] == b"subscribe"
        # When it reads, and nothing was said, also after its connection was dropped, then it goes on at once
        for drop in (lambda: None, listening.connection.disconnect):
            drop()
            with pytest.raises(Empty):
                channel._receive_one(listening)
        # And where it was dropped it subscribes anew
        assert channel._in_listen is None
