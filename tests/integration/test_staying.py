"""Clients that stay: one worker carries out the orders of one run after another, with its data loaded once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.integration import harness
from tests.integration.enrolled import PULLED, Federation
from tests.integration.harness import (
    Field,
    Program,
    checkpoint,
    free_port,
    part,
    server,
    statuses,
    undisturbed,
    wait_until,
)

WORKLOAD = "once:Once"
STUDIES: dict[str, dict[str, Any]] = {
    "averaged": {"rounds": 2},
    "adaptive": {"rounds": 3, "algorithm": "fedadam"},
    "scaled": {"rounds": 1, "epochs": 4, "seed": 7},
}
"""Studies that have nothing in common but their clients."""


def stay(field: Field, broker: Redis, client_id: str, **environment: str) -> Program:
    """Start a client that stays, and notes when it loads its data."""
    loads = str(field.folder / f"{client_id}.loads")
    return field.client(broker, client_id, CLIENT_WORKLOAD=WORKLOAD, CLIENT_STAY="yes", LOADS=loads, **environment)


def loads(field: Field, client_id: str) -> list[str]:
    """The process and the part of each time that a client's data was loaded."""
    path = field.folder / f"{client_id}.loads"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def study(field: Field, broker: Redis | str, name: str, num_clients: int = 2) -> Path:
    """Carry a study out, which is to succeed; return its folder."""
    options = " ".join(f"--{option.replace('_', '-')} {value}" for option, value in STUDIES[name].items())
    more = f"--clients {num_clients} --no-evaluate-clients --min-updates {num_clients}"
    field.run(field.folder / name, options, more, broker=broker, workload=WORKLOAD).succeeds()
    return field.folder / name


def alone(folder: Path, name: str, num_clients: int = 2) -> bytes:
    """The last model of a study that has its clients for itself."""
    run_dir = undisturbed(folder / f"{name}-alone", clients=num_clients, **STUDIES[name])
    return checkpoint(run_dir, STUDIES[name]["rounds"])


def model(run_dir: Path) -> bytes:
    """The last model of a study."""
    return checkpoint(run_dir, STUDIES[run_dir.name]["rounds"])


def ends_at_once(*clients: Program) -> None:
    """Check that clients that wait for a run end when they are told to."""
    for client in clients:
        client.send(signal.SIGTERM)
    for client in clients:
        client.succeeds(30)


@pytest.mark.usefixtures("counted")
def test_three_studies_by_the_same_workers_give_the_models_that_each_gives_alone(field: Field, broker: Redis) -> None:
    # Given two clients that stay, each with a part of the data
    clients = [stay(field, broker, f"client-{number}", **part(number, 2)) for number in (1, 2)]
    # When three studies are carried out one after the other
    models = {name: model(study(field, broker, name)) for name in STUDIES}
    # Then each has the model that it has alone
    assert models == {name: alone(field.folder, name) for name in STUDIES}
    # And the workers are those that were started, and have loaded their data once
    assert all(client.process.poll() is None for client in clients)
    assert sorted(line.split()[1] for number in (1, 2) for line in loads(field, f"client-{number}")) == ["1/2", "2/2"]
    assert all(client.output.count("waits for the next run") == len(STUDIES) for client in clients)
    ends_at_once(*clients)


def test_many_clients_of_one_worker_stay(field: Field, broker: Redis) -> None:
    # Given three clients that one worker serves with two processes
    worker = stay(field, broker, "ward", CLIENT_COUNT="3", CLIENT_CONCURRENCY="2")
    # When two studies are carried out
    first, second = (study(field, broker, name, 3) for name in ("averaged", "scaled"))
    # Then all of them were in both, and the worker is the one that was started
    assert [*statuses(first), *statuses(second)] == [dict.fromkeys(("ward-1", "ward-2", "ward-3"), "trained")] * 3
    assert worker.process.poll() is None
    ends_at_once(worker)


def test_a_client_takes_another_part_in_a_run_that_has_more(field: Field, broker: Redis) -> None:
    # Given two clients that stay after a run that granted each of them half of the data
    clients = [stay(field, broker, f"client-{number}") for number in (1, 2)]
    study(field, broker, "averaged")
    # When a third comes, and a run splits the data into three parts
    clients.append(stay(field, broker, "client-3"))
    run_dir = study(field, broker, "scaled", 3)
    # Then each has a third, and the model is that of three clients
    assert sorted(loads(field, f"client-{number}")[-1].split()[1] for number in (1, 2, 3)) == ["1/3", "2/3", "3/3"]
    assert statuses(run_dir) == [dict.fromkeys(("client-1", "client-2", "client-3"), "trained")]
    assert all(client.process.poll() is None for client in clients)
    ends_at_once(*clients)


