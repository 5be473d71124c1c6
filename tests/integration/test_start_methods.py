"""Start methods: which process loads a client's data and trains, and that no client writes to another's arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from tasks import arrays
from tests.integration.harness import Field, Program, checkpoint, history, present, wait_until
from tests.integration.test_errors import check_told

METHODS = ["Spawned", "Forked", "Solo"]
COMPRESSIONS = ["none", "bf16", "int8", "topk:0.25"]


def start(field: Field, broker: Redis, name: str, *options: str, **environment: str) -> Program:
    """Start a worker of three clients."""
    chosen = {"CLIENT_COUNT": "3", "CLIENT_WORKLOAD": f"methods:{name}", **environment}
    worker = field.client(broker, "ward", *options, **chosen)
    wait_until(lambda: len(present(broker)) == 3, "its clients are there")
    return worker


def processes(run_dir: Path) -> tuple[set[int], set[int]]:
    """Return which processes have loaded the data of the first round's clients, and which have trained."""
    metrics = [response["metrics"] for response in history(run_dir)[0]["responses"].values()]
    return {int(each["loaded_by"]) for each in metrics}, {int(each["trained_by"]) for each in metrics}


@pytest.mark.parametrize("name", METHODS)
def test_nobody_writes_to_anothers_arrays_whatever_the_start_method_and_the_compression(
    field: Field, broker: Redis, tmp_path: Path, name: str
) -> None:
    # Given a worker of three clients that write to the parameters that they are given, in training and evaluation
    worker = start(field, broker, name)

    for compression in COMPRESSIONS:
        # When they train for two rounds
        run_dir = tmp_path / compression.partition(":")[0]
        options = f"--rounds 2 --clients 3 --compression {compression} --reconnect-after 0.1"
        field.run(run_dir, options, broker=broker, workload=f"methods:{name}").succeeds()

        # Then each has added one to what it was given in each of them
        model = arrays.decode(checkpoint(run_dir, 2))
        np.testing.assert_allclose(model["point"], 2.0, rtol=0.01, err_msg=compression)

        # And the processes that loaded and trained are those of the start method
        loaded_by, trained_by = processes(run_dir)
        main = worker.process.pid
        assert (loaded_by == {main}) == (name != "Spawned")
        assert (trained_by == {main}) == (name == "Solo")
        assert loaded_by == trained_by or name == "Forked"


@pytest.mark.parametrize("way", ["--pool solo", "variable"])
def test_whoever_starts_a_worker_may_have_one_process_do_it_all(
    field: Field, broker: Redis, tmp_path: Path, way: str
) -> None:
    # Given a worker that is started with the pool solo, or with the start method
    options = way.split() if way.startswith("--") else []
    environment = {} if options else {"CLIENT_START_METHOD": "solo"}
    worker = start(field, broker, "Spawned", *options, **environment)
    # When its clients train, then one process has loaded their data and trained
    field.run(tmp_path / "run", "--rounds 1 --clients 3", broker=broker, workload="methods:Spawned").succeeds()
    assert processes(tmp_path / "run") == ({worker.process.pid}, {worker.process.pid})
    worker.succeeds()


def test_local_clients_may_be_one_process_each(field: Field, tmp_path: Path) -> None:
    # Given a run whose clients are one process each, when they train, then what loaded the data has trained
    run_dir = tmp_path / "run"
    field.run(run_dir, "--rounds 1 --clients 1 --pool solo", workload="methods:Spawned").succeeds()
    loaded_by, trained_by = processes(run_dir)
    assert loaded_by == trained_by
    log = (run_dir / "logs" / "client-1.log").read_text()
    assert "(solo)" in log


def test_a_start_method_that_there_isnt_is_refused(field: Field, tmp_path: Path) -> None:
    # Given a workload with a start method that there isn't, when a run is begun, then it is told at once
    program = field.run(tmp_path / "run", "--rounds 1", workload="methods:Unknown")
    check_told(program, 2, "'methods:Unknown' has start_method='forkserver': one of spawn, fork, solo is allowed")
