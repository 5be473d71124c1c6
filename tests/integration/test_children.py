"""Processes that users' code starts while it trains or evaluates: they work, and end with the process that has them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.integration.harness import Field, evaluations, history, wait_until


def test_loaders_pools_and_executors_work_in_training_and_evaluation(field: Field, tmp_path: Path) -> None:
    # Given a workload that uses torch's loader, both of Python's pools, forked and spawned, and joblib's
    run_dir = tmp_path / "run"

    # When it is trained by a client, and evaluated by clients and the orchestrator's own worker
    field.run(run_dir, "--rounds 1 --clients 1 --timeout 120", workload="parallel:EachWay").succeeds()

    # Then all of that has worked
    [record] = history(run_dir)
    assert {response["status"] for response in record["responses"].values()} == {"trained"}
    assert record["num_evaluated"] == 1
    assert [evaluation["problem"] for evaluation in evaluations(run_dir)] == [""]


@pytest.mark.parametrize("killed", ["pool process", "worker"])
def test_children_end_with_the_pool_process_and_with_the_worker(
    field: Field, broker: Redis, tmp_path: Path, killed: str
) -> None:
    # Given a client whose training has started a forked and a spawned process, which don't end by themselves
    file = tmp_path / "children"
    client = field.client(broker, "client-1", CLIENT_WORKLOAD="parallel:Leaves", CLIENT_PART="1/1", CHILDREN=str(file))
    field.run(tmp_path / "run", "--rounds 1 --clients 1", broker=broker, workload="parallel:Leaves")
    pool_process, forked, spawned = processes_in(file)

    # When the pool process is killed, or the whole worker
    (pool_process if killed == "pool process" else psutil.Process(client.process.pid)).kill()

    # Then the forked one is killed too; the spawned one, as long as there is a worker that sees to it
    gone = [forked, spawned] if killed == "pool process" else [pool_process, forked]
    wait_until(lambda: not any(is_running(process) for process in gone), "they have ended")
    with suppress(psutil.NoSuchProcess):
        spawned.kill()


def processes_in(file: Path) -> list[psutil.Process]:
    text = wait_until(lambda: file.is_file() and file.read_text().endswith("\n") and file.read_text(), "they run")
    return [psutil.Process(int(pid)) for pid in text.split()]


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
