"""A broker that is there already, and clients that are started by hand, in any order."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.harness import (
    Field,
    Program,
    check_trained_once,
    events,
    history,
    part,
    present,
    summary,
    url,
    wait_until,
)

ROUNDS = 6
PACE = {"STEP_S": "0.05"}


def start_orchestrator(field: Field, broker: Redis, run_dir: Path, *options: str, **environment: str) -> Program:
    return field.run(run_dir, f"--rounds {ROUNDS} --min-updates 2", *options, broker=broker, **environment)


def start_clients(field: Field, broker: Redis, *numbers: int, **environment: str) -> list[Program]:
    return [field.client(broker, f"client-{number}", **part(number, 2), **PACE, **environment) for number in numbers]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final checkpoint of the same run that nobody disturbs; that of the embedded default is it, too."""
    return harness.checkpoint(harness.undisturbed(tmp_path_factory.mktemp("embedded"), rounds=ROUNDS), ROUNDS)


@pytest.mark.parametrize("order", ["orchestrator first", "clients first", "between"])
def test_the_order_of_starting_makes_no_difference(
    field: Field, broker: Redis, tmp_path: Path, embedded: bytes, order: str
) -> None:
    # Given an orchestrator and two clients that start in some order
    run_dir = tmp_path / "run"
    if order == "orchestrator first":
        orchestrator = start_orchestrator(field, broker, run_dir)
        clients = start_clients(field, broker, 2, 1)
    elif order == "clients first":
        clients = start_clients(field, broker, 1, 2)
        wait_until(lambda: len(present(broker)) == 2, "both clients are there")
        orchestrator = start_orchestrator(field, broker, run_dir)
    else:
        clients = start_clients(field, broker, 2)
        orchestrator = start_orchestrator(field, broker, run_dir)
        clients += start_clients(field, broker, 1)

    # When the run is over
    orchestrator.succeeds()

    # Then it ends with the same model as the embedded default, and the clients have been sent home with it
    assert harness.checkpoint(run_dir, ROUNDS) == embedded
    assert [client.wait() for client in clients] == [0, 0]
    for number in (1, 2):
        assert (tmp_path / "state" / f"client-{number}" / "model.safetensors").read_bytes() == embedded

    # And nothing is left on the broker
    wait_until(lambda: not broker.keys(), f"all is gone, but for {broker.keys()}")


def test_a_client_that_is_stopped_and_started_again_between_rounds_comes_back_under_its_id(
    field: Field, broker: Redis, tmp_path: Path, embedded: bytes
) -> None:
    # Given a run under way, which needs both clients
    run_dir = tmp_path / "run"
    orchestrator = start_orchestrator(field, broker, run_dir)
    start_clients(field, broker, 1)
    (second,) = start_clients(field, broker, 2, CLIENT_HEARTBEAT_S="60")  # it isn't missed meanwhile
    wait_until(lambda: len(history(run_dir)) >= 2, f"two rounds are closed: {orchestrator.output}")

    # When one client is told to end, which it does after its order, and is started again
    second.send(signal.SIGTERM)
    second.succeeds()
    assert json.loads(harness.stored(broker, "fl:client:client-1"))["leaving"] is False
    assert json.loads(harness.stored(broker, "fl:client:client-2"))["leaving"] is True
    start_clients(field, broker, 2)

    # Then the run ends with the same model
    orchestrator.succeeds()
    assert harness.checkpoint(run_dir, ROUNDS) == embedded
    assert {response["status"] for record in history(run_dir) for response in record["responses"].values()} == {
        "trained"
    }


