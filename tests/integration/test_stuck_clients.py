"""Clients that get their turn to send an update and send nothing, while others wait for theirs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.collecting import SILENT
from orchestrator.uploads import slow_updates_at_a_time
from tasks import names
from tasks.messages import READY
from tasks.presence import Announcement, Hardware, RedisRegistry
from tests.integration import harness
from tests.integration.harness import Field, history, wait_until

IN_FLIGHT_MB = 0.0001
ENOUGH = 16
"""Clients that fill all turns there are."""


def live(broker: Redis, client_ids: Sequence[str], stop: threading.Event) -> None:
    """Announce these clients, and say of each order that its update is ready; never send one."""
    registry = RedisRegistry(broker)
    announcements = [
        Announcement(
            client_id=client_id,
            incarnation="1",
            workload="pulled:Pulled",
            num_examples=10,
            hardware=Hardware(num_cpus=1, memory_bytes=1),
        )
        for client_id in client_ids
    ]
    while not stop.is_set():
        registry.announce_all(announcements)
        taken = broker.blpop([names.client_queue(client_id) for client_id in client_ids], timeout=0.5)
        if taken:
            task_id = json.loads(taken[1])["headers"]["id"]
            raw = json.dumps({"status": READY, "task_id": task_id}) if task_id.endswith("/train") else "{}"
            broker.set(names.result_key(task_id), raw, ex=60)
            broker.publish(names.result_key(task_id), raw)


@contextmanager
def stuck(broker: Redis, count: int) -> Iterator[None]:
    stop = threading.Event()
    client = Redis(unix_socket_path=broker.connection_pool.connection_kwargs["path"])
    client_ids = [f"a-{number:02d}" for number in range(count)]
    thread = threading.Thread(target=live, args=(client, client_ids, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client.close()


@pytest.mark.timeout(120)
def test_clients_that_never_send_their_updates_are_given_up_and_the_others_come_in(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given clients that fill all turns and send nothing, and three that train for a while first
    run_dir = tmp_path / "run"
    assert slow_updates_at_a_time(IN_FLIGHT_MB * 1e6, 100) <= ENOUGH
    field.clients(broker, 3, STEP_S="0.6")
    with stuck(broker, ENOUGH):
        wait_until(lambda: len(harness.present(broker)) == ENOUGH + 3, "all are there")
        # When they take part in a round
        # Then the honest ones have their turn when the others have had their time, long before all is over
        options = f"--rounds 1 --clients {ENOUGH + 3} --in-flight-mb {IN_FLIGHT_MB} --timeout 12 --no-evaluate-clients"
        field.run(run_dir, options, broker=broker).succeeds()
    [record] = history(run_dir)
    told = {client_id: (answer["status"], answer["reason"]) for client_id, answer in record["answers"].items()}
    assert {client_id: told[client_id] for client_id in told if client_id.startswith("client-")} == {
        f"client-{number}": ("trained", "") for number in (1, 2, 3)
    }
    assert ("lost", SILENT) in told.values()
    assert {status for client_id, (status, _) in told.items() if client_id.startswith("a-")} == {"lost"}
    # And nothing of them is left
    assert list(broker.scan_iter("fl:blob:*")) == []
