"""A model is the same to the last bit, however many processes train and take in, and however orders travel."""

from __future__ import annotations

from pathlib import Path

from redis import Redis

from tests.integration import harness
from tests.integration.harness import Field, statuses, url

NUM_CLIENTS = 130
"""So many that 64 orders may go together, half of those for one process."""
ROUNDS = 3
"""In the first nobody knows how quick clients are, so that their orders go alone."""
WORKLOAD = "pulled:Pulled"
APARTS = (1, 1, 1), (2, 2, 7), (3, 3, 64), (1, 3, 7), (3, 1, 1)
"""Processes at the clients, processes of the own worker, orders that one message may bring."""


def run(field: Field, broker: Redis, run_dir: Path, at_clients: int, own: int, together: int) -> int:
    """Carry out a run and return how many messages were put on queues meanwhile."""
    before = num_pushed(broker)
    worker = field.start(
        "ward", "celery", "-A", "sized_worker", "worker", "--loglevel", "INFO", CELERY_BROKER_URL=url(broker),
        CLIENT_ID="ward", CLIENT_WORKLOAD=WORKLOAD, CLIENT_STATE=f"{run_dir}-states", CLIENT_COUNT=str(NUM_CLIENTS),
        CLIENT_CONCURRENCY=str(at_clients), MOST_TOGETHER=str(together),
    )  # fmt: skip
    field.start(
        "orchestrator", "sized_start", "--run-dir", str(run_dir), "--broker", url(broker), "--workload", WORKLOAD,
        "--clients", str(NUM_CLIENTS), "--rounds", str(ROUNDS), "--no-evaluate-clients", "--observe", "console",
        MODEL_ELEMENTS="100", OWN_PROCESSES=str(own),
    ).succeeds()  # fmt: skip
    worker.succeeds()
    return num_pushed(broker) - before


def num_pushed(broker: Redis) -> int:
    pushed: int = broker.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]
    return pushed


def test_however_many_processes_there_are_and_orders_go_together_the_models_are_the_same(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given runs with so many processes at the clients and of their own, and so many orders by one message
    run_dirs = [tmp_path / "-".join(map(str, apart)) for apart in APARTS]
    # When they are carried out
    messages = [run(field, broker, run_dir, *apart) for run_dir, apart in zip(run_dirs, APARTS, strict=True)]
    # Then all have trained in every round, and the models after each are the same to the last bit
    models = {tuple(harness.checkpoint(run_dir, number) for number in range(ROUNDS + 1)) for run_dir in run_dirs}
    assert [len(trained) for run_dir in run_dirs for trained in statuses(run_dir)] == [NUM_CLIENTS] * 3 * len(APARTS)
    assert {status for run_dir in run_dirs for each in statuses(run_dir) for status in each.values()} == {"trained"}
    assert len(models) == 1
    # And where orders may go together they have, by fewer messages
    assert max(messages[1:4]) < min(messages[0], messages[4])
