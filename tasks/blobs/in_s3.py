"""Blobs in a bucket of an object store that speaks S3, an object each.

obstore has threads of its own, which a process that is forked doesn't have: there it would wait for ever. A worker's
main process, which forks others, has to know all the same whether the bucket will do. So another process looks, and
a store first speaks to the server when there is a blob to carry.
"""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from urllib.parse import quote, unquote

import numpy as np

from tasks.blobs.blob import CHUNK_BYTES, BlobRef
from tasks.blobs.chunks import cut_into_chunks
from tasks.broker.url import masked
from tasks.digests import Digest
from tasks.errors import BlobError, BlobMissingError, ConfigurationError, StoreAwayError
from tasks.files import replacing

try:
    import obstore

    from tasks.blobs import s3_bucket
except ImportError:
    raise ConfigurationError("blobs in a bucket (s3://) take obstore: pip install 'celeriac[s3]'") from None

if TYPE_CHECKING:
    from obstore.store import S3Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
OUTAGE_S = 60
"""Seconds from the first failure in which what fails for the server's or the network's sake is tried again."""
BLIP_S = 3
"""Seconds in which obstore does so by itself, of an upload the part that failed alone."""
SILENCE_S = 60
"""Seconds without a byte, or for a part of an upload, after which a request is given up."""
REQUEST_S = 3600
"""Seconds that a request may take in all."""
PART_BYTES = 5 * 2**20
"""Longer blobs are uploaded in parts of this length, the least that S3 allows, or longer ones."""
MAX_PARTS = 10_000
"""Parts of an upload that S3 allows."""
PARTS_AT_ONCE = 2
"""Parts that are on their way at a time."""
_SLASH = "!"
"""What stands for a slash in keys."""
_AGAIN_S = 0.5


