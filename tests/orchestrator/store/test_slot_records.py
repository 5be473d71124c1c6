from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from orchestrator.store.records import SlotRecord
from orchestrator.store.slot_records import SlotRecords
from tasks.messages import Status

TRAINED = SlotRecord(status=Status.TRAINED, num_examples=5, metrics={"train_loss": 0.5})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "updates" / "round-0001" / "slots.jsonl"


def test_what_one_adds_others_find(path: Path) -> None:
    # Given two who look at the same slots, of which nothing is known
    here, there = SlotRecords(path), SlotRecords(path)
    assert there.get("anna") is None
    # When one adds records, a few at a time, then the other finds them
    failed = SlotRecord(status=Status.FAILED, reason="no data")
    assert here.add({"anna": TRAINED, "bert": failed}) == {"anna": TRAINED, "bert": failed}
    assert there.get("anna") == TRAINED
    here.add({"carl": TRAINED})
    # And the first that was added of a client counts
    assert there.add({"bert": TRAINED, "dora": failed}) == {"bert": failed, "dora": failed}
    assert here.get("bert") == failed
    assert (there.get("bert"), there.get("carl")) == (here.get("bert"), TRAINED)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_of_nothing(path: Path) -> None:
    # Given no slots to note, when they are, then there is no file for it
    records = SlotRecords(path)
    assert records.add({}) == {}
    records.reopen([])
    assert not path.parent.exists()


def test_a_slot_is_opened_again(path: Path) -> None:
    # Given a record that both know
    here, there = SlotRecords(path), SlotRecords(path)
    here.add({"anna": TRAINED})
    assert there.get("anna") == TRAINED
    # When the slot is opened again, twice, then there is none, also for who comes later
    for _ in range(2):
        here.reopen(["anna"])
        assert [records.get("anna") for records in (here, there, SlotRecords(path))] == [None, None, None]
    # And the next that is added counts
    later = TRAINED.model_copy(update={"num_examples": 6})
    there.add({"anna": later})
    assert here.get("anna") == later


@pytest.mark.parametrize("torn", [b"{", b'{"client_id": "bert", "record": {"status": "trai', b'\0\0\0\n{"client_id"'])
def test_a_line_that_was_cut_short_goes(path: Path, torn: bytes) -> None:
    # Given a process that was killed as it added a line
    SlotRecords(path).add({"anna": TRAINED})
    with path.open("ab") as file:
        file.write(torn)
    records = SlotRecords(path)
    assert (records.get("anna"), records.get("bert")) == (TRAINED, None)
    # When another adds one, then both are found, by who looked before and by who didn't
    SlotRecords(path).add({"bert": TRAINED})
    for each in (records, SlotRecords(path)):
        assert (each.get("anna"), each.get("bert")) == (TRAINED, TRAINED)


def test_several_processes_add_records_at_the_same_time(path: Path) -> None:
    # Given several processes that each add many records, long ones, and read what is there between
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        counts = list(pool.map(_add_many, [str(path)] * 4, range(4)))
    # Then each finds its own, and none is lost
    assert counts == [50] * 4
    records = SlotRecords(path)
    assert all(records.get(f"client-{worker}-{number}") for worker in range(4) for number in range(50))


def _add_many(path: str, worker: int) -> int:
    records = SlotRecords(Path(path))
    ids = [f"client-{worker}-{number}" for number in range(50)]
    for client_id in ids:
        records.add({client_id: SlotRecord(status=Status.FAILED, reason="x" * 400)})
    return sum(records.get(client_id) is not None for client_id in ids)
