from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.blobs import blob
from tasks.blobs.blob import BlobRef
from tasks.blobs.chunks import MemoryChunks, Wanted, cut_into_chunks
from tasks.errors import BlobError
from tests.support import blob_ref

CHUNK = blob.CHUNK_BYTES


def views(*pieces: bytes) -> list[memoryview]:
    return [memoryview(piece) for piece in pieces]


def content(size_bytes: int) -> bytes:
    return (bytes(range(251)) * (size_bytes // 251 + 1))[:size_bytes]


def stored(data: bytes) -> tuple[MemoryChunks, BlobRef]:
    """Data in chunks of ``CHUNK`` bytes, put there by hand."""
    store = MemoryChunks()
    for index, begin in enumerate(range(0, len(data), CHUNK)):
        store.chunks[f"b:{index}"] = data[begin : begin + CHUNK]
    digest = blake3(data).hexdigest()
    return store, BlobRef(name="b", size_bytes=len(data), digest=digest)


@given(pieces=st.lists(st.binary(max_size=20), max_size=8), size=st.integers(1, 9))
def test_chunks_are_the_pieces_laid_end_to_end_and_all_but_the_last_are_full(pieces: list[bytes], size: int) -> None:
    # Given pieces of any length
    # When they are cut into chunks
    chunks = [b"".join(chunk) for chunk in cut_into_chunks(views(*pieces), size)]
    # Then nothing is lost, and no chunk is empty or longer than it may be
    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= size for chunk in chunks)


def test_pieces_of_five_three_and_two_bytes_are_chunks_of_four_four_and_two() -> None:
    # Given three pieces, when they are cut every four bytes, then a chunk may hold the end of one and another's start
    chunks = [b"".join(chunk) for chunk in cut_into_chunks(views(b"abcde", b"fgh", b"ij"), 4)]
    assert chunks == [b"abcd", b"efgh", b"ij"]


def test_chunks_are_the_pieces_own_memory() -> None:
    # Given two pieces of ten bytes and five
    pieces = [np.arange(10, dtype=np.uint8), np.arange(5, dtype=np.uint8)]
    # When they are cut every four
    chunks = [
        [np.frombuffer(view, np.uint8) for view in chunk] for chunk in cut_into_chunks([p.data for p in pieces], 4)
    ]
    # Then nothing is copied, where a chunk holds the end of one and another's start neither
    assert [[view.tolist() for view in chunk] for chunk in chunks] == [
        [[0, 1, 2, 3]],
        [[4, 5, 6, 7]],
        [[8, 9], [0, 1]],
        [[2, 3, 4]],
    ]
    assert all(np.shares_memory(view, pieces[0]) or np.shares_memory(view, pieces[1]) for c in chunks for view in c)


def test_pieces_that_are_no_bytes_are_taken_as_bytes() -> None:
    # Given the memory of two float32 numbers, when it is cut every four bytes, then there is a chunk for each
    values = np.array([1, 2], np.float32)
    assert [b"".join(chunk) for chunk in cut_into_chunks([values.data], 4)] == [b"\0\0\x80\x3f", b"\0\0\0\x40"]


@given(pieces=st.lists(st.binary(max_size=50), min_size=1, max_size=5).filter(any))
def test_what_is_published_is_fetched(pieces: list[bytes]) -> None:
    # Given pieces with at least a byte
    store = MemoryChunks()
    # When they are published
    ref = blob.publish(store, "b", views(*pieces))
    # Then the reference is right, and what is fetched is the same
    data = b"".join(pieces)
    assert ref == BlobRef(name="b", size_bytes=len(data), digest=blake3(data).hexdigest())
    assert store.get(ref) == data


@settings(max_examples=40)
@given(
    size_bytes=st.sampled_from([1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 5 * CHUNK])
    | st.integers(1, 5 * CHUNK)
)
def test_blobs_of_any_number_of_chunks_are_fetched(size_bytes: int) -> None:
    # Given a blob in chunks
    store, ref = stored(content(size_bytes))
    # When it is fetched, then it is whole
    assert ref.num_chunks == len(store.chunks)
    assert store.get(ref) == content(size_bytes)


def test_a_blob_of_one_byte_more_than_two_chunks_is_three_chunks_of_2_mib_and_one_byte() -> None:
    # Given pieces that end within chunks
    data = content(4 * 2**20 + 1)
    store = MemoryChunks()
    # When they are published
    ref = blob.publish(store, "fl:blob:model/run/3", views(data[:7], data[7 : 3 * 2**20], data[3 * 2**20 :]))
    # Then
    assert {name: len(chunk) for name, chunk in store.chunks.items()} == {
        "fl:blob:model/run/3:0": 2_097_152,
        "fl:blob:model/run/3:1": 2_097_152,
        "fl:blob:model/run/3:2": 1,
    }
    assert ref.chunk_names() == list(store.chunks)
    assert ref.chunk_sizes() == [2_097_152, 2_097_152, 1]
    assert store.get(ref) == data


def test_a_blob_is_made_a_file_with_the_memory_of_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a blob of three chunks
    store, ref = stored(content(2 * CHUNK + 5))
    # When it is made a file
    buffers: list[memoryview] = []
    receive = store.receive

    def watched(wanted: Sequence[Wanted]) -> Iterator[int | None]:
        buffers.extend(want.buffer for want in wanted)
        return receive(wanted)

    monkeypatch.setattr(store, "receive", watched)
    store.take_file(ref, tmp_path / "file")
    # Then it is whole, and took the memory of one chunk
    assert (tmp_path / "file").read_bytes() == content(2 * CHUNK + 5)
    views = [np.frombuffer(buffer, np.uint8) for buffer in buffers]
    assert [len(view) for view in views] == [CHUNK, CHUNK, 5]
    assert all(np.shares_memory(views[0], view) for view in views)


@pytest.mark.parametrize(
    ("number", "num_bytes", "message"),
    [
        (1, None, "blob 'b': chunk 2 of 3 is missing"),
        (0, 1, "chunk 1 has 1 bytes instead of 2097152"),
        (0, CHUNK - 1, "chunk 1 has 2097151 bytes instead of 2097152"),
        (0, CHUNK + 1, "chunk 1 has 2097153 bytes instead of 2097152"),
        (0, 2 * CHUNK, "chunk 1 has 4194304 bytes instead of 2097152"),
        (2, 4, "chunk 3 has 4 bytes instead of 5"),
        (2, 6, "chunk 3 has 6 bytes instead of 5"),
    ],
)
def test_a_chunk_that_is_missing_or_of_another_length_is_told_by_its_number(
    number: int, num_bytes: int | None, message: str
) -> None:
    # Given a blob of two chunks and five bytes, one of which is gone, too short or too long
    store, ref = stored(content(2 * CHUNK + 5))
    if num_bytes is None:
        store.delete([f"b:{number}"])
    else:
        store.chunks[f"b:{number}"] = content(num_bytes)
    # When it is fetched, then the message says so
    with pytest.raises(BlobError, match=message):
        store.get(ref)


@settings(max_examples=25)
@given(position=st.integers(0, 2 * CHUNK + 4), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(position: int, bit: int) -> None:
    # Given a blob with one bit that is not as it was
    store, ref = stored(content(2 * CHUNK + 5))
    damaged = bytearray(store.chunks[f"b:{position // CHUNK}"])
    damaged[position % CHUNK] ^= 1 << bit
    store.chunks[f"b:{position // CHUNK}"] = bytes(damaged)
    # When it is fetched, then the digest tells
    with pytest.raises(BlobError, match="don't match their digest"):
        store.get(ref)


def test_a_discarded_blob_leaves_nothing_behind_and_others_alone() -> None:
    # Given two blobs, one of them of three chunks
    store = MemoryChunks()
    ref = blob.publish(store, "b", views(content(2 * blob.CHUNK_BYTES + 1)))
    other = blob.publish(store, "other", views(b"abc"))
    # When one is discarded, twice
    store.discard([ref.name], ref.size_bytes)
    store.discard([ref.name], ref.size_bytes)
    # Then the other is all that there is
    assert store.chunks == {"other:0": b"abc"}
    store.discard([other.name], other.size_bytes)
    assert store.chunks == {}


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 513},
        {"size_bytes": 0},
        {"size_bytes": -1},
        {"size_bytes": 2**40 + 1},
        {"size_bytes": 1.0},
        {"size_bytes": "1"},
        {"size_bytes": True},
        {"digest": "0" * 63},
        {"digest": "0" * 65},
        {"digest": "0" * 64 + "\n"},
        {"digest": "A" * 64},
        {"chunk_bytes": 0},
        {"chunk_bytes": CHUNK - 1},
        {"chunk_bytes": CHUNK + 1},
        {"more": 1},
    ],
)
def test_a_reference_with_anything_out_of_range_is_refused(change: dict[str, Any]) -> None:
    # Given a reference with one value that it can't have, when it is made, then it is refused
    with pytest.raises(ValidationError, match="1 validation error"):
        blob_ref(**change)


def test_a_reference_of_a_former_version_is_read() -> None:
    # Given a reference that says how long its chunks are, as it stands in the folders of runs
    said = {**blob_ref().model_dump(), "chunk_bytes": 2_097_152}
    # When it is read, then it is the same without
    assert BlobRef.model_validate(said) == blob_ref()
    assert "chunk_bytes" not in BlobRef.model_validate(said).model_dump_json()
