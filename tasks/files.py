"""Writing a file so that it is whole or as it was, whenever the process is killed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.\d+\.tmp$")
"""How the name ends of a file that is being written: with the number of the process."""


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write to, which takes the place of ``path`` once all is written.

    If the block raises, ``path`` is as it was, and nothing else is left behind.

    Args:
        path: The file.
        durable: Whether it is on disk before it takes its place. Else it is whole whenever the process is killed, but
            after a loss of power it may be empty.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(paths: Iterable[Path]) -> None:
    """Remove those of these files that :func:`replacing` has left in a process that was killed.

    For whoever owns their folder, when nobody else writes there.
    """
    for path in paths:
        if _TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Make ``text`` the content of ``path``, whole or not at all; see :func:`replacing`."""
    with replacing(path, durable=durable) as file:
        file.write(text.encode())
