"""A client may be called like anything of ours: whatever is a fixed name in the code is tried as an id."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from orchestrator.jobs import streaming_mean
from orchestrator.jobs.streaming_mean import add_next
from orchestrator.store.records import OpenRound
from orchestrator.store.run_folder import RunFolder
from tasks import arrays, names, scope
from tasks.blobs.chunks import MemoryChunks
from tasks.errors import ConfigurationError
from tasks.scope import ClientScope, RunScope
from tests.support import PULL, blob_ref, close_job, job_of, publish_update, run_config, take_in, train_order, trained
from worker.identity import client_folders, take_identity, take_worker_identity

ROOT = Path(__file__).parents[1]
PACKAGES = ("celeriac", "orchestrator", "tasks", "verification", "worker")
RUN = "20261129-101530-a1b2"
MODEL = {"point": np.zeros(3, np.float32), "steps": np.array(0)}


def texts() -> Iterator[str]:
    """Yield every text in the code, and each with a number behind it, as file names have."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield from (node.value, f"{node.value}0", f"{node.value}1", node.value.strip(".:/"))


def is_id(text: str) -> bool:
    try:
        return bool(names.check_client_id(text))
    except ConfigurationError:
        return False


COMPOSED = ["clients.ward.50", "client.anna", "round-0001", "0001", "1", RUN, "anna.json", "anna.safetensors"]


@pytest.fixture(scope="module")
def ids() -> Sequence[str]:
    """The ids to try: what is fixed in the code, and what it composes."""
    return sorted({*filter(is_id, texts()), *COMPOSED, "anna"})


def test_the_code_has_names_to_try(ids: Sequence[str]) -> None:
    assert {"sums-0", "sums.json", "sums.lock", "orchestrator", "all", "train", "worker", "global"} <= {
        *ids,
        "sums.json",
    }
    assert len(ids) > 300


def test_no_key_or_queue_of_a_client_is_ours_or_anothers(ids: Sequence[str]) -> None:
    # Given all names that go by a client's id, and all that don't
    of_clients = [
        name
        for client in map(ClientScope, ids)
        for name in (
            client.queue,
            client.key,
            client.away_key,
            client.part_key,
            client.passed_over_key,
            client.update(RUN, 1),
            scope.turn_key(client.update(RUN, 1)),
            scope.result_key(client.order_id(RUN, 1, "train")),
        )
    ]
    run = RunScope(RUN)
    queues = [scope.ORCHESTRATOR_QUEUE, RunScope(RUN).queue, *(scope.shared_queue(prefix, 50) for prefix in ids)]
    ours = [
        *queues,
        scope.RUN_LOCK_KEY,
        scope.PRESENCE_CHANNEL,
        run.mark_key,
        run.model(1),
        run.broadcast(1),
        run.new_handed_out(),
        scope.result_key(run.initialise_id),
    ]
    # Then each is there once
    assert len(set(of_clients + ours)) == len(of_clients + ours)


def test_no_folder_of_a_client_is_ours_or_anothers(tmp_path: Path, ids: Sequence[str]) -> None:
    # Given clients of these ids, one that makes up its own, and a worker that serves several
    with ExitStack() as stack:
        taken = [take_identity(tmp_path, client_id) for client_id in ids]
        taken += [take_identity(tmp_path, None), take_worker_identity(tmp_path, "anna")]
        for identity in taken:
            stack.enter_context(identity.lock)
        folders = [identity.folder for identity in taken] + list(client_folders(tmp_path, "ward", 3).values())
    # Then each has a folder of its own, and none is within another's
    assert len(set(folders)) == len(folders)
    assert not any(folder.parent in set(folders) for folder in folders)


@pytest.mark.parametrize("kept_bytes", [0, 10**12], ids=["added up", "kept"])
def test_every_clients_update_is_in_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ids: Sequence[str], kept_bytes: int
) -> None:
    # Given a round of clients of these ids, whose updates are added up as they come, or all at once
    monkeypatch.setattr(streaming_mean, "KEPT_BYTES", kept_bytes)
    folder = RunFolder.create(tmp_path / "run", run_config(workload=PULL, num_clients=len(ids)))
    arrays.write_file(folder.checkpoint(0), MODEL)
    cohort = dict.fromkeys(ids, "first")
    opened = OpenRound(round_number=1, cohort=cohort, parameters=blob_ref(), is_crowded=True, started_at="")
    folder.save_open_round(opened)
    chunks = MemoryChunks()
    for number, client_id in enumerate(ids):
        if number % 500 == 0:  # another process goes on, which reads what there is by now
            job = job_of(folder, chunks)
        order = train_order(client_id)
        update = {"point": np.full(3, number, np.float32), "steps": np.array(number)}
        take_in(job, trained(order, publish_update(chunks, order, update)))
        if not kept_bytes:
            add_next(job)
    # When it is closed, then the model is the mean of all
    closing = job_of(folder, chunks)
    assert close_job(closing, closing.records()).status == "closed"
    mean = (len(ids) - 1) / 2
    np.testing.assert_allclose(arrays.map_file(folder.checkpoint(1))["point"], mean, rtol=1e-6)
