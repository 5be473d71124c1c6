"""Files that nobody reads any more, kept to be written over.

What is written to memory that a file has already takes half as long as what is written to a new file, whose memory the
system has to find first; and it need not be freed after. A file is whole or not there, as with all others: it gets its
name when it is written.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

MOST = 16
"""Files that are kept at the most: about as many as are on their way at a time."""
_NAME = ".spare"


class SpareFiles:
    """The spare files of a folder of blobs; where there is no such folder, there are none.

    Args:
        blobs: The folder of blobs.
    """

    def __init__(self, blobs: Path) -> None:
        self._blobs = blobs
        self._folder = blobs / _NAME

    def give(self, path: Path) -> None:
        """Do away with a file that is needed no more under this name, and keep it if nobody else has it."""
        with contextlib.suppress(OSError):  # to keep it is no more than an advantage
            if self._blobs.is_dir() and path.stat().st_nlink == 1 and len(self._found()) < MOST:
                self._folder.mkdir(exist_ok=True)
                path.replace(self._folder / path.name)
        path.unlink(missing_ok=True)

    def take(self, path: Path) -> bool:
        """Make ``path`` one of the files, with whatever is in it; False if there is none."""
        for spare in self._found():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                spare.rename(path)
                return True
        return False

    def _found(self) -> list[Path]:
        try:
            return list(self._folder.iterdir())
        except FileNotFoundError:
            return []
