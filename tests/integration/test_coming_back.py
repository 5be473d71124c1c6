"""A client that its operator stops and starts again, and clients that a run sends away for a while."""

from __future__ import annotations

import signal
from pathlib import Path

from redis import Redis

from tests.integration.harness import Field, Program, events, history, statuses, wait_until
from tests.integration.workload.accountant import SPENT_A_ROUND

ACCOUNTANT = "tests.integration.workload.accountant:Accountant"
BOTH = {"client-1": "trained", "client-2": "trained"}


def start_client(field: Field, broker: Redis, client_id: str, held: Path) -> Program:
    """Start a client that has no part of its own, and is held in its first round as long as there is the file."""
    own = {"CLIENT_WORKLOAD": ACCOUNTANT, "NAN_ROUND": "0", "HELD_ROUND": "1", "HELD": str(held)}
    return field.client(broker, client_id, **own)


def examples_of(run_dir: Path, client_id: str) -> list[int]:
    """How many examples a client had each time that it joined a run, which tells its part of the data."""
    joined = [event.clients for event in events(run_dir, "clients_joined")]
    return [clients[client_id] for clients in joined if client_id in clients]


def test_a_client_that_leaves_is_back_in_a_later_round_and_in_a_later_run(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given two clients in the first round of a run that needs both
    one, two, first_run, later_run = (tmp_path / name for name in ("one", "two", "first", "later"))
    one.touch()
    two.touch()
    staying = start_client(field, broker, "client-1", one)
    leaving = start_client(field, broker, "client-2", two)
    options = "--clients 2 --rounds 2 --min-updates 2 --no-evaluate-clients"
    program = field.run(first_run, options, "--reconnect-after 1", broker=broker, workload=ACCOUNTANT)
    wait_until(lambda: all("/1/train: begun" in client.output for client in (staying, leaving)), "both train")

    # When the second's operator stops its worker with SIGTERM while it trains
    leaving.send(signal.SIGTERM)
    two.unlink()

    # Then it sends its update, which counts, and leaves; the run waits for it after the round
    leaving.succeeds()
    wait_until(lambda: "client client-2 left" in program.output, "it is gone")
    one.unlink()
    wait_until(lambda: statuses(first_run) == [BOTH], "the round is closed with its update")

    # When its worker is started again, by the same command
    again = start_client(field, broker, "client-2", two)

    # Then it is in the next round, with the part of the data that it had, and what its study has kept
    program.succeeds()
    assert statuses(first_run) == [BOTH, BOTH]
    before, after = examples_of(first_run, "client-2")
    assert before == after
    assert history(first_run)[1]["responses"]["client-2"]["metrics"]["spent"] == 2 * SPENT_A_ROUND

    # When another run is started a while after that one has sent them away for a second
    later = field.run(later_run, options, broker=broker, workload=ACCOUNTANT)

    # Then the same workers are back for it, with the same parts, and end with it
    later.succeeds()
    assert statuses(later_run) == [BOTH, BOTH]
    assert examples_of(later_run, "client-2") == [before]
    for client in (staying, again):
        client.succeeds()
