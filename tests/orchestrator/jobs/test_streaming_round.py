"""Closing a crowded round whose updates are added up as they come gives what closing it at once gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.jobs import streaming_mean
from orchestrator.jobs.close_round import close_survey
from orchestrator.jobs.streaming_mean import add_next, is_streamed
from orchestrator.store.facts import RESULTS
from orchestrator.store.records import ClosedRound, OpenRound
from orchestrator.store.run_folder import RunFolder
from tasks import arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.messages import Response, Status
from tasks.results import Result
from tests.orchestrator.jobs.rounds import folder_in
from tests.support import (
    blob_ref,
    close_job,
    job_of,
    publish_update,
    run_config,
    survey_order,
    surveyed,
    take_in,
    train_order,
    trained,
)

CLIENTS = [f"client-{number:02d}" for number in range(20)]


@pytest.fixture(params=[0, 10**12], ids=["added up", "kept"])
def kept_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many bytes of updates are kept until their round closes: none, or those of all."""
    monkeypatch.setattr(streaming_mean, "KEPT_BYTES", request.param)
    return int(request.param)


def opened(**changes: object) -> OpenRound:
    return OpenRound.model_validate(
        {
            "round_number": 1,
            "cohort": dict.fromkeys(CLIENTS, "first"),
            "parameters": blob_ref(size_bytes=10**8),
            "is_crowded": True,
            "started_at": "",
            **changes,
        }
    )


def ingest(folder: RunFolder, chunks: MemoryChunks, response: Response, exchange: str = "train") -> None:
    """Take an answer in as the task does."""
    job = job_of(folder, chunks)
    take_in(job, response, exchange)
    if is_streamed(job):
        add_next(job, exchange)


def close(folder: RunFolder) -> ClosedRound:
    return close_job(job_of(folder), job_of(folder).records())


@pytest.mark.parametrize(
    ("config", "change", "expected"),
    [
        ({}, {}, True),
        ({"algorithm": "scaffold"}, {}, True),
        ({}, {"is_crowded": False}, False),
        ({}, {"parameters": blob_ref(size_bytes=10**6)}, False),
        ({"aggregator": "median"}, {}, False),
        ({"mix": ("bucketing:2",)}, {}, False),
        ({"verify": ("norm",)}, {}, False),
        ({"weighting": "steps"}, {}, False),
        ({"algorithm": "fednova"}, {}, False),
        ({"algorithm": "qfedavg"}, {}, False),
    ],
)
def test_updates_are_added_up_where_nothing_asks_for_them_again(
    tmp_path: Path, config: dict[str, object], change: dict[str, object], expected: bool
) -> None:
    folder = RunFolder.create(tmp_path / "run", run_config(**config))
    folder.save_open_round(opened(**change))
    assert is_streamed(job_of(folder)) is expected


def test_updates_with_results_are_kept_until_the_round_closes(tmp_path: Path) -> None:
    # Given a crowded round of large updates, when its workload declares results, then those are wanted at its close
    folder = RunFolder.create(tmp_path / "run", run_config())
    folder.save_open_round(opened())
    RESULTS.note(folder, {"count": Result("sum")})
    assert not is_streamed(job_of(folder))


def test_a_crowded_round_is_closed_with_the_mean(tmp_path: Path, kept_bytes: int) -> None:
    # Given a round of twenty clients, one of which failed, whose updates come in any order
    folder = folder_in(tmp_path, num_clients=20)
    folder.save_open_round(opened())
    chunks = MemoryChunks()
    for number in np.random.default_rng(0).permutation(20):
        order = train_order(CLIENTS[number])
        update = {"point": np.full(3, 0.1 * number, np.float32), "steps": np.array(number)}
        response = trained(order, publish_update(chunks, order, update), num_examples=number + 1)
        if number == 7:
            response = response.model_copy(update={"status": Status.FAILED, "update": None})
        ingest(folder, chunks, response)
    # When it is closed
    closed = close(folder)
    # Then the model is the mean, weighted by examples
    assert closed.status == "closed"
    counted = [number for number in range(20) if number != 7]
    mean = sum((n + 1) * float(np.float32(0.1 * n)) for n in counted) / sum(n + 1 for n in counted)
    np.testing.assert_allclose(arrays.map_file(folder.checkpoint(1))["point"], mean, rtol=1e-7)
    # And what was added up is let go
    assert folder.update(1, CLIENTS[0]).exists() is (kept_bytes > 0)


