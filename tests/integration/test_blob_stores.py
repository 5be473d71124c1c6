"""What every store of blobs does: in memory, in files, at a real Redis, and in a bucket of a real object store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tasks.arrays import Array
from tasks.blobs.blob import CHUNK_BYTES, BlobStore, describe, publish
from tasks.blobs.chunks import MemoryChunks
from tasks.blobs.in_files import linked_url
from tasks.blobs.in_s3 import PART_BYTES
from tasks.blobs.stores import open_store
from tasks.errors import BlobError
from tests.integration import harness
from tests.integration.object_store import object_store
from tests.support import added_in_place

NAME = "fl:blob:update/anna/run/1"
SIZES = (1, CHUNK_BYTES, CHUNK_BYTES + 1, PART_BYTES, 2 * PART_BYTES + 7)


def _in_memory(tmp_path: Path, ending: ExitStack) -> BlobStore:
    return MemoryChunks()


def _in_files(tmp_path: Path, ending: ExitStack) -> BlobStore:
    return open_store(tmp_path.as_uri())


def _linked(tmp_path: Path, ending: ExitStack) -> BlobStore:
    return open_store(linked_url(tmp_path))


def _in_redis(tmp_path: Path, ending: ExitStack) -> BlobStore:
    return open_store(harness.url(ending.enter_context(harness.server()).client))


def _in_bucket(tmp_path: Path, ending: ExitStack) -> BlobStore:
    server = ending.enter_context(object_store(tmp_path))
    patch = ending.enter_context(pytest.MonkeyPatch.context())
    for name, value in server.environment.items():
        patch.setenv(name, value)
    return open_store(server.url("some/where"))


KINDS: Mapping[str, Callable[[Path, ExitStack], BlobStore]] = {
    "memory": _in_memory,
    "files": _in_files,
    "links": _linked,
    "redis": _in_redis,
    "s3": _in_bucket,
}


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobStore]:
    """A store of each kind, which all tests use: each leaves nothing there."""
    with ExitStack() as ending:
        yield KINDS[request.param](tmp_path_factory.mktemp("blobs"), ending)


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_what_is_put_is_got_and_is_the_same(store: BlobStore, tmp_path: Path, size_bytes: int) -> None:
    # Given bytes in pieces, an empty one among them
    data = os.urandom(size_bytes)
    ref = publish(store, NAME, views(data[: size_bytes // 3], b"", data[size_bytes // 3 :]))
    assert store.has(ref)
    assert store.num_bytes(NAME, size_bytes) >= size_bytes
    # When they are got into memory, and taken as a file
    got = store.get(ref)
    store.take_file(ref, tmp_path / "file")
    # Then they are the same, and nobody can write to them
    assert bytes(got) == data
    assert got.readonly
    assert (tmp_path / "file").read_bytes() == data
    store.discard([NAME], size_bytes)


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_file_that_is_put_is_got(store: BlobStore, tmp_path: Path, size_bytes: int) -> None:
    # Given a file, when it is put, then its bytes are got
    data = os.urandom(size_bytes)
    (tmp_path / "model").write_bytes(data)
    ref = describe("fl:blob:model/run/1", views(data))
    store.put_file(ref, tmp_path / "model")
    assert bytes(store.get(ref)) == data
    store.discard([ref.name], size_bytes)


def test_arrays_of_any_kind_are_put_as_their_bytes(store: BlobStore) -> None:
    # Given arrays of numbers, one without any
    arrays: list[Array] = [np.arange(5, dtype=np.float32), np.zeros((0, 3)), np.ones((2, 2), np.int64)]
    # When they are put, then their bytes are got, one after the other
    ref = publish(store, NAME, [array.data for array in arrays if array.size])
    assert bytes(store.get(ref)) == b"".join(array.tobytes() for array in arrays)
    store.discard([NAME], ref.size_bytes)


def test_the_last_that_was_put_under_a_name_is_there(store: BlobStore) -> None:
    # Given a blob, when another is put under its name, then that one is got
    former = publish(store, NAME, views(b"former"))
    latter = publish(store, NAME, views(b"latter"))
    assert bytes(store.get(latter)) == b"latter"
    with pytest.raises(BlobError, match="don't match their digest"):
        store.get(former)
    store.discard([NAME], 6)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"ab", "has 2 bytes instead of 3"), (b"abcd", "has 4 bytes instead of 3"), (b"abd", "don't match their digest")],
)
def test_what_isnt_as_it_is_said_to_be_is_refused(store: BlobStore, tmp_path: Path, data: bytes, reason: str) -> None:
    # Given a blob that is shorter, longer or another than a message says
    store.put(describe(NAME, views(data)), views(data))
    ref = describe(NAME, views(b"abc"))
    # When it is read, in either way, then it is refused
    with pytest.raises(BlobError, match=reason):
        store.get(ref)
    with pytest.raises(BlobError, match=reason):
        store.take_file(ref, tmp_path / "file")
    store.discard([NAME], 4)


def test_a_blob_that_isnt_there_is_missing(store: BlobStore, tmp_path: Path) -> None:
    # Given the name of no blob, then reading it says so, and nothing is there
    ref = describe("fl:blob:update/nobody/run/1", views(b"abc"))
    with pytest.raises(BlobError, match="is missing"):
        store.get(ref)
    with pytest.raises(BlobError, match="is missing"):
        store.take_file(ref, tmp_path / "file")
    assert not store.has(ref)
    assert store.num_bytes(ref.name, 3) == 0


def test_what_is_discarded_is_gone_and_all_else_stays(store: BlobStore) -> None:
    # Given two blobs, when one is discarded twice, with one that was never there, then the other stays
    gone, kept = publish(store, NAME, views(b"abc")), publish(store, f"{NAME}/survey", views(b"abc"))
    for _ in range(2):
        store.discard([gone.name, "fl:blob:never/there"], 3)
    store.discard([], 3)
    assert (store.has(gone), store.has(kept)) == (False, True)
    store.discard([kept.name], 3)


def test_what_a_run_has_left_is_found_by_its_patterns(store: BlobStore) -> None:
    # Given blobs of two runs, of more than a server lists at a time
    names = ["fl:blob:model/{}/3", *(f"fl:blob:update/client-{number}/{{}}/1" for number in range(600))]
    refs = {run: [publish(store, name.format(run), views(b"x")) for name in names] for run in ("run", "other")}
    # When those of one are discarded, then those of the other stay
    store.discard_matching(["fl:blob:model/run/*", "fl:blob:update/*/run/*"])
    assert not any(store.has(ref) for ref in refs["run"])
    assert all(store.has(ref) for ref in refs["other"])
    store.discard_matching(["fl:blob:*"])
    assert not any(store.has(ref) for ref in refs["other"])


def test_memory_of_its_own_is_nobody_else_s(store: BlobStore) -> None:
    # Given a blob that was got
    values = np.zeros(1000, np.float32)
    ref = publish(store, NAME, [values.data])
    got = store.get(ref)
    # When somebody writes to memory of its own all the same, then what was got is as it was
    own = np.frombuffer(store.own(ref, got), np.float32)
    assert not own.flags.writeable
    added_in_place(own)
    assert (own[0], np.frombuffer(got, np.float32).max()) == (1, 0)
    store.discard([NAME], ref.size_bytes)


def test_a_file_that_is_done_with_goes(store: BlobStore, tmp_path: Path) -> None:
    # Given a file that nobody reads any more, when it is recycled, then it isn't where it was
    (tmp_path / "former").write_bytes(b"abc")
    store.recycle([tmp_path / "former"])
    assert not (tmp_path / "former").exists()


def test_only_what_takes_the_broker_s_memory_needs_permits(request: pytest.FixtureRequest, store: BlobStore) -> None:
    # Given a store, then uploads need permits at the broker alone, and every store says which it is
    kind = request.node.callspec.params["store"]
    assert store.needs_permits == (kind == "redis")
    beginning = {"memory": "broker", "redis": "broker", "files": "file:", "links": "file:", "s3": "s3:"}[kind]
    assert store.identity.startswith(beginning)
