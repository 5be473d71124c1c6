"""Writing a file so that it is whole or as it was, whenever the process is killed; and files for nobody else's eyes.

What this project keeps is private: a folder that it makes is its user's alone (0700), and so is a file (0600), whatever
the umask.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.\d+\.tmp$")
"""How the name ends of a file that is being written: with the number of the process."""


PRIVATE = 0o600
"""Mode of a file that nobody but its owner may read."""


def is_file(path: Path) -> bool:
    """Say whether there is a file; none is where one may not look, or where a name is longer than any can be."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file raises there


def is_folder(path: Path) -> bool:
    """Say whether there is a folder; see :func:`is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing; nobody else may enter it, even if it was there.

    One of another owner, or on a file system that is only read, stays as it is.
    """
    if not folder.parent.is_dir():
        make_private(folder.parent)
    folder.mkdir(0o700, exist_ok=True)
    with suppress(OSError):
        folder.chmod(0o700)


def private(path: str, flags: int) -> int:
    """Open a file, which its owner alone may read if it is new; for the ``opener`` of :func:`open`."""
    return os.open(path, flags, PRIVATE)


@contextmanager
def replacing(path: Path, *, durable: bool = True, mode: int | None = PRIVATE) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of ``path`` when all is written.

    If the block raises, or writes no file, ``path`` is as it was, and nothing else is left behind.

    Args:
        path: The file.
        durable: Whether it is on disk before it takes its place. Else it is whole whenever the process is killed, but
            after a loss of power it may be empty.
        mode: The file's; None for what the process's umask makes of it.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        if durable:
            with temporary.open("rb") as file:
                to_disk(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # it is there still if it was another name of the same file


def remove_temporaries(paths: Iterable[Path]) -> None:
    """Remove those of these files that :func:`replacing` has left in a process that was killed.

    For whoever owns their folder, when nobody else writes there.
    """
    for path in paths:
        if _TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def replace_text(path: Path, text: str, *, durable: bool = True, mode: int | None = PRIVATE) -> None:
    """Make ``text`` the content of ``path``, whole or not at all; see :func:`replacing`."""
    with replacing(path, durable=durable, mode=mode) as temporary:
        temporary.write_bytes(text.encode())


def append_line(path: Path, text: str, *, durable: bool = True) -> None:
    """Append a line after the last whole one: a line that was cut short goes."""
    with open(path, "ab+", opener=private) as file:
        drop_torn_line(file)
        file.write(f"{text}\n".encode())
        if durable:
            to_disk(file)


def to_disk(file: BinaryIO) -> None:
    """Have on disk what was written to a file: a loss of power doesn't take it."""
    file.flush()
    # Where the system tells the two apart, the file's times needn't be: that is half the wait for one written over.
    getattr(os, "fdatasync", os.fsync)(file.fileno())


def drop_torn_line(file: BinaryIO) -> None:
    """Drop what comes after the last whole line of a file that is open to read and to append."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read(1) not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def link_or_copy(source: Path, path: Path) -> None:
    """Make ``path`` another name of the file ``source``, or a copy where the file system has no links."""
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)
