"""Writing a file so that it is whole or as it was, whenever the process is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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


def replace_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Make ``text`` the content of ``path``, whole or not at all; see :func:`replacing`."""
    with replacing(path, durable=durable) as file:
        file.write(text.encode())
