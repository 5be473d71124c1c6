"""Arrays that are too large for memory and wanted for a while only, in a file that nobody sees."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from tasks.arrays import Array, Spec

_ALIGNMENT = 64
"""Bytes that each array begins at a multiple of, which a processor's widest steps want."""


def scratch_arrays(folder: Path, spec: Spec, number: int) -> list[dict[str, Array]]:
    """Return so many sets of arrays of a spec, all zeros, that can be written to and are on disk rather than in memory.

    They lie in one memory-mapped file without a name: it goes with the last of them, or with the process, however that
    ends.

    Args:
        folder: Where the file is.
        spec: The arrays of each set.
        number: How many sets.

    Raises:
        OSError: If there isn't as much room on the disk, which is found out here rather than when it's written to.
    """
    sizes = {name: -(-entry.size_bytes // _ALIGNMENT) * _ALIGNMENT for name, entry in spec.items()}
    size = max(1, number * sum(sizes.values()))
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), size)
        view = memoryview(mmap.mmap(file.fileno(), size))
    sets, start = [], 0
    for _ in range(number):
        arrays = {}
        for name, entry in spec.items():
            values = np.frombuffer(view[start : start + entry.size_bytes], entry.numpy_dtype)
            arrays[name] = values.reshape(entry.shape)
            start += sizes[name]
        sets.append(arrays)
    return sets


def _reserve(descriptor: int, size: int) -> None:
    """Make an empty file so long, and have the disk keep room for it where the system can (it isn't macOS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
