"""What a client has is loaded in the process that trains: frameworks may start threads there, and the worker lives."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.harness import Field, history, part, present, wait_until
from tests.integration.test_errors import check_told

STUDY = """
import os
import time
from pathlib import Path
from pulled import Pulled

HERE = Path(__file__).parent


class Stands(Pulled):
    def client_data(self, source):
        (HERE / "pid").write_text(str(os.getpid()))
        time.sleep(600)


class Exits(Pulled):
    def client_data(self, source):
        if source.part.index == 1:
            os._exit(7)
        return super().client_data(source)


class StandsAgain(Pulled):
    def client_data(self, source):
        with (HERE / "loads").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        return super().client_data(source)
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a user's workloads."""
    folder = tmp_path / "study"
    folder.mkdir()
    pulled = Path(__file__).parent / "workload" / "pulled.py"
    (folder / "pulled.py").write_text(pulled.read_text())
    (folder / "my_study.py").write_text(STUDY)
    return folder


@pytest.mark.parametrize("name", ["InJax", "InKeras"])
def test_arrays_of_jax_and_models_of_keras_that_are_made_with_the_data_train(
    field: Field, tmp_path: Path, name: str
) -> None:
    # Given clients whose data JAX or Keras holds, and a module with a constant of JAX's, when they train
    run_dir = tmp_path / "run"
    field.run(run_dir, "--rounds 2 --timeout 100", workload=f"framework_data:{name}").succeeds()
    # Then all do, and the orchestrator has evaluated the model
    assert [record["status"] for record in history(run_dir)] == ["closed", "closed"]
    assert all(r["status"] == "trained" for record in history(run_dir) for r in record["responses"].values())


def test_a_process_that_is_killed_while_it_loads_ends_its_worker_at_once(
    field: Field, broker: Redis, study: Path
) -> None:
    # Given a client whose data takes long to load
    program = field.client(broker, "client-1", CLIENT_WORKLOAD="my_study:Stands", CLIENT_PART="1/1", cwd=study)
    pid = wait_until(lambda: (study / "pid").is_file() and (study / "pid").read_text(), "it loads")

    # When the system kills the process that loads it, as it does when memory runs out
    os.kill(int(pid), signal.SIGKILL)

    # Then the worker ends, its last line says why, and it has announced nothing
    assert program.wait() == 1, program.output
    assert program.output.strip().splitlines()[-1] == (
        "error: client_data(): its process was killed (SIGKILL), as the system does where memory runs out"
    )
    assert present(broker) == set()


def test_of_many_clients_the_one_is_named_whose_data_ends_the_process(field: Field, study: Path) -> None:
    # Given a hundred clients of one worker, one of which ends the process that loads it, when a run is begun
    program = field.run(study / "run", "--clients 100", workload="my_study:Exits", cwd=study)

    # Then that is told, by its name
    check_told(program, 1, "clients: client_data() of client-002: its process ended with code 7; see logs/clients.log")


def test_a_worker_that_is_told_to_end_while_it_loads_ends_at_once(field: Field, broker: Redis, study: Path) -> None:
    # Given a client whose data takes long to load
    program = field.client(broker, "client-1", CLIENT_WORKLOAD="my_study:Stands", CLIENT_PART="1/1", cwd=study)
    wait_until((study / "pid").is_file, "it loads")

    # When its worker is told to end, then it does, without an error
    program.send(signal.SIGTERM)
    program.succeeds()


def test_each_clients_data_is_described_once_whatever_the_number_of_processes(
    field: Field, broker: Redis, study: Path
) -> None:
    # Given ten clients of one worker with two processes
    environment = {"CLIENT_COUNT": "10", "CLIENT_CONCURRENCY": "2", "CLIENT_WORKLOAD": "my_study:StandsAgain"}

    # When they have joined
    worker = field.client(broker, "ward", cwd=study, **environment)
    wait_until(lambda: len(present(broker)) == 10, "all are there")

    # Then each client's data was loaded once, half of them by each process, and none by the main one
    loads = (study / "loads").read_text().split()
    assert len(loads) == 10
    assert {loads.count(pid) for pid in loads} == {5}
    assert str(worker.process.pid) not in loads


def test_a_pool_process_in_the_place_of_one_that_was_killed_loads_by_itself(
    field: Field, broker: Redis, study: Path
) -> None:
    # Given a client that has joined
    field.client(broker, "client-1", CLIENT_WORKLOAD="my_study:StandsAgain", **part(1, 1), cwd=study)
    wait_until(lambda: present(broker) == {"client-1"}, "it is there")
    [pid] = (study / "loads").read_text().split()

    # When its pool process is killed, then the next one loads without an order
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: len((study / "loads").read_text().split()) == 2, "it has loaded again")
