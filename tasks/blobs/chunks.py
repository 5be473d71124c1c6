"""Blobs in chunks: Redis caps a value at 512 MB, and holds the whole of one that is on its way for each who reads it.

So a blob is cut into chunks of two megabytes, a key each. They go from the arrays' own memory to the store and from
there to their place, without a copy between.
"""

from __future__ import annotations

import fnmatch
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.blobs.blob import AT_BROKER, CHUNK_BYTES, BlobRef, chunk_name
from tasks.digests import Digest
from tasks.errors import BlobError, BlobMissingError
from tasks.files import replacing


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk on its way to a store: the memory that it is made of, laid end to end, which isn't copied."""

    name: str
    pieces: Sequence[memoryview]

    @property
    def size_bytes(self) -> int:
        """Its length."""
        return sum(len(piece) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A chunk that is asked for, and the memory of just its length that it is to be put into."""

    name: str
    buffer: memoryview


class ChunkedBlobs(ABC):
    """A store of blobs in chunks: see :class:`tasks.blobs.blob.BlobStore`."""

    needs_permits = True
    identity = AT_BROKER

    @abstractmethod
    def send(self, chunks: Iterable[Chunk]) -> None:
        """Keep chunks under their names for ``TTL_S`` seconds."""

    @abstractmethod
    def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
        """Fill the buffers, one after the other, and yield how long each chunk is; None: there is none.

        A buffer is filled when its chunk's turn comes, so that all may be the same memory. Of a chunk that is not as
        long as its buffer, nothing more is read.
        """

    @abstractmethod
    def has_chunk(self, name: str) -> bool:
        """Say whether there is a chunk of this name."""

    @abstractmethod
    def count(self, names: Sequence[str]) -> int:
        """Return how many chunks there are of these names."""

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names; those that don't exist are passed over."""

    @abstractmethod
    def find(self, pattern: str) -> Iterator[str]:
        """Yield the names of chunks that match a pattern, in which ``*`` stands for anything."""

    def put(self, ref: BlobRef, pieces: Sequence[memoryview]) -> None:
        """Keep the bytes of ``pieces``, one after the other, which ``ref`` describes."""
        cut = enumerate(cut_into_chunks(pieces, CHUNK_BYTES))
        self.send(Chunk(chunk_name(ref.name, index), chunk) for index, chunk in cut)

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep the bytes of a file, which ``ref`` describes."""
        with path.open("rb") as file:
            self.put(ref, [memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))])

    def get(self, ref: BlobRef) -> memoryview:
        """Return the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        data = np.empty(ref.size_bytes, np.uint8).data  # not filled with zeros, as all of it is written
        starts = range(0, ref.size_bytes, CHUNK_BYTES)
        for _ in self._received(ref, [data[start : start + CHUNK_BYTES] for start in starts]):
            pass
        return data.toreadonly()

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return a copy."""
        copy = np.empty(len(data), np.uint8).data
        copy[:] = data
        return copy.toreadonly()

    def take_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with the blob's bytes, checked; no more than one chunk is in memory. The blob stays."""
        buffer = memoryview(bytearray(min(CHUNK_BYTES, ref.size_bytes)))
        with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
            for chunk in self._received(ref, [buffer[:size] for size in ref.chunk_sizes()]):
                file.write(chunk)

    def has(self, ref: BlobRef) -> bool:
        """Say whether there is a blob of this name."""
        return self.has_chunk(chunk_name(ref.name, 0))

    def num_bytes(self, name: str, most_bytes: int) -> int:
        """Return how much is there of a blob, in whole chunks, which isn't longer than ``most_bytes``."""
        return CHUNK_BYTES * self.count([chunk_name(name, index) for index in range(-(-most_bytes // CHUNK_BYTES))])

    def discard(self, names: Iterable[str], most_bytes: int) -> None:
        """Forget the blobs of these names, none of which is longer; those that don't exist are passed over."""
        num_chunks = -(-most_bytes // CHUNK_BYTES)
        self.delete(chunk_name(name, index) for name in names for index in range(num_chunks))

    def discard_matching(self, patterns: Iterable[str]) -> None:
        """Forget all whose names match one of these patterns, in which ``*`` stands for anything."""
        for pattern in patterns:
            self.delete(self.find(pattern))

    def recycle(self, paths: Iterable[Path]) -> None:
        """Remove files that nobody reads any more."""
        for path in paths:
            path.unlink(missing_ok=True)

    def take_spare(self, path: Path, num_bytes: int) -> bool:
        """Return False: none is kept."""
        return False

    def _received(self, ref: BlobRef, buffers: Sequence[memoryview]) -> Iterator[memoryview]:
        """Yield the blob's chunks in order. Only when the last has been taken are they known to be right."""
        digest = Digest()
        wanted = [Wanted(name, buffer) for name, buffer in zip(ref.chunk_names(), buffers, strict=True)]
        for index, (want, found) in enumerate(zip(wanted, self.receive(wanted), strict=True)):
            expected = len(want.buffer)
            if found is None:
                raise BlobMissingError(f"blob {ref.name!r}: chunk {index + 1} of {ref.num_chunks} is missing")
            if found != expected:
                raise BlobError(f"blob {ref.name!r}: chunk {index + 1} has {found} bytes instead of {expected}")
            digest.update(want.buffer)
            yield want.buffer
        if digest.hexdigest() != ref.digest:
            raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")


class MemoryChunks(ChunkedBlobs):
    """Chunks in this process's memory; they don't expire."""

    needs_permits = False

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}

    def send(self, chunks: Iterable[Chunk]) -> None:
        """Keep copies of the chunks."""
        for chunk in chunks:
            self.chunks[chunk.name] = b"".join(chunk.pieces)

    def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
        """Fill the buffers; see :class:`ChunkedBlobs`."""
        for want in wanted:
            chunk = self.chunks.get(want.name)
            if chunk is not None and len(chunk) == len(want.buffer):
                want.buffer[:] = chunk
            yield None if chunk is None else len(chunk)

    def has_chunk(self, name: str) -> bool:
        """Say whether there is a chunk of this name."""
        return name in self.chunks

    def count(self, names: Sequence[str]) -> int:
        """Return how many chunks there are of these names."""
        return len(self.chunks.keys() & names)

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names."""
        for name in names:
            self.chunks.pop(name, None)

    def find(self, pattern: str) -> Iterator[str]:
        """Yield the names of chunks that match a pattern."""
        yield from fnmatch.filter(list(self.chunks), pattern)


def cut_into_chunks(pieces: Iterable[memoryview], size: int) -> Iterator[list[memoryview]]:
    """Cut ``pieces``, laid end to end, into chunks of ``size`` bytes, each a list of views: nothing is copied."""
    chunk: list[memoryview] = []
    missing = size
    for piece in pieces:
        view = piece.cast("B")
        while len(view):
            chunk.append(view[:missing])
            missing -= len(chunk[-1])
            view = view[len(chunk[-1]) :]
            if not missing:
                yield chunk
                chunk, missing = [], size
    if chunk:
        yield chunk