@pytest.mark.parametrize("seed", range(3))
def test_nonsense_is_told_and_left_out_whatever_the_order_of_arrival(
    tmp_path: Path, kept_bytes: int, seed: int
) -> None:
    # Given twenty clients, three of which send finite nonsense: in the first group of eight, the second and the last
    folder = folder_in(tmp_path, num_clients=20)
    hostile = {CLIENTS[3], CLIENTS[8], CLIENTS[19]}
    folder.save_open_round(opened())
    chunks = MemoryChunks()
    for number in np.random.default_rng(seed).permutation(20):
        order = train_order(CLIENTS[number])
        value = 1e30 if CLIENTS[number] in hostile else 1 + 0.1 * number
        update = {"point": np.full(3, value, np.float32), "steps": np.array(number)}
        ingest(folder, chunks, trained(order, publish_update(chunks, order, update)))
    # When the round is closed
    closed = close(folder)
    # Then the record says who was left out, and why
    reasons = {client_id: record.reason for client_id, record in closed.responses.items() if record.reason}
    assert reasons.keys() == hostile
    assert "its change of the parameters has length 1.73e+30, the median of all is" in reasons[CLIENTS[3]]
    # And the model is the mean of the others
    mean = np.mean([np.float32(1 + 0.1 * number) for number in range(20) if CLIENTS[number] not in hostile])
    np.testing.assert_allclose(arrays.map_file(folder.checkpoint(1))["point"], mean, rtol=1e-6)
    # And where updates are let go, so is the nonsense
    assert folder.update(1, CLIENTS[3]).exists() is (kept_bytes > 0)


def test_both_exchanges_of_a_crowded_round_are_added_up(tmp_path: Path, kept_bytes: int) -> None:
    # Given twenty clients that are asked for their loss first, client k's being k, two of which fail at it
    folder, chunks = folder_in(tmp_path, num_clients=20, algorithm="tests.support:ASKING_FIRST"), MemoryChunks()
    folder.save_open_round(opened())

    def take_all_in(numbers: list[int], exchange: str) -> None:
        for number in numbers:
            order = survey_order(CLIENTS[number]) if exchange == "survey" else train_order(CLIENTS[number])
            values = np.full(3, number, np.float32)
            sent = {"@loss/point": values} if exchange == "survey" else {"point": values, "steps": np.array(1)}
            response = surveyed(order, publish_update(chunks, order, sent))
            if exchange == "train":
                response = trained(order, response.update)
            elif number in (0, 7):
                response = response.model_copy(update={"status": Status.FAILED, "update": None})
            ingest(folder, chunks, response, exchange)

    # When the first exchange is closed, and the others train
    take_all_in(list(range(20)), "survey")
    found = close_survey(job_of(folder), job_of(folder).records("survey"))
    folder.save_open_round(opened(surveyed=found))
    left = [number for number in range(20) if number not in (0, 7)]
    take_all_in(left[::-1], "train")
    closed = close(folder)
    # Then those two are left out, and the model is the mean of the others' updates and the mean of their losses
    assert sorted(found.left_out) == ["client-00", "client-07"]
    assert closed.status == "closed"
    mean = (190 - 7) / 18
    np.testing.assert_allclose(arrays.map_file(folder.checkpoint(1))["point"], 2 * mean, rtol=1e-6)
    # And what was added up is let go
    assert folder.update(1, CLIENTS[1], "survey").exists() is (kept_bytes > 0)
