"""Blobs: bytes too large for a message, kept beside the queue in chunks and checked by a digest when read.

Redis caps a value at 512 MB, and holds the whole of a value that is on its way for each who reads it. So a blob is cut
into chunks of two megabytes. They go from the arrays' own memory to the socket and from the socket to their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.chunks import Chunk, ChunkStore, Wanted
from tasks.digests import Digest
from tasks.errors import BlobError

CHUNK_BYTES = 2 * 2**20
MAX_BLOB_BYTES = 2**40
TTL_S = 24 * 3600
"""Seconds that a blob is kept at the most, should nobody take it out."""


class BlobRef(BaseModel):
    """What a message says of a blob: its name, length in bytes, and BLAKE3 digest in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=512)]
    size_bytes: Annotated[int, Field(ge=1, le=MAX_BLOB_BYTES)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    chunk_bytes: Annotated[int, Field(ge=2**16, le=2**28)] = CHUNK_BYTES

    @property
    def num_chunks(self) -> int:
        """Number of chunks the blob is cut into; all but the last are ``chunk_bytes`` long."""
        return math.ceil(self.size_bytes / self.chunk_bytes)

    def chunk_names(self) -> list[str]:
        """Names of the chunks, in order."""
        return [chunk_name(self.name, index) for index in range(self.num_chunks)]

    def chunk_sizes(self) -> list[int]:
        """Lengths of the chunks in bytes, in order."""
        last = self.size_bytes - (self.num_chunks - 1) * self.chunk_bytes
        return [self.chunk_bytes] * (self.num_chunks - 1) + [last]


def describe(name: str, pieces: Iterable[memoryview]) -> BlobRef:
    """Return the reference to a blob of the bytes of ``pieces``, one after the other."""
    digest = Digest()
    size_bytes = 0
    for piece in pieces:
        digest.update(piece.cast("B"))
        size_bytes += piece.nbytes
    return BlobRef(name=name, size_bytes=size_bytes, digest=digest.hexdigest())


def upload(store: ChunkStore, ref: BlobRef, pieces: Iterable[memoryview], ttl_s: int) -> None:
    """Put the bytes of ``pieces``, which ``ref`` describes, into ``store``."""
    chunks = (Chunk(chunk_name(ref.name, index), chunk) for index, chunk in enumerate(_chunks(pieces, ref.chunk_bytes)))
    store.send(chunks, ttl_s)


def publish(store: ChunkStore, name: str, pieces: Iterable[memoryview], ttl_s: int) -> BlobRef:
    """Put the bytes of ``pieces``, one after the other, into ``store`` and return the reference to them."""
    kept = list(pieces)
    ref = describe(name, kept)
    upload(store, ref, kept, ttl_s)
    return ref


def read(store: ChunkStore, ref: BlobRef) -> Iterator[memoryview]:
    """Yield the blob's chunks in order. Only when the last has been taken are they known to be right.

    All are views of the same memory, so that each is to be used before the next is asked for.

    Raises:
        BlobError: If a chunk is missing or of the wrong length, or, at the end, if the digest differs.
    """
    buffer = memoryview(bytearray(min(ref.chunk_bytes, ref.size_bytes)))
    return _receive(store, ref, [buffer[:size] for size in ref.chunk_sizes()])


def fetch(store: ChunkStore, ref: BlobRef) -> memoryview:
    """Return the blob's bytes, checked.

    Raises:
        BlobError: If it is missing, truncated or not what its digest says.
    """
    data = np.empty(ref.size_bytes, np.uint8).data  # not filled with zeros, as all of it is written
    step = ref.chunk_bytes
    for _ in _receive(store, ref, [data[begin : begin + step] for begin in range(0, ref.size_bytes, step)]):
        pass
    return data


def _receive(store: ChunkStore, ref: BlobRef, buffers: Sequence[memoryview]) -> Iterator[memoryview]:
    digest = Digest()
    wanted = [Wanted(name, buffer) for name, buffer in zip(ref.chunk_names(), buffers, strict=True)]
    for index, (want, found) in enumerate(zip(wanted, store.receive(wanted), strict=True)):
        expected = len(want.buffer)
        if found is None:
            raise BlobError(f"blob {ref.name!r}: chunk {index + 1} of {ref.num_chunks} is missing")
        if found != expected:
            raise BlobError(f"blob {ref.name!r}: chunk {index + 1} has {found} bytes instead of {expected}")
        digest.update(want.buffer)
        yield want.buffer
    if digest.hexdigest() != ref.digest:
        raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")


def discard(store: ChunkStore, ref: BlobRef) -> None:
    """Take the blob out of ``store``."""
    store.delete(ref.chunk_names())


def chunk_name(name: str, index: int) -> str:
    """Name of chunk ``index`` (from 0) of the blob ``name``."""
    return f"{name}:{index}"


def _chunks(pieces: Iterable[memoryview], size: int) -> Iterator[list[memoryview]]:
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
