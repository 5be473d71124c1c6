from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from celeriac.aggregators import AggregatorContext, WeightedUpdate
from celeriac.aggregators.mean import aggregate_mean
from orchestrator.jobs.job import Job, Loaded
from orchestrator.store.records import OpenRound, SlotRecord, Surveyed
from orchestrator.store.run_folder import RunFolder
from orchestrator.store.slot_records import SlotRecords
from tasks.arrays import Arrays
from tasks.blobs.chunks import MemoryChunks
from tasks.device import resolved
from tasks.errors import RunFailedError
from tasks.messages import Status
from tests.orchestrator.jobs.rounds import folder_in, part
from tests.support import Pull, blob_ref, close_job, job_of, round_record, run_config


class Counting(Pull):
    """Says which folder its held-out data is of, and notes how often that was asked for."""

    asked: ClassVar[list[Path | None]] = []

    def __init__(self, name: str = "") -> None:
        self.name = name

    def holdout_data(self, folder: Path | None) -> Any:
        self.asked.append(folder)
        return f"{self.name} {folder}"


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    Counting.asked.clear()


def run_in(path: Path, name: str, data: str) -> RunFolder:
    return RunFolder.create(path, run_config(workload=f"{__name__}:Counting,name={name}", data=data))


def test_jobs_of_one_run_share_what_takes_long_to_load(tmp_path: Path) -> None:
    # Given two jobs of a run in one process
    folder, loaded = run_in(tmp_path / "run", "a", "/data"), Loaded(lambda _: MemoryChunks())
    first, second = Job(folder, 1, loaded), Job(folder, 2, loaded)
    # Then workload and held-out data are the same, and were loaded once
    assert first.holdout == second.holdout == "a /data"
    assert first.workload is second.workload
    assert Counting.asked == [Path("/data")]


@pytest.mark.parametrize(("name", "data", "expected"), [("b", "/data", "b /data"), ("a", "/other", "a /other")])
def test_a_second_run_in_the_same_process_gets_its_own(tmp_path: Path, name: str, data: str, expected: str) -> None:
    # Given a process that has worked for a run
    loaded = Loaded(lambda _: MemoryChunks())
    assert Job(run_in(tmp_path / "first", "a", "/data"), 1, loaded).holdout == "a /data"
    # When a job of a run with another workload, or other data, comes, then it gets that
    job = Job(run_in(tmp_path / "second", name, data), 1, loaded)
    assert (job.workload.name, job.holdout) == (name, expected)  # type: ignore[attr-defined]
    assert job.config.data == data


def test_a_config_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    # Given a run that goes on with more rounds
    folder, loaded = run_in(tmp_path / "run", "a", "/data"), Loaded(lambda _: MemoryChunks())
    assert Job(folder, 1, loaded).config.rounds != 77
    with folder.lock() as lock:
        folder.replace_config(folder.config().model_copy(update={"rounds": 77}), lock).close()
    # Then the next job knows
    assert Job(folder, 1, loaded).config.rounds == 77


def test_a_job_of_a_round_that_is_closed_finds_none_open(tmp_path: Path) -> None:
    # Given a run whose second round is open, when jobs of the first and the second come, then only that finds it
    folder = run_in(tmp_path / "run", "a", "/data")
    assert job_of(folder).opened is None
    folder.save_open_round(opened(2, "anna"))
    assert (job_of(folder).opened, job_of(folder, round_number=2).opened) == (None, opened(2, "anna"))


def test_a_round_that_is_opened_while_one_looks_is_not_open_for_ever(tmp_path: Path) -> None:
    # Given a job that finds no file of an open round, and a round that is opened just then
    class OpenedMeanwhile(RunFolder):
        def open_round(self) -> OpenRound | None:
            self.save_open_round(opened(1, "anna"))
            return super().open_round()

    folder, loaded = run_in(tmp_path / "run", "a", "/data"), Loaded(lambda _: MemoryChunks())
    assert Job(OpenedMeanwhile(folder.path), 1, loaded).opened == opened(1, "anna")
    # When it has been closed, then the next job finds none
    folder.open_round_path.unlink()
    assert Job(folder, 1, loaded).opened is None


