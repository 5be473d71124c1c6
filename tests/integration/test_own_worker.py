"""A worker for the orchestrator's tasks that is started by hand, beside the one that a run starts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.store.run_folder import RunFolder
from tasks.scope import RunScope
from tests.integration.harness import Field, history, server, tasks_done, url, wait_until

pytestmark = pytest.mark.usefixtures("counted")


def test_a_worker_started_by_hand_takes_a_runs_tasks_and_ends_when_told(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a worker that waits for tasks before there is a run
    settings = {"CELERY_BROKER_URL": url(broker), "ORCHESTRATOR_PRELOAD": "pulled:Pulled"}
    words = ("celery", "-A", "orchestrator", "worker", "--loglevel", "INFO", "--hostname", "by-hand@here")
    by_hand = field.start("by-hand", *words, **settings)
    wait_until(lambda: "ready" in by_hand.output, "the worker is ready")
    # When a run is carried out, whose own worker starts as any
    field.clients(broker, 2, STEP_S="0.1")
    field.run(tmp_path / "run", "--rounds 20 --no-evaluate-clients", broker=broker).succeeds()
    # Then the worker has done some of the run's tasks, and all rounds are closed
    assert tasks_done(field, broker, "by-hand@here")
    assert [record["status"] for record in history(tmp_path / "run")] == ["closed"] * 20
    # And it ends when it is told to
    by_hand.send(signal.SIGTERM)
    by_hand.succeeds()


def test_a_worker_on_a_machine_without_the_runs_folder_leaves_its_tasks_to_others(
    field: Field, broker: Redis, tmp_path: Path
) -> None:
    # Given a run whose folder isn't where a worker is that is started by hand
    held = tmp_path / "held"
    field.clients(broker, 2, STEP_S="0.1", HELD=str(held))
    program = field.run(tmp_path / "run", "--rounds 20 --no-evaluate-clients", broker=broker)
    wait_until(lambda: history(tmp_path / "run"), "a round is closed")
    held.touch()
    run_id = RunFolder(tmp_path / "run").config().run_id
    assert broker.get(RunScope(run_id).folder_key) == bytes(tmp_path / "run")
    broker.set(RunScope(run_id).folder_key, bytes(tmp_path / "elsewhere"))
    words = ("celery", "-A", "orchestrator", "worker", "--loglevel", "INFO", "--hostname", "by-hand@here")
    by_hand = field.start("by-hand", *words, CELERY_BROKER_URL=url(broker))
    # When the worker sees that the run is on, then it says so, and has done none of its tasks at the run's end
    wait_until(lambda: f"run {run_id}: its folder " in by_hand.output, "it has looked")
    held.unlink()
    program.succeeds()
    assert not tasks_done(field, broker, "by-hand@here")
    by_hand.send(signal.SIGTERM)
    by_hand.succeeds()


def test_without_a_broker_to_go_to_it_says_so(field: Field) -> None:
    # Given an address that is none, when the worker is started, then one line says what is wrong
    by_hand = field.start("by-hand", "celery", "-A", "orchestrator", "worker", CELERY_BROKER_URL="nowhere")
    assert by_hand.wait() == 2
    assert by_hand.output.startswith("error: ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--replicaof 127.0.0.1 1", "is a replica of 127.0.0.1:1, which keeps nothing that it is told"),
        ("--rename-command HSETNX hidden", "refuses HSETNX (unknown command)"),
    ],
)
def test_a_broker_that_wont_do_is_told_at_its_start(field: Field, options: str, told: str) -> None:
    # Given a broker that is no use, when the worker is started by hand, then one line says why
    with server(*options.split()) as broker:
        by_hand = field.start("by-hand", "celery", "-A", "orchestrator", "worker", CELERY_BROKER_URL=url(broker.client))
        assert by_hand.wait() == 2
    assert by_hand.output.startswith("error: the broker ")
    assert told in by_hand.output
    assert "Traceback" not in by_hand.output
