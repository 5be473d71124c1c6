from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.blobs import blob
from tasks.blobs.in_files import LocalBlobs
from tasks.errors import BlobError
from tests.support import added_in_place

NAME = "fl:blob:anna/run/1"


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobs:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return LocalBlobs(folder)


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=1500).filter(any))
def test_what_is_published_is_got_in_any_number_of_pieces(store: LocalBlobs, pieces: list[bytes]) -> None:
    # Given pieces, when they are published, then what is got is the same
    ref = blob.publish(store, NAME, views(*pieces))
    assert bytes(store.get(ref)) == b"".join(pieces)


def test_the_memory_of_arrays_is_published_and_got_read_only(store: LocalBlobs) -> None:
    values = np.linspace(0, 1, 1_000_000, dtype=np.float32)
    found = np.frombuffer(store.get(blob.publish(store, NAME, [values.data])), np.float32)
    np.testing.assert_array_equal(found, values)
    assert not found.flags.writeable


@pytest.mark.parametrize("is_gone", [False, True])
def test_what_is_written_to_memory_of_its_own_is_nowhere_else(store: LocalBlobs, is_gone: bool) -> None:
    # Given a blob that was got, and may have been discarded since
    values = np.zeros(100_000, np.float32)
    ref = blob.publish(store, NAME, [values.data])
    data = store.get(ref)
    if is_gone:
        store.discard([NAME], values.nbytes)
    # When somebody writes to memory of its own all the same
    own = np.frombuffer(store.own(ref, data), np.float32)
    assert not own.flags.writeable
    added_in_place(own)
    # Then the others have what was published
    assert own[0] == 1
    assert np.frombuffer(data, np.float32).max() == 0
    assert is_gone or np.frombuffer(store.get(ref), np.float32).max() == 0


def test_a_file_is_published_and_taken_in_as_a_link(store: LocalBlobs, tmp_path: Path) -> None:
    # Given a checkpoint
    checkpoint, taken = tmp_path / "checkpoint", tmp_path / "taken"
    checkpoint.write_bytes(b"abc")
    ref = blob.describe("fl:blob:run/0", views(b"abc"))
    # When it is published, twice, and made a file elsewhere, twice
    for _ in range(2):
        store.put_file(ref, checkpoint)
        store.get_file(ref, taken)
    # Then it is there, and not one byte was copied
    assert taken.read_bytes() == b"abc"
    assert taken.samefile(checkpoint)
    # And what is discarded takes nothing else with it
    store.discard([ref.name, "fl:blob:never/there"], 3)
    assert (store.has(ref), taken.read_bytes(), checkpoint.read_bytes()) == (False, b"abc", b"abc")


def test_a_new_blob_takes_the_place_of_the_old_one_for_those_who_come(store: LocalBlobs) -> None:
    # Given a reader of a blob
    old = blob.publish(store, NAME, views(b"old"))
    reading = store.get(old)
    # When another of the same name is put
    new = blob.publish(store, NAME, views(b"new"))
    # Then both have what they asked for
    assert (bytes(reading), bytes(store.get(new))) == (b"old", b"new")
    with pytest.raises(BlobError, match="don't match their digest"):
        store.get(old)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"ab", "has 2 bytes instead of 3"), (b"abcd", "has 4 bytes instead of 3"), (b"abd", "don't match their digest")],
)
def test_what_was_changed_is_refused(store: LocalBlobs, tmp_path: Path, content: bytes, reason: str) -> None:
    # Given a blob whose file was cut, made longer or changed
    ref = blob.publish(store, NAME, views(b"abc"))
    [path] = (tmp_path / "blobs").iterdir()
    path.write_bytes(content)
    # When it is read, in either way, then it is refused
    with pytest.raises(BlobError, match=reason):
        store.get(ref)
    with pytest.raises(BlobError, match=reason):
        store.get_file(ref, tmp_path / "taken")


def test_a_blob_that_isnt_there_is_told(store: LocalBlobs, tmp_path: Path) -> None:
    ref = blob.describe(NAME, views(b"abc"))
    with pytest.raises(BlobError, match="is missing"):
        store.get(ref)
    with pytest.raises(BlobError, match="is missing"):
        store.get_file(ref, tmp_path / "taken")
    assert not store.has(ref)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", ".."])
def test_no_name_leads_out_of_the_folder(store: LocalBlobs, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.rglob("*"))
    ref = blob.describe(name, views(b"abc"))
    try:
        store.put(ref, views(b"abc"))
    except OSError:
        assert name == ".."
    assert {path.parent for path in set(tmp_path.rglob("*")) - before} <= {tmp_path / "blobs"}


def test_of_a_blob_that_is_on_its_way_what_is_written_is_counted(store: LocalBlobs, tmp_path: Path) -> None:
    # Given a blob, and another that is being written
    blob.publish(store, NAME, views(b"abc"))
    [path] = (tmp_path / "blobs").iterdir()
    path.with_name(f"{path.name}2.17.tmp").write_bytes(b"12345")
    # Then that is how much is there of each
    assert store.num_bytes(NAME, 3) == 3
    assert store.num_bytes(f"{NAME}2", 3) == 5
    assert store.num_bytes(f"{NAME}3", 3) == 0
