"""Rounds whose updates stay where they came, are taken in wherever, and are summed in groups."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import pytest

from celeriac.aggregators.mean import GROUP
from orchestrator.jobs import elsewhere, streaming_mean
from orchestrator.jobs.close_round import close_survey
from orchestrator.jobs.elsewhere import Place, job_at, published, remove_folders, withdraw
from orchestrator.jobs.group_sums import Group, sum_anywhere
from orchestrator.jobs.ingest import ingest_responses, note_records
from orchestrator.jobs.job import Job, Loaded
from orchestrator.store.records import ClosedRound, OpenRound
from orchestrator.transport.crew import Crew
from orchestrator.transport.sending import Call
from tasks.blobs.blob import BlobRef, publish
from tasks.blobs.chunks import MemoryChunks
from tasks.errors import BlobMissingError, RunFailedError
from tasks.messages import Response, Status, decode, encode
from tests.orchestrator.jobs.rounds import folder_in
from tests.support import close_job, publish_update, survey_order, surveyed, train_order, trained

CLIENTS = [f"client-{number:03d}" for number in range(2 * GROUP + 3)]
STORE = "s3://bucket"


class Some(Crew):
    """Own workers without the run's folder, as good as at once: they take those of the sums that they are to take."""

    def __init__(self, store: MemoryChunks, groups: Collection[int]) -> None:
        self._loaded = Loaded(lambda _: store)
        self._groups = groups
        self.asked: list[Group] = []
        self._results: dict[str, object] = {}

    def send(self, calls: Sequence[Call]) -> None:
        for index, call in enumerate(calls):
            group = decode(Group, call.kwargs["group"])
            self.asked.append(group)
            if index in self._groups:
                summed = sum_anywhere(decode(Place, call.kwargs["place"]), group, self._loaded)
                self._results[call.task_id] = encode(summed) if summed else {}

    def returned(self, task_ids: Sequence[str]) -> dict[str, object]:
        return {task_id: self._results[task_id] for task_id in task_ids if task_id in self._results}

    def forget(self, task_ids: Collection[str]) -> None:
        for task_id in task_ids:
            self._results.pop(task_id, None)


class ClosedMeanwhile(MemoryChunks):
    """A round's store, for somebody who looks at it a second time when the round has been closed."""

    def __init__(self, job: Job) -> None:
        assert isinstance(job.store, MemoryChunks)
        self.chunks = job.store.chunks
        self.looks: list[bool] = []
        self._job = job

    def has(self, ref: BlobRef) -> bool:
        if self.looks:
            withdraw(self._job)
        self.looks.append(super().has(ref))
        return self.looks[-1]


class AtOnce(MemoryChunks):
    """A round's store, at which another process closes the round when this one has just made a file of a blob."""

    def __init__(self, chunks: dict[str, bytes], kind: str, close: Callable[[], object]) -> None:
        self.chunks = chunks
        self._kind = kind
        self._left = [close]

    def take_file(self, ref: BlobRef, path: Path) -> None:
        super().take_file(ref, path)
        if self._kind in ref.name and self._left:
            self._left.pop()()


class Spread:
    """A crowded run of one round over a store of its own, whose updates stay there or don't."""

    def __init__(self, path: Path, *, is_spread: bool = True, groups: Collection[int] = (), **config: object) -> None:
        self.store = MemoryChunks()
        self.crew = Some(self.store, groups)
        self.folder = folder_in(path, num_clients=len(CLIENTS), blobs=STORE, **config)
        start = self.folder.checkpoint(0).read_bytes()
        self.opened = OpenRound(
            round_number=1,
            cohort=dict.fromkeys(CLIENTS, "first"),
            parameters=publish(self.store, "fl:blob:model/run/0", [memoryview(start)]),
            is_crowded=True,
            is_spread=is_spread,
            started_at="now",
        )
        self.folder.save_open_round(self.opened)

    def job(self) -> Job:
        return Job(self.folder, 1, Loaded(lambda _: self.store, crew=self.crew))

    def answers(self) -> list[Response]:
        """What all clients answer, client k's update being near k and the weight k + 1."""
        found = []
        for number, client_id in enumerate(CLIENTS):
            order = train_order(client_id)
            values = np.random.default_rng(number).standard_normal(3).astype(np.float32) + np.float32(number)
            update = {"point": values, "steps": np.array(number)}
            ref = publish_update(self.store, order, update)
            found.append(trained(order, ref, num_examples=number + 1))
        return found

    def take_in(self, answers: Sequence[Response], exchange: str = "train") -> None:
        """Take answers in where the run's folder is."""
        ingest_responses(self.job(), answers, exchange)

    def close(self) -> ClosedRound:
        return close_job(self.job(), self.job().records())

    def left(self) -> set[str]:
        """Beginnings of the names of what is in the store."""
        return {name.partition("/")[0] for name in self.store.chunks}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers' folders be in the test's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(params=[0, 10**12], ids=["large", "small"])
