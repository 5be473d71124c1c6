"""Blobs: bytes too large for a message, kept beside the queue in chunks and checked by a digest when read.

Redis caps a value at 512 MB and reads a value whole, so a blob is cut into chunks of a few megabytes, and neither
side holds more than one chunk beside the arrays themselves.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field
from redis import Redis
from redis.exceptions import ResponseError

from tasks.errors import BlobError

CHUNK_BYTES = 8 * 2**20
MAX_BLOB_BYTES = 2**40
TTL_S = 24 * 3600
"""Seconds that a blob is kept at the most, should nobody take it out."""
MAX_IDLE_S = 1.0
"""Seconds after which a connection that carries chunks isn't used again."""


class BlobRef(BaseModel):
    """What a message says of a blob: its name, length in bytes, and SHA-256 in hexadecimal."""

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


class ChunkStore(Protocol):
    """Where chunks are kept: Redis, or this process's memory in eager mode."""

    def set(self, name: str, chunk: memoryview, ttl_s: int) -> None:
        """Keep ``chunk`` under ``name`` for ``ttl_s`` seconds."""
        ...

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """Return the chunk kept under ``name``, or None; of one that is longer, no more than ``max_bytes`` and one."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names; those that don't exist are passed over."""
        ...


class RedisChunks:
    """Chunks in Redis, a key each.

    Args:
        client: A client for the Redis, with a timeout that is long enough for a chunk on a slow line.
        clock: Seconds that only go up.
    """

    def __init__(self, client: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._clock = clock
        self._last_used = -math.inf

    @property
    def _client(self) -> Redis:
        """The client, on a new connection if the last one wasn't used for a while.

        While a client trains, the network may be cut and joined again, and its connection be dead without anybody
        having said so. To find out would take the whole timeout.
        """
        if self._clock() - self._last_used > MAX_IDLE_S:
            self._redis.connection_pool.disconnect(inuse_connections=False)
        self._last_used = self._clock()
        return self._redis

    def set(self, name: str, chunk: memoryview, ttl_s: int) -> None:
        """Keep ``chunk`` under ``name`` for ``ttl_s`` seconds."""
        self._client.set(name, chunk, ex=ttl_s)

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """Return the chunk kept under ``name``, or None; of one that is longer, no more than ``max_bytes`` and one."""
        try:
            value: bytes = self._client.getrange(name, 0, max_bytes)  # type: ignore[assignment]  # no decoding
        except ResponseError as error:  # whoever put it there put something else than a string
            raise BlobError(f"chunk {name!r} can't be read: {error}") from None
        return value or None

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names."""
        keys = list(names)
        if keys:
            self._client.unlink(*keys)


class MemoryChunks:
    """Chunks in this process's memory; they don't expire."""

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}

    def set(self, name: str, chunk: memoryview, ttl_s: int) -> None:
        """Keep a copy of ``chunk`` under ``name``."""
        self.chunks[name] = bytes(chunk)

    def get(self, name: str, max_bytes: int) -> bytes | None:
        """Return the chunk kept under ``name``, or None; of one that is longer, no more than ``max_bytes`` and one."""
        chunk = self.chunks.get(name)
        return chunk[: max_bytes + 1] if chunk else None

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names."""
        for name in names:
            self.chunks.pop(name, None)


def publish(store: ChunkStore, name: str, pieces: Iterable[memoryview], ttl_s: int) -> BlobRef:
    """Put the bytes of ``pieces``, one after the other, into ``store`` and return the reference to them."""
    digest = hashlib.sha256()
    size_bytes = 0
    for index, chunk in enumerate(_chunks(pieces, CHUNK_BYTES)):
        digest.update(chunk)
        size_bytes += len(chunk)
        store.set(chunk_name(name, index), chunk, ttl_s)
    return BlobRef(name=name, size_bytes=size_bytes, digest=digest.hexdigest(), chunk_bytes=CHUNK_BYTES)


def read(store: ChunkStore, ref: BlobRef) -> Iterator[bytes]:
    """Yield the blob's chunks in order. Only when the last has been taken are they known to be right.

    Raises:
        BlobError: If a chunk is missing or of the wrong length, or, at the end, if the digest differs.
    """
    digest = hashlib.sha256()
    left = ref.size_bytes
    for index, name in enumerate(ref.chunk_names()):
        expected = min(ref.chunk_bytes, left)
        chunk = store.get(name, expected)
        if chunk is None:
            raise BlobError(f"blob {ref.name!r}: chunk {index + 1} of {ref.num_chunks} is missing")
        if len(chunk) != expected:
            length = f"{len(chunk)} bytes" if len(chunk) < expected else "more bytes"
            raise BlobError(f"blob {ref.name!r}: chunk {index + 1} has {length} instead of {expected}")
        digest.update(chunk)
        left -= expected
        yield chunk
    if digest.hexdigest() != ref.digest:
        raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")


def fetch(store: ChunkStore, ref: BlobRef) -> bytearray:
    """Return the blob's bytes, checked.

    Raises:
        BlobError: If it is missing, truncated or not what its digest says.
    """
    data = bytearray(ref.size_bytes)
    position = 0
    for chunk in read(store, ref):
        data[position : position + len(chunk)] = chunk
        position += len(chunk)
    return data


def discard(store: ChunkStore, ref: BlobRef) -> None:
    """Take the blob out of ``store``."""
    store.delete(ref.chunk_names())


def chunk_name(name: str, index: int) -> str:
    """Name of chunk ``index`` (from 0) of the blob ``name``."""
    return f"{name}:{index}"


def _chunks(pieces: Iterable[memoryview], size: int) -> Iterator[memoryview]:
    """Cut ``pieces``, laid end to end, into chunks of ``size`` bytes; what lies within one piece isn't copied."""
    pending = bytearray()
    for piece in pieces:
        view = piece.cast("B") if piece.format != "B" else piece
        while len(view):
            if not pending and len(view) >= size:
                yield view[:size]
                view = view[size:]
                continue
            take = min(size - len(pending), len(view))
            pending += view[:take]
            view = view[take:]
            if len(pending) == size:
                yield memoryview(pending)
                pending = bytearray()
    if pending:
        yield memoryview(pending)
