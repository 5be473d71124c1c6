"""Chunks: the pieces that a blob is kept in, and where they are kept.

A store is Redis (:mod:`tasks.redis_chunks`), or this process's memory in eager mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


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


class ChunkStore(Protocol):
    """Where chunks are kept."""

    def send(self, chunks: Iterable[Chunk], ttl_s: int) -> None:
        """Keep chunks under their names for ``ttl_s`` seconds."""
        ...

    def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
        """Fill the buffers, one after the other, and yield how long each chunk is; None: there is none.

        A buffer is filled when its chunk's turn comes, so that all may be the same memory. Of a chunk that is not as
        long as its buffer, nothing more is read.
        """
        ...

    def has(self, name: str) -> bool:
        """Say whether there is a chunk of this name."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names; those that don't exist are passed over."""
        ...


class MemoryChunks:
    """Chunks in this process's memory; they don't expire."""

    def __init__(self) -> None:
        self.chunks: dict[str, bytes] = {}

    def send(self, chunks: Iterable[Chunk], ttl_s: int) -> None:
        """Keep copies of the chunks."""
        for chunk in chunks:
            self.chunks[chunk.name] = b"".join(chunk.pieces)

    def receive(self, wanted: Sequence[Wanted]) -> Iterator[int | None]:
        """Fill the buffers; see :class:`ChunkStore`."""
        for want in wanted:
            chunk = self.chunks.get(want.name)
            if chunk is not None and len(chunk) == len(want.buffer):
                want.buffer[:] = chunk
            yield None if chunk is None else len(chunk)

    def has(self, name: str) -> bool:
        """Say whether there is a chunk of this name."""
        return name in self.chunks

    def delete(self, names: Iterable[str]) -> None:
        """Forget the chunks of these names."""
        for name in names:
            self.chunks.pop(name, None)
