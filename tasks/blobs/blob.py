"""Blobs: bytes too large for a message, kept beside the queue under a name, and checked by a digest when read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from tasks.digests import Digest

CHUNK_BYTES: Final = 2097152
"""Two megabytes (2 MiB)."""
MAX_BLOB_BYTES = 2**40
AT_BROKER = "broker"
"""Identity of the store at the broker."""
TTL_S = 24 * 3600
"""Seconds that a blob is kept at the most, should nobody take it out."""


class BlobRef(BaseModel):
    """What a message says of a blob: its name, length in bytes, and BLAKE3 digest in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=512)]
    size_bytes: Annotated[int, Field(ge=1, le=MAX_BLOB_BYTES)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    chunk_bytes: Annotated[Literal[2097152], Field(exclude=True)] = CHUNK_BYTES
    """Said by former versions, whose runs' folders are still read."""

    @property
    def num_chunks(self) -> int:
        """Number of chunks the blob is cut into; all but the last are ``CHUNK_BYTES`` long."""
        return math.ceil(self.size_bytes / CHUNK_BYTES)

    def chunk_names(self) -> list[str]:
        """Names of the chunks, in order."""
        return [chunk_name(self.name, index) for index in range(self.num_chunks)]

    def chunk_sizes(self) -> list[int]:
        """Lengths of the chunks in bytes, in order."""
        last = self.size_bytes - (self.num_chunks - 1) * CHUNK_BYTES
        return [CHUNK_BYTES] * (self.num_chunks - 1) + [last]


class BlobStore(Protocol):
    """Where blobs are kept: in Redis, in a folder that both sides have, or in this process's memory."""

    @property
    def needs_permits(self) -> bool:
        """Whether a client has to wait for a permit to upload, as what is on its way takes memory that all share."""

    @property
    def identity(self) -> str:
        """What tells this store from others, the same for all who use it."""

    def put(self, ref: BlobRef, pieces: Sequence[memoryview]) -> None:
        """Keep the bytes of ``pieces``, one after the other, which ``ref`` describes."""

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep the bytes of a file that never changes, which ``ref`` describes."""

    def get(self, ref: BlobRef) -> memoryview:
        """Return the blob's bytes, checked and read-only.

        Raises:
            BlobError: If it is missing, truncated or not what its digest says.
        """

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return what :meth:`get` returned as memory of its own, read-only for NumPy.

        Whoever writes to it all the same, as PyTorch lets users, changes nothing that others read.
        """

    def take_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with the blob's bytes, checked; the blob itself may be gone then.

        The file is whole whenever the process is killed, or isn't there.

        Raises:
            BlobMissingError: If it is missing.
            BlobError: If it is truncated or not what its digest says; then the file may be anything.
        """

    def has(self, ref: BlobRef) -> bool:
        """Say whether there is a blob of this name."""

    def num_bytes(self, name: str, most_bytes: int) -> int:
        """Return about how much is there of a blob, which may be on its way and isn't longer than ``most_bytes``."""

    def discard(self, names: Iterable[str], most_bytes: int) -> None:
        """Forget the blobs of these names, none of which is longer; those that don't exist are passed over."""

    def discard_matching(self, patterns: Iterable[str]) -> None:
        """Forget all whose names match one of these patterns, in which ``*`` stands for anything."""

    def recycle(self, paths: Iterable[Path]) -> None:
        """Do away with files that nobody reads any more; they may be kept to be written over."""

    def take_spare(self, path: Path, num_bytes: int) -> bool:
        """Make ``path`` a recycled file of this length, with whatever is in it; False if there is none."""


def describe(name: str, pieces: Iterable[memoryview]) -> BlobRef:
    """Return the reference to a blob of the bytes of ``pieces``, one after the other."""
    digest = Digest()
    size_bytes = 0
    for piece in pieces:
        digest.update(piece.cast("B"))
        size_bytes += piece.nbytes
    return BlobRef(name=name, size_bytes=size_bytes, digest=digest.hexdigest())


def publish(store: BlobStore, name: str, pieces: Iterable[memoryview]) -> BlobRef:
    """Put the bytes of ``pieces``, one after the other, into ``store`` and return the reference to them."""
    kept = list(pieces)
    ref = describe(name, kept)
    store.put(ref, kept)
    return ref


def chunk_name(name: str, index: int) -> str:
    """Name of chunk ``index`` (from 0) of the blob ``name``."""
    return f"{name}:{index}"