def kept_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates that would be added as they come, or all at once, if they came to one place."""
    monkeypatch.setattr(streaming_mean, "KEPT_BYTES", request.param)


@pytest.mark.parametrize("groups", [(), (0,), (0, 1, 2), (2,)])
def test_sums_of_groups_give_the_model_of_one_place_whoever_takes_them(
    tmp_path: Path, kept_bytes: None, groups: tuple[int, ...]
) -> None:
    # Given a round whose updates are taken in in one place, and another in which they stay, for three groups of them
    here, spread = Spread(tmp_path / "here", is_spread=False), Spread(tmp_path / "spread", groups=groups)
    for each in (here, spread):
        each.take_in(each.answers())
    assert not list((spread.folder.path / "updates").rglob("*.safetensors"))
    # When both are closed, some groups being summed by others
    closed = spread.close()
    # Then the models are equal, to the last bit
    assert closed.status == "closed"
    assert closed.digest == here.close().digest
    assert [len(group.members) for group in spread.crew.asked] == [GROUP, GROUP, 3]
    # And nothing but what clients sent, and the model, is left in the store
    assert spread.left() == {"fl:blob:model", "fl:blob:update"}


@pytest.mark.parametrize("config", [{"compression": "int8"}, {"compression": "topk:0.5"}, {"algorithm": "scaffold"}])
def test_updates_are_taken_in_elsewhere_as_where_the_folder_is(tmp_path: Path, config: dict[str, object]) -> None:
    # Given a round as the folder has it, and what is in the store of it
    here, spread = Spread(tmp_path / "here", is_spread=False), Spread(tmp_path / "spread")
    answers = here.answers()
    spread.answers()
    place = published(spread.job())
    # When its answers are taken in where the folder isn't, and what was found is noted where it is
    found = ingest_responses(job_at(place, Loaded(lambda _: spread.store)), answers)
    note_records(spread.job(), found, "train")
    here.take_in(answers)
    # Then the records are those of taking them in there, and the model, or why there is none, is the same
    assert spread.job().records() == here.job().records()
    assert spread.close() == here.close()


def test_the_exact_model_is_put_there_for_others_where_clients_are_given_a_compressed_one(tmp_path: Path) -> None:
    # Given a run that sends models compressed
    spread = Spread(tmp_path, compression="bf16")
    # When another makes a folder of what is in the store
    job = job_at(published(spread.job()), Loaded(lambda _: spread.store))
    # Then it has the model that the round starts from, and the config
    assert job.folder.checkpoint(0).read_bytes() == spread.folder.checkpoint(0).read_bytes()
    assert job.config == spread.job().config
    assert job.opened == spread.opened


def test_a_folder_elsewhere_serves_on_if_another_can_t_be_had(tmp_path: Path) -> None:
    # Given somebody who has made a folder of a round's files, and other files, whose model is gone
    spread = Spread(tmp_path)
    loaded, place = Loaded(lambda _: spread.store), published(spread.job())
    job_at(place, loaded)
    gone = spread.opened.parameters.model_copy(update={"name": "fl:blob:model/run/9"})
    spread.folder.save_open_round(spread.opened.model_copy(update={"parameters": gone}))
    without_model = published(spread.job())
    # When a folder of those is asked for, then the former is there still
    with pytest.raises(BlobMissingError):
        job_at(without_model, loaded)
    assert job_at(place, loaded).opened == spread.opened


def test_what_is_elsewhere_without_its_round_is_of_no_use(tmp_path: Path) -> None:
    # Given a folder elsewhere, a file of which somebody has removed
    spread = Spread(tmp_path)
    loaded, place = Loaded(lambda _: spread.store), published(spread.job())
    job_at(place, loaded).folder.open_round_path.unlink()
    # When it is asked for again, then it is said to be of no use
    with pytest.raises(RunFailedError, match="round 1 isn't in"):
        job_at(place, loaded)


@pytest.mark.parametrize("groups", [(), (0, 1, 2)])
def test_who_takes_an_update_away_that_was_taken_in_is_left_out(tmp_path: Path, groups: tuple[int, ...]) -> None:
    # Given a round, two of whose clients change what they sent when it has been taken in, or remove it
    spread, others = Spread(tmp_path / "spread", groups=groups), Spread(tmp_path / "others", is_spread=False)
    answers = spread.answers()
    spread.take_in(answers)
    changed, removed = CLIENTS[3], CLIENTS[100]
    publish_update(spread.store, train_order(changed), {"point": np.full(3, 9, np.float32), "steps": np.array(9)})
    spread.store.discard([train_order(removed).update_blob], 1)
    # When the round is closed, then the record says so, and the model is that of the others
    closed = spread.close()
    assert {name for name, record in closed.responses.items() if record.status is Status.REJECTED} == {changed, removed}
    assert closed.responses[removed].reason.startswith("it was taken in, and then: ")
    others.answers()
    others.take_in([each for each in answers if each.client_id not in (changed, removed)])
    others.folder.save_open_round(
        others.opened.model_copy(update={"cohort": {name: "" for name in CLIENTS if name not in (changed, removed)}})
    )
    assert closed.digest == others.close().digest


@pytest.mark.parametrize("kind", ["fl:blob:update/", "/sum/"], ids=["update", "sum"])
def test_two_processes_that_close_a_round_at_once_make_the_same_model(tmp_path: Path, kind: str) -> None:
    # Given a round whose chord was started anew while it was being closed
    here, spread = Spread(tmp_path / "here", is_spread=False), Spread(tmp_path / "spread")
    for each in (here, spread):
        each.take_in(each.answers())
    # When another process closes it while this one has an update, or a group's sum, at hand
    others: list[ClosedRound] = []
    spread.store = AtOnce(spread.store.chunks, kind, lambda: others.append(spread.close()))
    closed = spread.close()
    # Then both come to the model of one place
    assert [each.digest for each in (closed, *others)] == [here.close().digest] * 2
    assert spread.left() == {"fl:blob:model", "fl:blob:update"}


def test_a_first_exchange_stays_there_likewise(tmp_path: Path) -> None:
    # Given clients that are asked for their loss first, client k's being k
    spread = Spread(tmp_path, algorithm="tests.support:ASKING_FIRST", groups=(0,))
    sent = [(survey_order(name), {"@loss/point": np.full(3, k, np.float32)}) for k, name in enumerate(CLIENTS)]
    spread.take_in([surveyed(order, publish_update(spread.store, order, sets)) for order, sets in sent], "survey")
    # When the last of them takes its own away, and the exchange is closed
    spread.store.discard([sent[-1][0].update_blob], 1)
    found = close_survey(spread.job(), spread.job().records("survey"))
    # Then it is left out
    assert found.failed is None
    assert list(found.left_out) == [CLIENTS[-1]]


def test_a_sum_that_nobody_wants_any_more_isn_t_left_in_the_store(tmp_path: Path) -> None:
    # Given a group that another is to sum, in a round that is closed meanwhile
    spread = Spread(tmp_path, groups=())
    spread.take_in(spread.answers())
    place = published(spread.job())
    spread.close()
    group = spread.crew.asked[0]
    # When it comes to it, whether or not it has what it needs already, then it leaves nothing
    assert sum_anywhere(place, group, Loaded(lambda _: spread.store)) is None
    assert spread.left() == {"fl:blob:model", "fl:blob:update"}


def test_a_sum_that_is_ready_as_the_round_has_been_closed_is_taken_away(tmp_path: Path) -> None:
    # Given a worker that is at the sum of a group as the round is closed
    spread = Spread(tmp_path)
    spread.take_in(spread.answers())
    spread.close()
    place, group = published(spread.job()), spread.crew.asked[0]
    store = ClosedMeanwhile(spread.job())
    # When the sum is ready, then it is taken away again
    assert sum_anywhere(place, group, Loaded(lambda _: store)) is None
    assert store.looks == [True, False]
    assert spread.left() == {"fl:blob:model", "fl:blob:update"}


def test_folders_of_workers_that_have_ended_are_removed(tmp_path: Path) -> None:
    # Given folders of a worker that has ended, of this process, and of another that runs, and one of somebody else's
    ended, own, other = (tmp_path / f"{elsewhere.FOLDER}{number}-x" for number in (2**22 + 1, os.getpid(), 1))
    for path in (ended, own, other, tmp_path / f"{elsewhere.FOLDER}x"):
        path.mkdir()
    # When a worker starts, and this one ends, then theirs are gone
    remove_folders()
    assert not ended.exists()
    assert own.exists()
    remove_folders(of_this_worker=True)
    assert {path.name for path in tmp_path.iterdir()} == {other.name, f"{elsewhere.FOLDER}x"}
