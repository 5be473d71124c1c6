"""Blobs in a folder that both sides have, where all of them are on one machine: nothing is carried at all.

A checkpoint is published as a link to its file, and read as a memory map; an update is written once, by its client, and
taken in by a link. It is written over a file that nobody needs any more, if there is one: that takes half as long as a
new file, whose memory the system has to find first.
"""

from __future__ import annotations

import contextlib
import glob
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from tasks.blobs.blob import BlobRef
from tasks.digests import Digest
from tasks.errors import BlobError
from tasks.files import link_or_copy, replacing

_MAX_PIECES = 512
"""Pieces that are written by one call; systems allow 1024."""
MAX_SPARE = 16
"""Files that are kept to be written over: about as many as are on their way at a time."""
_SPARE = ".spare"


class LocalBlobs:
    """Blobs in files, which don't expire: see :class:`tasks.blobs.blob.BlobStore`.

    Args:
        folder: The folder. Links to what lies on its file system are free.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, ref: BlobRef, pieces: Sequence[memoryview]) -> None:
        """Keep the bytes of ``pieces``, one after the other, which ``ref`` describes."""
        with replacing(self._path(ref.name), durable=False) as temporary:
            mode = "r+b" if _take_spare(self._folder, temporary) else "wb"
            with temporary.open(mode, buffering=0) as file:
                for start in range(0, len(pieces), _MAX_PIECES):
                    _write(file.fileno(), pieces[start : start + _MAX_PIECES])
                file.truncate()

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep the bytes of a file that never changes, which ``ref`` describes."""
        link_or_copy(path, self._path(ref.name))

    def get(self, ref: BlobRef) -> memoryview:
        """Return a map of the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        data = self._map(ref)
        if Digest(data).hexdigest() != ref.digest:
            raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")
        return data

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return another map of the file, of which the system copies what is written to; a copy if the file is gone."""
        try:
            return self._map(ref)
        except BlobError:
            return memoryview(bytes(data))

    def get_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a link to the blob's file, checked; see :class:`tasks.blobs.blob.BlobStore`."""
        self.get(ref)
        link_or_copy(self._path(ref.name), path)

    def has(self, ref: BlobRef) -> bool:
        """Say whether there is a blob of this name."""
        return self._path(ref.name).exists()

    def num_bytes(self, name: str, most_bytes: int) -> int:
        """Return how much is there of a blob, which may be on its way."""
        path, num_bytes = self._path(name), 0
        for part in (path, *path.parent.glob(f"{glob.escape(path.name)}.*.tmp")):
            with contextlib.suppress(FileNotFoundError):
                num_bytes += part.stat().st_size
        return num_bytes

    def discard(self, names: Iterable[str], most_bytes: int) -> None:
        """Forget the blobs of these names; those that don't exist are passed over."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _map(self, ref: BlobRef) -> memoryview:
        try:
            with self._path(ref.name).open("rb") as file:
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes != ref.size_bytes:
                    raise BlobError(f"blob {ref.name!r} has {size_bytes} bytes instead of {ref.size_bytes}")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()
        except OSError as error:
            raise BlobError(f"blob {ref.name!r} is missing: {error}") from None

    def _path(self, name: str) -> Path:
        return self._folder / quote(name, safe="")


def recycle(folder: Path, path: Path) -> None:
    """Do away with a file that nobody reads any more; in a folder of blobs it is kept for an update to come."""
    with contextlib.suppress(OSError):  # to keep it is no more than an advantage
        spare = folder / _SPARE
        if folder.is_dir() and path.stat().st_nlink == 1 and len(_files(spare)) < MAX_SPARE:
            spare.mkdir(exist_ok=True)
            path.replace(spare / path.name)
    path.unlink(missing_ok=True)


def _take_spare(folder: Path, path: Path) -> bool:
    """Make ``path`` a file that was kept, with whatever is in it; False if there is none."""
    for spare in _files(folder / _SPARE):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            spare.rename(path)
            return True
    return False


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def _write(number: int, pieces: Sequence[memoryview]) -> None:
    """Write all of ``pieces``; one call may write less than it is asked to."""
    left = [piece.cast("B") for piece in pieces if piece.nbytes]
    while left:
        num_bytes = os.writev(number, left)
        while left and num_bytes >= len(left[0]):
            num_bytes -= len(left.pop(0))
        if num_bytes:
            left[0] = left[0][num_bytes:]