def test_a_client_whose_processes_are_all_told_to_end_finishes_its_order(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a round that two clients are in
    run_dir = tmp_path / "run"
    orchestrator = field.run(run_dir, "--rounds 1", broker=broker)
    clients = [field.client(broker, f"client-{n}", python=harness.PYTHON, **part(n, 2), **PACE) for n in (1, 2)]
    wait_until(lambda: all("/train: begun" in client.output for client in clients), "both train")
    # No list of processes shows the password, but for the option with which the test itself has given it
    started = [*orchestrator.descendants(), *(each for client in clients for each in client.descendants())]
    assert not [each for each in started if any(harness.ENCODED in word for word in each.cmdline())]

    # When a service manager tells all processes of one to end, and the terminal that has the other is closed
    for client, number in zip(clients, (signal.SIGTERM, signal.SIGHUP), strict=True):
        for process in [*client.descendants(), psutil.Process(client.process.pid)]:
            process.send_signal(number)

    # Then both have trained all that they were to, and have ended, rather than begun anew
    orchestrator.succeeds()
    assert [response["status"] for response in history(run_dir)[0]["responses"].values()] == ["trained"] * 2
    for client in clients:
        client.succeeds()


def test_a_client_that_is_told_to_end_at_once_leaves_its_order(field: Field, broker: Redis, tmp_path: Path) -> None:
    # Given a client in the middle of a step that takes longer than anybody waits
    field.run(tmp_path / "run", "--rounds 1 --clients 1", broker=broker)
    client = field.client(broker, "client-1", **part(1, 2), STEP_S="1000")
    wait_until(lambda: "/train: begun" in client.output, "it trains")
    # When it is told to end, and then at once, then it ends, and nothing of it is left
    processes = client.descendants()
    client.send(signal.SIGTERM)
    client.send(signal.SIGQUIT)
    client.wait()
    wait_until(lambda: not any(process.is_running() for process in processes), "its processes have ended")


def test_a_client_that_is_killed_in_a_round_is_lost_and_the_round_goes_on(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run in which one client is slow
    run_dir = tmp_path / "run"
    orchestrator = field.run(run_dir, "--rounds 2", broker=broker)
    start_clients(field, broker, 1)
    slow = field.client(broker, "client-2", **part(2, 2), STEP_S="60")
    wait_until(lambda: "round 1: client client-1 trained" in orchestrator.output, "the fast client has trained")

    # When the slow one is killed
    slow.end()

    # Then its slot is lost, the round closes with the other's update, and so does the next
    orchestrator.succeeds()
    first, second = history(run_dir)
    assert first["responses"]["client-2"]["status"] == "lost"
    assert first["responses"]["client-2"]["reason"] == "the client vanished"
    assert first["responses"]["client-1"]["status"] == "trained"
    assert second["cohort"] == ["client-1"]
    assert summary(run_dir)["status"] == "completed"


def test_clients_without_any_settings_keep_an_id_and_take_a_part_each(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given two workers that know the broker and nothing else, and the built-in digits
    home = tmp_path / "home"
    home.mkdir()
    environment = {"CELERY_BROKER_URL": url(broker), "HOME": str(home)}
    run_dir = tmp_path / "run"
    for _ in range(2):
        field.start("client", "celery", "-A", "worker", "worker", cwd=harness.ROOT, **environment)

    # When an orchestrator comes
    orchestrator = field.run(run_dir, "--rounds 5", broker=broker, workload="digits")

    # Then they have made up ids, kept in files, and learn from disjoint parts: 1,294 of the digits to train on in all
    orchestrator.succeeds()
    responses = history(run_dir)[0]["responses"]
    kept = {path.read_text().strip() for path in (home / ".local/state/celeriac/_unnamed").glob("*/client_id")}
    assert set(responses) == kept
    assert [response["num_examples"] for response in responses.values()] == [647, 647]
    assert summary(run_dir)["final"]["accuracy"] >= 0.9


def test_an_orchestrator_that_is_killed_takes_up_its_round_with_the_answers_that_came_meanwhile(
    field: Field, broker: Redis, tmp_path: Path, embedded: bytes
) -> None:
    # Given a run in the middle of a round
    run_dir = tmp_path / "run"
    orchestrator = start_orchestrator(field, broker, run_dir)
    clients = start_clients(field, broker, 1, 2)
    wait_until(lambda: "round 3 opened" in orchestrator.output, "the third round is open")

    # When the orchestrator is killed and started again
    orchestrator.send(signal.SIGKILL)
    orchestrator.wait()
    wait_until(
        lambda: all(program.output.count("/train: begun") > 2 for program in clients), "the third round is under way"
    )
    resumed = field.resume(run_dir, broker)

    # Then the run ends with the same model, and no client has trained a round twice
    resumed.succeeds()
    assert harness.checkpoint(run_dir, ROUNDS) == embedded
    check_trained_once(clients, ROUNDS)


def test_the_orchestrators_own_worker_may_be_killed_in_a_round(
    field: Field, broker: Redis, tmp_path: Path, embedded: bytes
) -> None:
    # Given a run under way
    run_dir = tmp_path / "run"
    orchestrator = start_orchestrator(field, broker, run_dir)
    start_clients(field, broker, 1, 2)
    wait_until(lambda: history(run_dir), f"a round is closed: {orchestrator.output}")

    # When its own worker is killed, pool process and all
    os.killpg(orchestrator.worker("orchestrator.*@%h").pid, signal.SIGKILL)

    # Then it is started anew and the run ends with the same model
    orchestrator.succeeds()
    assert "worker ended with code -9 and is started anew" in orchestrator.output
    assert harness.checkpoint(run_dir, ROUNDS) == embedded


@pytest.mark.parametrize("ending", ["the run goes on", "it is taken up again"])
def test_the_own_worker_may_be_killed_while_it_makes_the_initial_model(
    field: Field, broker: Redis, tmp_path: Path, embedded: bytes, ending: str
) -> None:
    # Given a run whose own worker is making the initial model, and clients that are there
    run_dir = tmp_path / "run"
    start_clients(field, broker, 1, 2)
    orchestrator = start_orchestrator(field, broker, run_dir, INITIAL_S="2")
    wait_until(lambda: sum(len(told.clients) for told in events(run_dir, "clients_joined")) == 2, "they are there")
    worker = orchestrator.worker("orchestrator.*@%h")
    wait_until(lambda: not broker.keys("orchestrator.*"), "it has taken its task")

    # When it is killed, pool processes and all, with files half written
    (run_dir / "checkpoints" / "round-0000.safetensors.4711.tmp").write_bytes(b"half")
    (run_dir / "buffers.json.4711.tmp").write_bytes(b"half")
    os.killpg(worker.pid, signal.SIGKILL)
    if ending == "it is taken up again":
        orchestrator.end()
        orchestrator = field.resume(run_dir, broker=broker)

    # Then the run ends with the same model, and nothing half written is left
    orchestrator.succeeds()
    assert harness.checkpoint(run_dir, ROUNDS) == embedded
    assert list(run_dir.rglob("*.tmp")) == []
