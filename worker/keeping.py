"""Keeping a model in a client's folder. Clients of one worker that are given the same model share its bytes on disk.

A hard link is as good as a copy here, as a model's file is never changed, only replaced. So the farewell to a hundred
clients reads and writes the model once a pool process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tasks import arrays
from tasks.arrays import Arrays

_Mark = tuple[int, int, int]
_kept: dict[str, tuple[Path, _Mark]] = {}


def keep(path: Path, digest: str, parameters: Callable[[], Arrays]) -> None:
    """Make ``path`` a file with a model, whole or not at all.

    Args:
        path: The file.
        digest: What the model is known by.
        parameters: Returns the model; asked for if this process hasn't kept it elsewhere, or can't link to that.
    """
    source = _kept.get(digest)
    if source is not None and _link(*source, path):
        return
    arrays.write_file(path, parameters())
    _kept.clear()
    _kept[digest] = path, _mark(path)


def _mark(path: Path) -> _Mark:
    """Return what changes when somebody changes the file or puts another in its place."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _link(source: Path, mark: _Mark, path: Path) -> bool:
    """Make ``path`` a hard link to ``source``; False if that isn't what it was, or the file system has no links."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        try:
            temporary.hardlink_to(source)
            if _mark(temporary) == mark:
                temporary.replace(path)
                return True
        finally:
            temporary.unlink(missing_ok=True)  # a file's name stays when it is moved to another name of the same file
    return False
