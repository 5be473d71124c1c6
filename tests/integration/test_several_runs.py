"""Several runs at a time on one broker, each with an orchestrator of its own, give the models that they give alone."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tasks.broker import run_lock
from tasks.broker.connection import connect
from tests.integration.enrolled import PULLED, Federation
from tests.integration.harness import (
    Field,
    Program,
    checkpoint,
    free_port,
    part,
    statuses,
    tasks_done,
    undisturbed,
    url,
    wait_until,
)

RUNS: dict[str, dict[str, Any]] = {
    "averaged": {"rounds": 4, "min_updates": 2},
    "adaptive": {"rounds": 5, "min_updates": 2, "algorithm": "fedadam", "seed": 7},
}
"""Runs that have nothing in common but their broker, and their clients where these are the same."""


def start(field: Field, broker: Redis, name: str, *more: str, **settings: Any) -> Program:
    """Start a run of two clients."""
    options = " ".join(f"--{option.replace('_', '-')} {value}" for option, value in RUNS[name].items())
    return field.run(field.folder / name, options, "--clients 2", *more, broker=broker, **settings)


def start_both(field: Field, broker: Redis, *more: str, **settings: Any) -> list[Program]:
    """Start both runs, and wait until both are on."""
    runs = [start(field, broker, name, *more, **settings) for name in RUNS]
    wait_until(lambda: len(run_lock.read_all(broker)) == len(RUNS), "both runs are on")
    return runs


def model(run_dir: Path, name: str) -> bytes:
    """A run's last model."""
    return checkpoint(run_dir, RUNS[name]["rounds"])


def alone(field: Field, name: str) -> bytes:
    """The last model of a run that has its clients for itself."""
    return model(undisturbed(field.folder / f"{name}-alone", **RUNS[name]), name)


def check_models(field: Field) -> None:
    """Check that each run has the model that it has alone."""
    assert {name: model(field.folder / name, name) for name in RUNS} == {name: alone(field, name) for name in RUNS}


@pytest.mark.usefixtures("counted")
def test_two_runs_with_the_same_clients_give_the_models_that_each_gives_alone(field: Field, broker: Redis) -> None:
    # Given two clients, and two runs that want both
    runs = start_both(field, broker)
    clients = field.clients(broker, 2, STEP_S="0.05")
    # When both are carried out at a time
    for run in runs:
        run.succeeds()
    # Then each has the model that it has alone, and no client was lost
    assert all(len(statuses(field.folder / name)) == RUNS[name]["rounds"] for name in RUNS)
    assert {status for name in RUNS for each in statuses(field.folder / name) for status in each.values()} == {
        "trained"
    }
    check_models(field)
    # And the clients end with the run that is over last
    for client in clients:
        client.succeeds()
        assert client.output.count("/1/train: trained") == len(RUNS)


def test_two_runs_of_many_clients_of_one_worker_give_the_models_that_each_gives_alone(
    field: Field, broker: Redis
) -> None:
    # Given a worker that serves two clients by one queue with one process
    runs = start_both(field, broker)
    worker = field.client(broker, "client", CLIENT_COUNT="2", CLIENT_CONCURRENCY="1", STEP_S="0.02")
    # When two runs are carried out at a time, then each has the model that it has alone
    for run in runs:
        run.succeeds()
    check_models(field)
    worker.succeeds()


def test_a_client_that_one_run_keeps_busy_is_waited_for_by_the_other(field: Field, broker: Redis) -> None:
    # Given clients that take longer for an order of one run than another run gives them for its own
    clients = field.clients(broker, 2, STEP_S="0.5")
    slow = start(field, broker, "averaged", "--epochs 12 --timeout 60 --no-evaluate-clients")
    wait_until(lambda: all("/1/train: begun" in client.output for client in clients), "they train for the slow one")
    # When that other run asks them meanwhile
    run_dir = field.folder / "quick"
    options = "--clients 2 --rounds 1 --epochs 1 --timeout 3 --min-updates 2 --no-evaluate-clients"
    quick = field.run(run_dir, options, broker=broker)
    # Then what it waits for the slow one's order counts against neither
    quick.succeeds()
    assert statuses(run_dir) == [{"client-1": "trained", "client-2": "trained"}]
    slow.succeeds()
    assert {status for each in statuses(field.folder / "averaged") for status in each.values()} == {"trained"}


def test_a_run_that_is_killed_or_stopped_leaves_the_other_alone(field: Field, broker: Redis) -> None:
    # Given two runs that have the same clients
    runs = start_both(field, broker, "--no-evaluate-clients")
    field.clients(broker, 2, STEP_S="0.05")
    wait_until(lambda: all(statuses(field.folder / name) for name in RUNS), "both have closed a round")
    # When one is stopped, and taken up again after the other is over
    runs[0].send(signal.SIGINT)
    assert runs[0].wait() == 130
    runs[1].succeeds()
    # Then both have the models that they have alone
    field.clients(broker, 2)
    field.resume(field.folder / "averaged", broker=broker).succeeds()
    check_models(field)


