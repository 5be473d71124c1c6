"""Many clients of one worker: the embedded default with more clients than cores, and CLIENT_COUNT with a broker."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from redis import Redis

from orchestrator.processes.workers import OWN_PROCESSES
from tasks.cores import num_cores
from tests.integration import harness
from tests.integration.harness import Field, Program, history, part, summary, wait_until

NUM_OURS = 3 + max(OWN_PROCESSES[0], min(num_cores(), OWN_PROCESSES[1]))
"""The guardian, the server, and the orchestrator's own worker with its pool's processes."""


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:0{len(str(count))}d}" for number in range(1, count + 1)]


def many(field: Field, broker: Redis, count: int, **environment: str) -> Program:
    """Start a worker of many clients with two pool processes."""
    return field.client(broker, "ward", **{"CLIENT_COUNT": str(count), "CLIENT_CONCURRENCY": "2", **environment})


def run(field: Field, broker: Redis, run_dir: Path, rounds: int, clients: int, *options: str) -> Program:
    return field.run(run_dir, f"--rounds {rounds} --clients {clients} --no-evaluate-clients", *options, broker=broker)


def statuses(record: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    return sorted(response["status"] for response in record["responses"].values())


def test_thirty_clients_learn_digits_in_as_many_processes_as_there_are_cores(field: Field, tmp_path: Path) -> None:
    # Given thirty clients, or more if there are as many cores
    run_dir, count = tmp_path / "run", max(30, num_cores() + 1)
    program = field.run(run_dir, f"--clients {count} --rounds 2", workload=None)

    # When they train
    wait_until(lambda: history(run_dir), "a round is closed")
    num_processes = len(program.descendants())

    # Then there is a process a core for all of them, and the one that looks after these
    program.succeeds()
    assert num_processes <= NUM_OURS + 1 + num_cores()
    # And each has trained on a part of its own: those of the digits that nobody holds out, 1,438 less a tenth of each
    responses = history(run_dir)[-1]["responses"]
    assert sorted(responses) == ids("client", count)
    assert {response["status"] for response in responses.values()} == {"trained"}
    sizes = [1438 // count + (index < 1438 % count) for index in range(count)]
    assert [responses[client_id]["num_examples"] for client_id in sorted(responses)] == [
        n - round(n / 10) for n in sizes
    ]
    assert summary(run_dir)["client_metrics"]["accuracy"] > 0.5
    # And has the final model in a folder of its own
    folders = {path.name for path in (run_dir / "clients").iterdir() if (path / "model.safetensors").is_file()}
    assert folders == set(ids("client", count))
    for client_id in folders:
        assert (run_dir / "clients" / client_id / "model.safetensors").read_bytes() == harness.checkpoint(run_dir, 2)


def test_many_clients_of_one_worker_give_the_model_that_as_many_workers_give(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run of two clients that share a worker
    shared, apart = tmp_path / "shared", tmp_path / "apart"
    worker = many(field, broker, 2)
    field.run(shared, "--rounds 2 --clients 2", broker=broker).succeeds()

    # When all have been told to leave, then their worker ends
    worker.succeeds()
    assert harness.present(broker) == set()

    # When those of the same ids, parts and seed have a worker each
    for number, client_id in enumerate(ids("ward", 2), start=1):
        field.client(broker, client_id, **part(number, 2))
    field.run(apart, "--rounds 2 --clients 2", broker=broker).succeeds()

    # Then the models are the same, to the last bit
    assert harness.checkpoint(shared, 2) == harness.checkpoint(apart, 2)
    assert summary(shared)["client_metrics"] == summary(apart)["client_metrics"]


def test_clients_are_loaded_for_orders_as_often_as_it_takes(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given more clients of one process than it keeps, so that each order loads one, by ids long enough that what was
    # said of eight hundred loadings is more than a pipe holds
    run_dir = tmp_path / "run"
    field.client(broker, "w" * 60, CLIENT_COUNT="99", CLIENT_CONCURRENCY="1")

    # When they train for eight rounds
    run(field, broker, run_dir, 8, 99).succeeds()

    # Then each has answered in each
    assert [set(statuses(record)) for record in history(run_dir)] == [{"trained"}] * 8
    assert [len(statuses(record)) for record in history(run_dir)] == [99] * 8


def test_what_a_client_keeps_on_its_workload_is_no_other_clients(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given two clients of one process, whose workload counts on itself how often it has trained
    run_dir = tmp_path / "run"
    many(field, broker, 2, CLIENT_CONCURRENCY="1", CLIENT_WORKLOAD="counting:Counting")
    # When they train for two rounds
    options = "--rounds 2 --clients 2 --no-evaluate-clients"
    field.run(run_dir, options, broker=broker, workload="counting:Counting").succeeds()
    # Then each has counted its own rounds
    counts = [{r["metrics"]["count"] for r in record["responses"].values()} for record in history(run_dir)]
    assert counts == [{1}, {2}]


def test_two_workers_share_out_the_data_between_their_clients(field: Field, broker: Redis) -> None:
    # Given two workers of two and three clients, each with half of the digits
    many(field, broker, 2, CLIENT_ID="north", CLIENT_WORKLOAD="digits", **part(1, 2))
    many(field, broker, 3, CLIENT_ID="south", CLIENT_WORKLOAD="digits", **part(2, 2))

    # When they are there
    client_ids = {*ids("north", 2), *ids("south", 3)}
    wait_until(lambda: harness.present(broker) == client_ids, "all are there")

    # Then the first of the four quarters has 360 digits, less a tenth, and the last of six parts 239, less a tenth
    assert harness.announced(broker, "north-1")["num_examples"] == 324
    assert harness.announced(broker, "south-3")["num_examples"] == 215


def test_each_of_seven_clients_on_two_processes_trains_as_long_as_the_others(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given seven clients of one worker with two processes, none of which is ever done within the timeout
    run_dir = tmp_path / "run"
    many(field, broker, 7, STEP_S="0.05")
    program = run(field, broker, run_dir, 2, 7, "--timeout 1 --epochs 100000")
    program.succeeds()
    # When it is looked at what each did, then all did about the same in every round
    for record in history(run_dir):
        assert statuses(record) == ["timed_out"] * 7
        num_steps = [response["num_steps"] for response in record["responses"].values()]
        assert max(num_steps) <= 2 * min(num_steps)


def test_a_pool_process_that_is_killed_takes_one_order_with_it(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given six clients of one worker, two of which train at a time
    run_dir = tmp_path / "run"
    worker = many(field, broker, 6, STEP_S="0.2")
    program = run(field, broker, run_dir, 2, 6)
    wait_until(lambda: worker.output.count("/train: begun") >= 2, "two train")

    # When one of the processes is killed
    psutil.Process(worker.process.pid).children()[0].kill()

    # Then one slot is lost, the others' are not, and in the next round there are all
    program.succeeds()
    first, second = history(run_dir)
    assert statuses(first) == ["lost", *["trained"] * 5], first["responses"]
    assert [response["reason"] for response in first["responses"].values() if response["status"] == "lost"] == [
        "the client's process died while it trained: ended by SIGKILL, as the system does when memory runs out"
    ]
    assert statuses(second) == ["trained"] * 6


@pytest.mark.usefixtures("counted")
def test_the_worker_of_all_clients_is_started_anew_when_it_is_killed(field: Field, tmp_path: Path) -> None:
    # Given more clients than cores, which train in the first round
    run_dir, count = tmp_path / "run", num_cores() + 4
    program = field.run(run_dir, f"--clients {count} --rounds 2 --no-evaluate-clients", STEP_S="0.1")
    wait_until(lambda: " trained" in program.output, "one has trained")

    # When their worker is killed
    program.worker("clients@%h").kill()

    # Then it is started anew, gets the orders that were out again, and the run completes
    program.succeeds()
    assert "clients ended with code -9 and is started anew" in program.output
    first, second = history(run_dir)
    assert set(statuses(first)) <= {"trained", "lost"}
    assert statuses(second) == ["trained"] * count


def test_each_order_of_a_shared_worker_has_its_own_time(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given four clients of one worker, two of which train at a time, five steps of 0.6 s each
    run_dir = tmp_path / "run"
    worker = many(field, broker, 4, STEP_S="0.6")
    wait_until(lambda: len(harness.present(broker)) == 4, "all are there")

    # When there is a timeout that none can keep
    program = run(field, broker, run_dir, 2, 4, "--timeout", "2")
    program.succeeds()

    # Then each had all of it, those that had to wait for the first two as well, and returned what it had done
    for record in history(run_dir):
        responses = record["responses"].values()
        assert {response["status"] for response in responses} == {"timed_out"}
        assert [response["num_steps"] for response in responses] == [pytest.approx(3, abs=1)] * 4
    worker.succeeds()


def test_one_of_many_clients_leaves_alone(field: Field, broker: Redis) -> None:
    # Given three clients of one worker
    worker = many(field, broker, 3)
    wait_until(lambda: len(harness.present(broker)) == 3, "all are there")
    incarnation = harness.announced(broker, "ward-2")["incarnation"]

    # When one is told to leave for good, then the others stay, and so does their worker
    harness.disconnect(broker, "ward-2", incarnation, reconnect_after_s=0)
    wait_until(lambda: harness.present(broker) == {"ward-1", "ward-3"}, "it is gone")

    # When another is told to leave for a while, then it comes back
    harness.disconnect(broker, "ward-1", incarnation, reconnect_after_s=2)
    assert harness.present(broker) == {"ward-3"}
    wait_until(lambda: harness.present(broker) == {"ward-1", "ward-3"}, "it is back")

    # When all have been told to leave, then their worker ends
    for client_id in ("ward-1", "ward-3"):
        harness.disconnect(broker, client_id, incarnation, reconnect_after_s=0, number=2)
    worker.succeeds()


def test_a_client_of_many_that_has_another_worker_is_served_by_one(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a worker of one client on another machine, and one that serves this client among others
    alone = field.client(broker, "ward-2", **part(2, 3), CLIENT_STATE=str(tmp_path / "elsewhere"))
    wait_until(lambda: harness.present(broker) == {"ward-2"}, "it is there")
    shared = many(field, broker, 3)

    # When both have seen that they go by one id
    said = "another worker goes by the id of client ward-2"
    wait_until(lambda: said in alone.output or said in shared.output, "one of them gives way")

    # Then it is the one whose incarnation sorts last; the other clients stay in any case
    if said in alone.output:
        assert alone.wait() == 2
    wait_until(lambda: harness.present(broker) == set(ids("ward", 3)), "all are there")
    assert shared.process.poll() is None
