"""The global model as the clients of one process share it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tasks.blobs.blob import BlobRef, BlobStore
from tasks.files import link_or_copy, replacing
from worker.local_training import Fetched


class Models:
    """What the clients of one process share: the global model, and what is sent along with it, read once a round.

    The orders of a round that has two exchanges share it too.

    Args:
        are_shared: Whether the process serves more than one client.
    """

    def __init__(self, *, are_shared: bool = False) -> None:
        self.are_shared = are_shared
        self._latest: dict[str, tuple[str, Fetched]] = {}
        self._kept: tuple[str, Path, tuple[int, ...]] | None = None
        """Digest of the model that was written last, its file, and what tells that from another of its name."""

    def get(self, kind: str, digest: str, fetch: Callable[[], Fetched]) -> Fetched:
        """Return what is known by ``digest``: what was fetched last, or else what ``fetch`` returns.

        Of each kind the last are kept, and let go before others are fetched, so that memory holds one of each.
        """
        found = self._latest.get(kind)
        if found is not None and found[0] == digest:
            return found[1]
        found = None
        self._latest.pop(kind, None)
        fetched = fetch()
        self._latest[kind] = digest, fetched
        return fetched

    def write(self, blobs: BlobStore, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with a blob, whole or not at all; clients that are given the same share its bytes.

        A hard link is as good as a copy here, as a model's file is never changed, only replaced. So the farewell to a
        hundred clients reads and writes the model once a pool process.
        """
        with replacing(path) as temporary:
            with suppress(OSError):  # nobody knows what became of that file
                if self._kept is not None and self._kept == (ref.digest, kept := self._kept[1], _mark(kept)):
                    link_or_copy(kept, temporary)
                    return
            temporary.write_bytes(blobs.get(ref))
        self._kept = ref.digest, path, _mark(path)


def _mark(path: Path) -> tuple[int, ...]:
    """Return what tells a file from one that was changed, or has taken its place."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
