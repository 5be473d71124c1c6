"""Own workers on machines that have a run's object store, and not its folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis

from orchestrator.store.run_folder import RunFolder
from tasks import names
from tasks.scope import RunScope
from tests.integration import harness
from tests.integration.harness import Field, Program, history, tasks_done, url, wait_until, worker_statistics
from tests.integration.object_store import ObjectStore, object_store

pytestmark = pytest.mark.usefixtures("counted")

NUM_CLIENTS = 140
"""More than two groups whose sums are taken by themselves."""

HALVING = """
import numpy as np

from celeriac import ArraySpec, Arraywise


class Half(Arraywise):
    dtypes = ("F32",)

    def parts(self, original):
        return {"half": ArraySpec("F16", original.shape)}

    def encode(self, values):
        return {"half": values.astype(np.float16)}

    def decode(self, parts, original):
        return parts["half"]


def half(parameter) -> Half:
    return Half()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    with object_store(tmp_path / "buckets") as started:
        yield started


def own_worker(field: Field, broker: Redis, name: str, who: Mapping[str, str]) -> Program:
    """Start a worker by hand, with two processes."""
    words = "celery", "-A", "orchestrator", "worker", "--loglevel", "INFO", "--hostname", name, "--concurrency", "2"
    return field.start(name, *words, CELERY_BROKER_URL=url(broker), TMPDIR=str(field.folder), **who)


def begin(
    field: Field, broker: Redis, store: ObjectStore, run_dir: Path, held: Path, *options: str, **environment: str
) -> Program:
    """Start a crowded run of three rounds, whose clients wait as long as a file is there."""
    who, count = {**store.environment, **environment}, {"CLIENT_COUNT": str(NUM_CLIENTS), "CLIENT_CONCURRENCY": "1"}
    field.client(broker, "ward", CLIENT_BLOBS=store.url(), HELD=str(held), **count, **who)
    words = f"--rounds 3 --clients {NUM_CLIENTS} --no-evaluate-clients --in-flight-mb 0.0001 --blobs {store.url()}"
    return field.run(run_dir, words, *options, broker=broker, **who)


def hide(broker: Redis, run_dir: Path) -> None:
    """Have a run's folder be where no worker finds it that is started from now on; a round is open then."""
    wait_until((run_dir / "open-round.json").exists, "a round is open")
    broker.set(RunScope(RunFolder(run_dir).config().run_id).folder_key, bytes(run_dir.parent / "elsewhere"))


def num_taken(field: Field, broker: Redis, node: str) -> int:
    """How many tasks a worker has given to its processes, be they stopped or not."""
    return int(worker_statistics(field, broker, node)["pool"]["writes"]["total"])


def kill(worker: Program) -> None:
    """Kill a worker with all of its processes."""
    for process in (psutil.Process(worker.process.pid), *worker.descendants()):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_workers_elsewhere_take_updates_in_and_sum_them_and_one_may_be_killed(
    field: Field, broker: Redis, store: ObjectStore, tmp_path: Path
) -> None:
    # Given a run in whose first round two workers come that don't find its folder
    run_dir, held = tmp_path / "run", tmp_path / "held"
    held.touch()
    program = begin(field, broker, store, run_dir, held)
    hide(broker, run_dir)
    workers = [own_worker(field, broker, f"{name}@elsewhere", store.environment) for name in ("one", "two")]
    scope = RunScope(RunFolder(run_dir).config().run_id)
    wait_until(lambda: broker.hlen(scope.elsewhere_key) == 2, "both have said that they are there")
    # When the next round is open, and one of them is killed while it has updates to take in
    held.unlink()
    wait_until(lambda: history(run_dir), "a round is closed")
    for process in workers[0].descendants():
        process.send_signal(signal.SIGSTOP)
    wait_until(lambda: num_taken(field, broker, "one@elsewhere"), "it has taken some")
    kill(workers[0])
    program.succeeds()
    # Then the other has taken some in, too, and summed some, and each round was closed with all of its updates
    done = tasks_done(field, broker, "two@elsewhere")
    assert {names.INGEST_ANYWHERE_TASK, names.SUM_GROUP_TASK} <= done.keys(), done
    assert [record["status"] for record in history(run_dir)] == ["closed"] * 3
    answers = [each for record in history(run_dir) for each in record["responses"].values()]
    assert [each for each in answers if each["status"] != "trained"] == []
    workers[1].send(signal.SIGTERM)
    workers[1].succeeds()
    # And what was lost was noticed at once, and nothing is left in the store
    assert "its chord is started anew" in program.output
    assert [name for name in store.objects() if "/.rclone_temp_put_" not in name] == [".identity"]
    # And the model is that of a run with its own worker alone, and over the broker, to the last bit
    field.client(broker, "ward", CLIENT_COUNT=str(NUM_CLIENTS), CLIENT_CONCURRENCY="1")
    options = f"--rounds 3 --clients {NUM_CLIENTS} --no-evaluate-clients"
    field.run(tmp_path / "alone", options, broker=broker).succeeds()
    assert harness.checkpoint(run_dir, 3) == harness.checkpoint(tmp_path / "alone", 3)


def test_what_a_worker_elsewhere_lacks_code_for_is_done_by_others(
    field: Field, broker: Redis, store: ObjectStore, tmp_path: Path
) -> None:
    # Given a run with a compressor of the user's own, and a worker elsewhere that hasn't its file
    run_dir, held, code = tmp_path / "run", tmp_path / "held", tmp_path / "code"
    code.mkdir()
    (code / "halving.py").write_text(HALVING)
    held.touch()
    own = {"PYTHONPATH": f"{harness.ROOT}:{code}", "CLIENT_COMPRESSION": "halving:half"}
    program = begin(field, broker, store, run_dir, held, "--compression halving:half", **own)
    hide(broker, run_dir)
    worker = own_worker(field, broker, "one@elsewhere", store.environment)
    scope = RunScope(RunFolder(run_dir).config().run_id)
    wait_until(lambda: broker.hlen(scope.elsewhere_key) == 1, "it has said that it is there")
    # When the clients train
    held.unlink()
    program.succeeds()
    # Then it says what it lacks, and no update is rejected for it
    assert "updates are left to others: " in worker.output
    answers = [each for record in history(run_dir) for each in record["responses"].values()]
    assert [each for each in answers if each["status"] != "trained"] == []
    # And when it is told to end, it does, and leaves nothing
    worker.send(signal.SIGTERM)
    worker.succeeds()
    assert not list(field.folder.glob("celeriac-worker-*"))
