"""Blobs in a folder that both sides have: on one machine, or on a file system that several share.

Where clients are others' processes, files are copied, and what is used is checked after that: whoever can write to the
folder may change them at any time. Where all processes are one user's, nothing is carried at all (``?links=yes``): a
checkpoint is published as a link to its file, and read as a memory map; an update is written once, by its client, and
its file is moved to where it is needed. It is written over a file that nobody needs any more, if there is one: that
takes half as long as a new file, whose memory and place on the disk the system has to find first.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import glob
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Sequence
from io import BufferedReader, FileIO
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tasks.blobs.blob import CHUNK_BYTES, BlobRef
from tasks.digests import Digest
from tasks.errors import BlobError, BlobMissingError, ConfigurationError
from tasks.files import PRIVATE, is_folder, link_or_copy, make_private, private, replacing

_MAX_PIECES = 512
"""Pieces that are written by one call; systems allow 1024."""
MAX_SPARE = 1000
"""Files that are kept to be written over."""
MAX_SPARE_BYTES = 10**9
"""Bytes that they have at the most."""
_SPARE = ".spare"
_IDENTITY = ".identity"
_IDENTITY_BYTES = 8
_LINKS = "links=yes"


def open_store(url: str) -> FileBlobs:
    """Return the store in the folder of a URL like ``file:///mnt/shared``, or ``file:///mnt/shared?links=yes``.

    Raises:
        ConfigurationError: If there is no such folder, or nothing can be written to it.
    """
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    if parts.netloc or not folder.is_absolute() or parts.query not in ("", _LINKS) or parts.fragment:
        raise ConfigurationError(
            f"blobs {url!r}: write file:///FOLDER, or file:///FOLDER?{_LINKS} where nobody is hostile"
        )
    if not is_folder(folder):
        raise ConfigurationError(f"blobs {url!r}: there is no such folder here")
    store = LinkedBlobs(folder) if parts.query else FileBlobs(folder)
    try:
        _ = store.identity
    except OSError as error:
        raise ConfigurationError(f"blobs {url!r}: it can't be written to: {error}") from None
    return store


def linked_url(folder: Path) -> str:
    """Return the URL of a folder in which nothing is copied."""
    return f"{folder.resolve().as_uri()}?{_LINKS}"


class FileBlobs:
    """Blobs in files, which don't expire, copied in and out: see :class:`tasks.blobs.blob.BlobStore`.

    Args:
        folder: The folder.
    """

    needs_permits = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def identity(self) -> str:
        """What tells this folder from others, by whatever path it is reached: a word that the first user left in it."""
        path = self._folder / _IDENTITY
        if not path.exists():
            own = path.with_name(f"{_IDENTITY}.{secrets.token_hex(8)}")
            with open(own, "w", encoding="ascii", opener=private) as made:
                made.write(secrets.token_hex(4))
            self._let_read(own)
            try:
                path.hardlink_to(own)
            except FileExistsError:  # another was faster
                pass
            except OSError:  # a file system without links
                own.replace(path)
            own.unlink(missing_ok=True)
        with _open(path) as file:
            return f"file:{file.read(_IDENTITY_BYTES).decode('ascii', 'replace')}"

    def put(self, ref: BlobRef, pieces: Sequence[memoryview]) -> None:
        """Keep the bytes of ``pieces``, one after the other, which ``ref`` describes."""
        with replacing(self._path(ref.name), durable=False, mode=None) as temporary:
            mode = "r+" if self.take_spare(temporary, ref.size_bytes) else "w"
            with FileIO(temporary, mode, opener=private) as file:
                for start in range(0, len(pieces), _MAX_PIECES):
                    _write(file.fileno(), pieces[start : start + _MAX_PIECES])
            self._let_read(temporary)

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep a copy of a file, which ``ref`` describes."""
        with replacing(self._path(ref.name), durable=False, mode=None) as temporary:
            shutil.copyfile(path, temporary)
            self._let_read(temporary)

    def get(self, ref: BlobRef) -> memoryview:
        """Return the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        with _open_blob(ref, self._path(ref.name)) as file:
            data = file.read(ref.size_bytes)
        _check(ref, Digest(data))
        return memoryview(data)

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return a copy."""
        return memoryview(bytes(data))

    def take_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` a file with the blob's bytes, checked as they are copied. The blob stays."""
        digest, source = Digest(), self._path(ref.name)
        with _open_blob(ref, source) as file, replacing(path, durable=False) as made, made.open("wb") as copied:
            while piece := file.read(CHUNK_BYTES):
                digest.update(memoryview(piece))
                copied.write(piece)
            _check(ref, digest)

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

    def discard_matching(self, patterns: Iterable[str]) -> None:
        """Forget the blobs whose names match one of these patterns, in which ``*`` stands for anything."""
        wanted = list(patterns)
        for path in _files(self._folder):
            if any(fnmatch.fnmatchcase(unquote(path.name), pattern) for pattern in wanted):
                path.unlink(missing_ok=True)

    def recycle(self, paths: Iterable[Path]) -> None:
        """Remove files that nobody reads any more."""
        for path in paths:
            path.unlink(missing_ok=True)

    def take_spare(self, path: Path, num_bytes: int) -> bool:
        """Return False: none is kept."""
        return False

    def _let_read(self, path: Path) -> None:
        """Let those read a file who may enter the folder, whatever the umask, and the group of who writes it."""
        folder = self._folder.stat()
        with contextlib.suppress(PermissionError):  # who isn't of the folder's group can't give it a file
            os.chown(path, -1, folder.st_gid)
        path.chmod(PRIVATE | (folder.st_mode & 0o011) << 2)

    def _path(self, name: str) -> Path:
        return self._folder / quote(name, safe="")


class LinkedBlobs(FileBlobs):
    """The same without copies, where all processes are one user's; links to what is on its file system are free."""

    def put_file(self, ref: BlobRef, path: Path) -> None:
        """Keep the bytes of a file that never changes, which ``ref`` describes."""
        link_or_copy(path, self._path(ref.name))

    def get(self, ref: BlobRef) -> memoryview:
        """Return a map of the blob's bytes, checked and read-only; see :class:`tasks.blobs.blob.BlobStore`."""
        data = _mapped(ref, self._path(ref.name))
        _check(ref, Digest(data))
        return data

    def own(self, ref: BlobRef, data: memoryview) -> memoryview:
        """Return another map of the file, of which the system copies what is written to; a copy if the file is gone."""
        try:
            return _mapped(ref, self._path(ref.name))
        except BlobError:
            return super().own(ref, data)

    def take_file(self, ref: BlobRef, path: Path) -> None:
        """Make ``path`` the blob's file itself, and check it; on another file system, a copy."""
        try:
            self._path(ref.name).rename(path)
        except FileNotFoundError as error:
            raise _missing(ref, error) from None
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            super().take_file(ref, path)
            return
        _check(ref, Digest(_mapped(ref, path)))

    def recycle(self, paths: Iterable[Path]) -> None:
        """Keep files that nobody reads any more for updates to come, if there aren't enough."""
        left = list(paths)
        with contextlib.suppress(OSError):  # to keep them is no more than an advantage
            left = self._kept(left)
        super().recycle(left)

    def _kept(self, paths: Sequence[Path]) -> list[Path]:
        """Keep files to be written over, and return the others: there are enough, or they have other names, too."""
        if not self._folder.is_dir():
            return list(paths)
        others: list[Path] = []
        sizes = (path for path in _files(self._folder / _SPARE) if path.is_dir())  # files are a former version's
        known = {int(size.name): len(_files(size)) for size in sizes}
        room = MAX_SPARE - sum(known.values())
        room_bytes = MAX_SPARE_BYTES - sum(size_bytes * count for size_bytes, count in known.items())
        for path in paths:
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            if room > 0 and found.st_size <= room_bytes and found.st_nlink == 1:
                if found.st_size not in known:
                    make_private(self._spare(found.st_size))
                    known[found.st_size] = 0
                path.replace(self._spare(found.st_size) / path.name)
                room, room_bytes = room - 1, room_bytes - found.st_size
            else:
                others.append(path)
        return others

    def _spare(self, num_bytes: int) -> Path:
        """Return the folder of files of this length that nobody needs any more."""
        return self._folder / _SPARE / str(num_bytes)

    def take_spare(self, path: Path, num_bytes: int) -> bool:
        """Make ``path`` a file of this length that was kept; what reads another length still isn't cut short."""
        # There may be none, or on another file system than ``path``.
        with contextlib.suppress(OSError), os.scandir(self._spare(num_bytes)) as found:
            for spare in found:
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    Path(spare.path).rename(path)
                    return True
        return False

    def discard_matching(self, patterns: Iterable[str]) -> None:
        """Forget the blobs whose names match one of these patterns, and the files that were kept to be written over."""
        super().discard_matching(patterns)
        shutil.rmtree(self._folder / _SPARE, ignore_errors=True)

    def _let_read(self, path: Path) -> None:
        """Let nobody else: all processes are one user's."""


def _open(path: Path) -> BufferedReader:
    """Open a file to read; what somebody has put in its place, a link or a pipe, isn't read or waited for.

    Raises:
        OSError: If it can't be opened, or is no file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no file")
    return file


def _open_blob(ref: BlobRef, path: Path) -> BufferedReader:
    """Open a blob's file, which has the right length."""
    try:
        file = _open(path)
    except OSError as error:
        raise _missing(ref, error) from None
    size_bytes = os.fstat(file.fileno()).st_size
    if size_bytes != ref.size_bytes:
        file.close()
        raise BlobError(f"blob {ref.name!r} has {size_bytes} bytes instead of {ref.size_bytes}")
    return file


def _missing(ref: BlobRef, error: OSError) -> BlobMissingError:
    return BlobMissingError(f"blob {ref.name!r} is missing: {error.strerror or error}")


def _mapped(ref: BlobRef, path: Path) -> memoryview:
    with _open_blob(ref, path) as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)).toreadonly()


def _check(ref: BlobRef, digest: Digest) -> None:
    if digest.hexdigest() != ref.digest:
        raise BlobError(f"blob {ref.name!r}: its bytes don't match their digest")


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