def open_store(url: str) -> S3Blobs:
    """Return the store at a URL like ``s3://bucket/prefix``, when another process has seen that it will do.

    Raises:
        ConfigurationError: If it is no such URL, there is no such bucket, or it can't be read or written to.
    """
    if s3_bucket.URL.fullmatch(url) is None:
        raise ConfigurationError(
            f"blobs {masked(url)!r}: write s3://BUCKET or s3://BUCKET/PREFIX; where the server is and who asks say "
            "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    looked = subprocess.run(
        [sys.executable, "-P", s3_bucket.__file__, url],  # whatever files the current folder has
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if looked.returncode:
        reason = looked.stderr.strip().rpartition("\n")[2]  # should obstore itself have failed: its last word
        raise ConfigurationError(f"blobs {url!r}: the bucket can't be used: {reason}")
    return S3Blobs(url, looked.stdout)


class S3Blobs:
    """Blobs in a bucket, which don't expire by themselves: see :class:`tasks.blobs.blob.BlobStore`.

    Args:
        url: Bucket and prefix.
        identity: What tells them from others.
    """

    needs_permits = False

    def __init__(self, url: str, identity: str) -> None:
        self.identity = identity
        self._url = url

    def put(self, ref: BlobRef, pieces: Sequence[memoryview]) -> None:
        """Keep the bytes of ``pieces``, one after the other, which ``ref`` describes."""
        self._put(ref, lambda: chain.from_iterable(cut_into_chunks(pieces, CHUNK_BYTES)))

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep the bytes of a file, which ``ref`` describes; a few parts of it are in memory at a time."""
        with path.open("rb") as file:
            self._put(ref, lambda: _pieces_of(file))

    def get(self, ref: BlobRef) -> memoryview:
        """Return the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        data = np.empty(ref.size_bytes, np.uint8).data

        def fill() -> None:
            start = 0
            for piece in self._received(ref):
                data[start : start + len(piece)] = piece
                start += len(piece)

        self._ask(f"blob {ref.name!r} can't be read", fill)
        return data.toreadonly()

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return a copy."""
        return memoryview(bytes(data))

    def take_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with the blob's bytes, checked as they come. The blob stays."""

        def write() -> None:
            with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
                file.writelines(self._received(ref))

        self._ask(f"blob {ref.name!r} can't be read", write)

    def has(self, ref: BlobRef) -> bool:
        """Say whether there is a blob of this name."""
        return self._size_bytes(ref.name) is not None

    def num_bytes(self, name: str, most_bytes: int) -> int:
        """Return how much is there of a blob: an object is seen when it is whole."""
        return self._size_bytes(name) or 0

    def discard(self, names: Iterable[str], most_bytes: int) -> None:
        """Forget the blobs of these names; those that don't exist are passed over."""
        if keys := [_key(name) for name in names]:
            self._ask("blobs can't be removed", lambda: obstore.delete(self._bucket, keys))

    def discard_matching(self, patterns: Iterable[str]) -> None:
        """Forget the blobs whose names match one of these patterns, in which ``*`` stands for anything."""
        wanted = list(patterns)
        listed = self._ask("blobs can't be listed", lambda: obstore.list(self._bucket).collect())
        names = (_name(found["path"]) for found in listed)
        self.discard((name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)), 0)

    def recycle(self, paths: Iterable[Path]) -> None:
        """Remove files that nobody reads any more."""
        for path in paths:
            path.unlink(missing_ok=True)

    def take_spare(self, path: Path, num_bytes: int) -> bool:
        """Return False: none is kept."""
        return False

    @cached_property
    def _bucket(self) -> S3Store:
        return s3_bucket.connect(self._url, outage_s=BLIP_S, silence_s=SILENCE_S, request_s=REQUEST_S)

    def _put(self, ref: BlobRef, pieces: Callable[[], Iterator[memoryview]]) -> None:
        def send() -> None:
            obstore.put(
                self._bucket,
                _key(ref.name),
                pieces(),
                use_multipart=ref.size_bytes > PART_BYTES,
                chunk_size=max(PART_BYTES, -(-ref.size_bytes // MAX_PARTS)),
                max_concurrency=PARTS_AT_ONCE,
            )

        self._ask(f"blob {ref.name!r} can't be put there", send)

    def _received(self, ref: BlobRef) -> Iterator[bytes]:
        """Yield the blob's bytes, piece by piece. Only when the last has been taken are they known to be right."""
        digest = Digest()
        found = obstore.get(self._bucket, _key(ref.name))
        if (size_bytes := found.meta["size"]) != ref.size_bytes:
            raise BlobError(f"blob {ref.name!r} has {size_bytes} bytes instead of {ref.size_bytes}")
        for piece in found.stream(min_chunk_size=CHUNK_BYTES):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != ref.digest:
            raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")

    def _size_bytes(self, name: str) -> int | None:
        with suppress(BlobMissingError):
            head = self._ask(f"blob {name!r} can't be looked for", lambda: obstore.head(self._bucket, _key(name)))
            return head["size"]
        return None

    def _ask(self, what: str, act: Callable[[], T]) -> T:
        """Return what comes of asking the server, again and again while an outage may last, which the log tells.

        obstore tries again by itself, and says nothing; but not what the server may have done already. Here all that is
        asked may be done twice.

        Args:
            what: What can't be done if it doesn't do.
            act: Asks from the beginning.

        Raises:
            BlobMissingError: If there is no such object.
            BlobError: If the bucket is gone, or refuses.
            StoreAwayError: If it stays away.
        """
        latest = math.inf
        while True:
            try:
                return act()
            except s3_bucket.ERRORS as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # it is of a file here
                if isinstance(error, FileNotFoundError) and s3_bucket.NO_BUCKET not in str(error):
                    raise BlobMissingError(f"bucket {self._url}: {what}: it is missing") from None
                told = f"bucket {self._url}: {what}: {s3_bucket.reason(error)}"
                if not s3_bucket.may_pass(error):
                    raise BlobError(told) from None
                if time.monotonic() > latest:
                    raise StoreAwayError(told) from None
                if latest == math.inf:
                    latest = time.monotonic() + OUTAGE_S
                    logger.warning("bucket %s: %s yet: %s", self._url, what, s3_bucket.reason(error))
            time.sleep(_AGAIN_S)


def _pieces_of(file: BinaryIO) -> Iterator[memoryview]:
    """Yield a file's bytes from its beginning, piece by piece."""
    file.seek(0)
    while piece := file.read(CHUNK_BYTES):
        yield memoryview(piece)


def _key(name: str) -> str:
    """Return the object's key, without slashes: servers with their objects in files make folders of them.

    rclone removes a folder with its last object, be it that another is just put there, which nobody finds then.
    """
    return quote(name, safe="/:").replace("/", _SLASH)


def _name(key: str) -> str:
    return unquote(key.replace(_SLASH, "/"))