def test_a_worker_started_by_hand_takes_the_tasks_of_all_runs_or_of_one(field: Field, broker: Redis) -> None:
    # Given a worker for all runs, and one for a run alone that never is on
    settings = {"CELERY_BROKER_URL": url(broker), "ORCHESTRATOR_PRELOAD": "pulled:Pulled"}
    words = ("celery", "-A", "orchestrator", "worker", "--loglevel", "INFO", "--hostname")
    of_all = field.start("all", *words, "all@here", **settings)
    of_one = field.start("one", *words, "one@here", ORCHESTRATOR_RUN="another", **settings)
    wait_until(lambda: "ready" in of_all.output and "ready" in of_one.output, "both are ready")
    # When two runs are carried out at a time
    runs = start_both(field, broker)
    field.clients(broker, 2, STEP_S="0.1")
    for run in runs:
        run.succeeds()
    # Then the first has had a part in them, and the other none
    assert tasks_done(field, broker, "all@here")
    assert not tasks_done(field, broker, "one@here")
    # And nothing is left of either's tasks
    assert broker.keys("orchestrator*") == []


def test_two_runs_with_clients_of_their_own_share_nothing_but_the_broker(field: Field, broker: Redis) -> None:
    # Given two runs of different workloads
    runs = [
        start(field, broker, "averaged", "--no-evaluate-clients"),
        start(field, broker, "adaptive", "--no-evaluate-clients", workload="counting:Counting"),
    ]
    wait_until(lambda: len(run_lock.read_all(broker)) == len(RUNS), "both runs are on")
    # When each has two clients that have its workload
    clients = [
        field.client(
            broker, f"client-{number}", **part((number - 1) % 2 + 1, 2), CLIENT_WORKLOAD=workload, STEP_S="0.2"
        )
        for number, workload in enumerate(["pulled:Pulled"] * 2 + ["counting:Counting"] * 2, 1)
    ]
    for run in runs:
        run.succeeds()
    # Then each was carried out by its own, which end with it
    assert {*statuses(field.folder / "averaged")[0]} == {"client-1", "client-2"}
    assert {*statuses(field.folder / "adaptive")[0]} == {"client-3", "client-4"}
    for client in clients[:2]:
        assert "passed over by the run" in client.output
    assert model(field.folder / "averaged", "averaged") == alone(field, "averaged")


def test_clients_take_parts_of_a_run_that_is_on_when_the_one_that_granted_theirs_is_over(
    field: Field, broker: Redis
) -> None:
    # Given two clients that stay, and have the halves of the data that one run granted them
    clients = [field.client(broker, f"client-{number}", CLIENT_STAY="yes", STEP_S="0.2") for number in (1, 2)]
    halves = start(field, broker, "averaged", "--no-evaluate-clients --epochs 20")
    wait_until(lambda: statuses(field.folder / "averaged"), "it has closed a round")
    # When another run begins that doesn't split the data, then it passes them over, and says which run does so
    run_dir = field.folder / "whole"
    whole = field.run(run_dir, "--clients 1 --rounds 1 --no-evaluate-clients", broker=broker)
    told = "it takes one of these when no run of that many is on; CLIENT_PART would give it one of its own (run "
    wait_until(lambda: all(told in client.output for client in clients), "they are told")
    halves.succeeds()
    # And when the first is over, one of them takes the whole, and the other waits
    whole.succeeds()
    assert [*statuses(run_dir)[0].values()] == ["trained"]


def test_enrolled_clients_take_part_in_two_runs_and_are_denied_nothing(field: Field, tmp_path: Path) -> None:
    # Given two enrolled sites
    federation = Federation(field, tmp_path, free_port())
    federation.init()
    federation.start_broker()
    for number, name in enumerate(("hospital-a", "hospital-b"), 1):
        federation.enrol(name, **PULLED)
        federation.start_client(name, **PULLED, **part(number, 2), STEP_S="0.05")
    # When the operator starts two runs at a time
    words = "--broker operator --clients 2 --rounds 3 --min-updates 2 --workload pulled:Pulled --run-dir"
    runs = [
        field.start(name, "orchestrator.start", *words.split(), name, cwd=federation.desk, **PULLED) for name in RUNS
    ]
    for run in runs:
        run.succeeds()
    # Then both sites were in all rounds of both, and nobody has asked the broker for what it denies
    both = {"hospital-a": "trained", "hospital-b": "trained"}
    assert [statuses(federation.desk / name) for name in RUNS] == [[both] * 3] * 2
    with connect(federation.authority.broker_url) as redis:
        assert redis.acl_log() == []
