from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.blobs import blob
from tasks.blobs.blob import publish
from tasks.blobs.in_files import MAX_SPARE, LocalBlobs, recycle
from tasks.errors import BlobError
from tests.support import added_in_place

NAME = "fl:blob:anna/run/1"
NAMES = (b"anna", b"bert", b"carl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "blobs"
    path.mkdir()
    return path


@pytest.fixture
def store(folder: Path) -> LocalBlobs:
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


def recycled(folder: Path, path: Path) -> None:
    """A file that was written and is needed no more."""
    path.write_bytes(b"former")
    recycle(folder, path)
    assert not path.exists()


def test_a_blob_is_written_over_a_file_that_nobody_needs(store: LocalBlobs, folder: Path, tmp_path: Path) -> None:
    # Given files, shorter and longer than what is to come, that nobody needs any more
    inodes = set()
    for name, content in (("a", b"x" * 3), ("b", b"x" * 1000)):
        (tmp_path / name).write_bytes(content)
        inodes.add((tmp_path / name).stat().st_ino)
        recycle(folder, tmp_path / name)
    # When three blobs are put, then two are in those files, with nothing of what was there, and one in a new file
    refs = [publish(store, name.decode(), views(b"an update of ", name)) for name in NAMES]
    assert [bytes(store.get(ref)) for ref in refs] == [b"an update of " + name for name in NAMES]
    found = [path.stat().st_ino for path in folder.iterdir() if path.is_file()]
    assert len(found) == 3
    assert inodes < set(found)


def test_a_file_that_somebody_else_has_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    # Given a file of two names, when one of them is done away with and a blob is put, then the other is as it was
    (tmp_path / "a").write_bytes(b"former")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    recycle(folder, tmp_path / "a")
    publish(LocalBlobs(folder), "fl:blob:anna/1", [memoryview(b"latter")])
    assert (tmp_path / "b").read_bytes() == b"former"
    assert not (tmp_path / "a").exists()


def test_no_more_files_are_kept_than_are_of_use(folder: Path, tmp_path: Path) -> None:
    # Given more files than that, then those are kept, and without a folder of blobs none
    for number in range(MAX_SPARE + 3):
        recycled(folder, tmp_path / f"{number}")
        recycled(tmp_path / "nowhere", tmp_path / f"{number}")
    assert len(list((folder / ".spare").iterdir())) == MAX_SPARE
    assert not (tmp_path / "nowhere").exists()


def test_two_never_write_over_the_same_file(folder: Path, tmp_path: Path) -> None:
    # Given spare files, fewer than the blobs that are put at once, then each blob has what was put
    for number in range(MAX_SPARE):
        recycled(folder, tmp_path / f"{number}")
    store = LocalBlobs(folder)
    names = [f"fl:blob:{number}/1" for number in range(3 * MAX_SPARE)]
    with ThreadPoolExecutor(8) as threads:
        refs = list(threads.map(lambda name: publish(store, name, [memoryview(name.encode())]), names))
    assert [bytes(store.get(ref)).decode() for ref in refs] == names