def test_a_client_that_is_killed_between_runs_is_not_waited_for_and_may_come_back(field: Field, broker: Redis) -> None:
    # Given two clients that stay after a run
    clients = [stay(field, broker, f"client-{number}", **part(number, 2)) for number in (1, 2)]
    study(field, broker, "averaged")
    # When one is killed
    clients[1].end()
    wait_until(lambda: harness.present(broker) == {"client-1"}, "it is gone")
    # Then a run of one client is carried out by the other, and one of both when it is started again
    assert statuses(study(field, broker, "scaled", 1)) == [{"client-1": "trained"}]
    clients[1] = stay(field, broker, "client-2", **part(2, 2))
    assert model(study(field, broker, "adaptive")) == alone(field.folder, "adaptive")
    ends_at_once(*clients)


def test_a_broker_that_forgets_all_between_runs_costs_nothing(field: Field) -> None:
    with server() as broker:
        # Given two clients that stay after a run, each with a part that it was granted
        clients = [stay(field, broker.client, f"client-{number}") for number in (1, 2)]
        study(field, broker.client, "averaged")
        # When the broker is killed, and starts with nothing
        broker.kill()
        broker.start()
        assert harness.present(broker.client) <= {"client-1", "client-2"}
        # Then the next run has both, with the parts that they have, and a third is granted neither
        run_dir = study(field, broker.client, "scaled")
        assert statuses(run_dir) == [{"client-1": "trained", "client-2": "trained"}]
        parts = {key: broker.client.get(key) for key in broker.client.scan_iter("fl:part:*")}
        assert {value and value[:3] for value in parts.values()} == {b"0/2", b"1/2"}
        assert all(len(loads(field, f"client-{number}")) == 1 for number in (1, 2))
        ends_at_once(*clients)


def test_the_next_run_waits_for_a_client_that_is_at_a_late_order(field: Field, broker: Redis) -> None:
    # Given a run that was killed while one of two clients trains
    busy = field.folder / "busy"
    busy.touch()
    clients = [
        stay(field, broker, "client-1", **part(1, 2)),
        stay(field, broker, "client-2", **part(2, 2), KEPT_BUSY=str(busy)),
    ]
    options = "--clients 2 --rounds 1 --no-evaluate-clients"
    killed = field.run(field.folder / "killed", options, broker=broker, workload=WORKLOAD)
    wait_until(lambda: "/1/train: begun" in clients[1].output, "it trains")
    killed.end()
    # When the next begins, and the client ends with the late order only when the next one's waits for it
    options = "--clients 2 --rounds 2 --no-evaluate-clients --min-updates 2"
    program = field.run(field.folder / "averaged", options, broker=broker, workload=WORKLOAD)
    wait_until(lambda: broker.llen("client.client-2"), "its order waits")
    busy.unlink()
    # Then the late order's answer changes nothing of it
    program.succeeds()
    assert model(field.folder / "averaged") == alone(field.folder, "averaged")
    ends_at_once(*clients)


def test_enrolled_clients_stay_unless_they_are_told_not_to(field: Field, tmp_path: Path) -> None:
    # Given two enrolled sites, one of which is not to stay
    federation = Federation(field, tmp_path, free_port())
    federation.init()
    federation.start_broker()
    for name in ("hospital-a", "hospital-b"):
        federation.enrol(name, **PULLED)
    staying = federation.start_client("hospital-a", **PULLED, **part(1, 2))
    leaving = federation.start_client("hospital-b", **PULLED, **part(2, 2), CLIENT_STAY="no")

    def run(name: str, num_clients: int) -> list[dict[str, str]]:
        options = f"--rounds 1 --clients {num_clients} --workload pulled:Pulled --run-dir {name} --broker operator"
        field.start(name, "orchestrator.start", *options.split(), cwd=federation.desk, **PULLED).succeeds()
        return statuses(federation.desk / name)

    # When a run is over, then one has ended, and the other takes part in the next
    assert run("first", 2) == [{"hospital-a": "trained", "hospital-b": "trained"}]
    leaving.succeeds()
    assert run("second", 1) == [{"hospital-a": "trained"}]
    ends_at_once(staying)