def test_the_records_of_a_round_are_those_of_its_slots(tmp_path: Path) -> None:
    # Given a round whose first exchange left one of three out, and what a former round and a stranger have left
    folder = run_in(tmp_path / "run", "a", "/data")
    left_out = Surveyed(left_out={"carl": SlotRecord(status=Status.FAILED)})
    folder.save_open_round(opened(1, "carl", "bert", "anna", surveyed=left_out))
    for client_id, number in (("anna", 1), ("bert", 1), ("carl", 1), ("stranger", 1), ("bert", 2)):
        fill(folder, number, client_id, number)
        fill(folder, number, client_id, 10 + number, "survey")
    # Then those of its exchanges are theirs who were asked in them, sorted
    assert num_examples(job_of(folder).records()) == [("anna", 1), ("bert", 1)]
    assert num_examples(job_of(folder).records("survey")) == [("anna", 11), ("bert", 11), ("carl", 11)]


def test_a_slot_that_is_opened_anew_just_now_counts_as_lost(tmp_path: Path) -> None:
    # Given a round one of whose records was just removed, as its client is asked again
    folder = run_in(tmp_path / "run", "a", "/data")
    folder.save_open_round(opened(1, "anna", "bert"))
    fill(folder, 1, "bert", 5)
    # Then it can be closed all the same
    records = job_of(folder).records()
    assert [(name, record.status) for name, record in records.items()] == [
        ("anna", Status.LOST),
        ("bert", Status.TRAINED),
    ]


def opened(number: int, *cohort: str, **changes: Any) -> OpenRound:
    ids = dict.fromkeys(cohort, "first")
    return OpenRound(round_number=number, cohort=ids, parameters=blob_ref(), started_at="", **changes)


def fill(folder: RunFolder, number: int, client_id: str, num_examples: int, exchange: str = "train") -> None:
    record = SlotRecord(status=Status.TRAINED, num_examples=num_examples)
    SlotRecords(folder.slots(number, exchange)).add({client_id: record})


def num_examples(records: dict[str, SlotRecord]) -> list[tuple[str, int]]:
    return [(client_id, record.num_examples) for client_id, record in records.items()]


def test_a_task_that_was_sent_twice_makes_no_model_of_a_round_that_was_closed_meanwhile(tmp_path: Path) -> None:
    # Given a task that began while its round was open, of which nothing is there any more when it reads the updates
    folder = RunFolder.create(tmp_path / "run", run_config())
    opened = OpenRound(
        round_number=1, cohort={"anna": "first"}, parameters=blob_ref(), started_at="now", boot_id="this"
    )
    folder.save_open_round(opened)
    job = job_of(folder)
    assert job.records()["anna"].status is Status.LOST
    # When the round was closed, then it says so, and doesn't take its clients for lost
    folder.close_round(round_record())
    with pytest.raises(RunFailedError, match="round 1 is closed already"):
        job.records()


def test_a_workload_is_told_the_device_and_where_held_out_data_is(tmp_path: Path) -> None:
    # Given a run whose models are evaluated on the first device that is there
    folder = RunFolder.create(tmp_path / "run", run_config(workload=f"{__name__}:Counting,name=a", device="auto"))
    # When a job's context is made, then it names the device, and gives the data without having loaded it before
    context = Job(folder, 1, Loaded(lambda _: MemoryChunks())).context("evaluation")
    assert context.device == resolved("auto")
    assert Counting.asked == []
    assert context.load_holdout() == "a None"


@pytest.mark.parametrize("sent", [1.0, math.nan])
def test_nothing_is_made_of_updates_whose_files_may_have_been_written_over(tmp_path: Path, sent: float) -> None:
    # Given a task that was sent twice, whose round the other one closes when this one has begun to aggregate
    folder = folder_in(tmp_path)
    folder.save_open_round(opened(1, "anna"))
    part(folder, "anna", [1, 2, 3])
    job = job_of(folder)

    def overtaken(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> Arrays:
        folder.checkpoint(1).write_bytes(b"the other's")
        folder.close_round(round_record())
        return {**aggregate_mean(updates, context), "point": np.full(3, sent, np.float32)}

    vars(job)["aggregator"] = overtaken
    # When it comes to write a model, or to keep the former one, then it doesn't
    with pytest.raises(RunFailedError, match="round 1 is closed already"):
        close_job(job, job.records())
    assert folder.checkpoint(1).read_bytes() == b"the other's"
