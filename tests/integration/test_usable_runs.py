"""Which runs a worker started by hand works for: as their folders and stores are."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from redis import Redis

from orchestrator.config import RunConfig
from orchestrator.store.run_folder import RunFolder
from orchestrator.usable_runs import LOOK_AGAIN_S, Reach, UsableRuns
from tasks.scope import RunScope
from tests.integration.harness import Field, tasks_done, url, wait_until
from tests.integration.object_store import object_store


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def begin(broker: Redis, path: Path, blobs: str | None) -> None:
    """Begin a run whose blobs are at a URL; the broker knows where its folder is."""
    RunFolder.create(path, RunConfig(run_id="run", num_clients=1, blobs=blobs))
    broker.set(RunScope("run").folder_key, bytes(path))


def test_a_run_is_worked_for_if_its_folder_and_its_store_are_here(
    broker: Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a run whose models and updates are in a folder that isn't mounted here
    clock, shared = Clock(), tmp_path / "shared"
    begin(broker, tmp_path / "run", shared.as_uri())
    usable = UsableRuns(broker, clock)
    # When it is looked at, many times, then it is left to others, and the log says why, once
    assert [usable.reach("run") for _ in range(3)] == [Reach.NOTHING] * 3
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    why = f"blobs {shared.as_uri()!r}: there is no such folder here"
    assert said == f"run run: {why}: its tasks are left to others"
    # When the folder is mounted, then that is seen after a while
    shared.mkdir()
    assert usable.reach("run") is Reach.NOTHING
    clock.now = LOOK_AGAIN_S
    assert usable.reach("run") is Reach.FOLDER
    # And a store that could be used isn't looked at again
    shutil.rmtree(shared)
    clock.now = 1e9
    assert usable.reach("run") is Reach.FOLDER
    # When the run's own folder is gone, then it is left to others, whatever its store is
    shutil.rmtree(tmp_path / "run")
    assert usable.reach("run") is Reach.NOTHING


def test_a_run_whose_store_is_reached_from_anywhere_is_worked_for_without_its_folder(
    broker: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a run whose folder isn't here, and whose blobs are in a bucket
    begin(broker, tmp_path / "run", None)
    shutil.rmtree(tmp_path / "run")
    with object_store(tmp_path / "buckets") as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        broker.set(RunScope("run").store_key, store.url())
        # When a worker looks what it reaches of it, then it is the store, and the queue of tasks for anywhere
        reach = UsableRuns(broker).reach("run")
        assert reach is Reach.STORE
        assert reach.queues("run") == {"orchestrator.run/anywhere"}
        assert Reach.FOLDER.queues("run") == {"orchestrator.run", "orchestrator.run/anywhere"}
        # And so it is when the broker was emptied
        usable = UsableRuns(broker)
        usable.reach("run")
        broker.delete(RunScope("run").folder_key, RunScope("run").store_key)
        assert usable.reach("run") is Reach.STORE
        # And nothing, if it isn't let in there
        broker.mset({RunScope("run").folder_key: bytes(tmp_path / "run"), RunScope("run").store_key: store.url()})
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
        assert UsableRuns(broker).reach("run") is Reach.NOTHING
    assert Reach.NOTHING.queues("run") == set()
    assert "SignatureDoesNotMatch" in caplog.text


def test_a_run_with_its_blobs_at_the_broker_is_worked_for(broker: Redis, tmp_path: Path) -> None:
    # Given a run that names no store, and one of whose folder nobody has told, then both are worked for
    begin(broker, tmp_path / "run", None)
    assert UsableRuns(broker).reach("run") is Reach.FOLDER
    assert UsableRuns(broker).reach("another") is Reach.FOLDER


def test_a_worker_without_credentials_for_the_bucket_leaves_a_run_s_tasks_to_others(
    field: Field, broker: Redis, tmp_path: Path, counted: None
) -> None:
    # Given a worker that was started by hand, and may not read the bucket of a run that begins
    with object_store(tmp_path / "buckets") as store:
        who = store.environment
        words = ("celery", "-A", "orchestrator", "worker", "--loglevel", "INFO", "--hostname", "by-hand@here")
        other = {**who, "AWS_SECRET_ACCESS_KEY": "other"}
        by_hand = field.start("by-hand", *words, CELERY_BROKER_URL=url(broker), **other)
        wait_until(lambda: "ready" in by_hand.output, "the worker is ready")
        field.clients(broker, 2, STEP_S="0.1", CLIENT_BLOBS=store.url(), **who)
        options = "--rounds 20 --no-evaluate-clients", f"--blobs {store.url()}"
        program = field.run(tmp_path / "run", *options, broker=broker, **who)
        # When it sees that the run is on, then it says why not, takes none of its tasks, and no round waits for it
        wait_until(lambda: ": SignatureDoesNotMatch: " in by_hand.output, "it has looked")
        program.succeeds()
        assert not tasks_done(field, broker, "by-hand@here")
    assert "its tasks are left to others" in by_hand.output
    assert "its chord is started anew" not in program.output
