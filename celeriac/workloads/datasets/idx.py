"""IDX files, the format of MNIST and similar data sets, gzipped or not.

Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, a byte for the dtype, a byte for the number of dimensions,
each dimension as an unsigned 32-bit big-endian integer, then the values, big-endian, last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from tasks.arrays import Array
from tasks.errors import DataMissingError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_MAGIC_BYTES = 4
MAX_CONTENT_BYTES = 2**32
"""Bytes to which a gzipped file may unpack."""
_PIECE_BYTES = 2**20


def read_content(path: Path, *, copied: bool = False) -> memoryview:
    """Return the bytes of a file, uncompressed: a read-only memory map of a plain one, a copy of a gzipped one.

    Args:
        path: The file.
        copied: Whether of a plain one, too, a copy is wanted, which stays as it is whoever writes to the file.

    Raises:
        DataMissingError: If the file can't be read, or is gzipped and damaged, or unpacks to more than its header says.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if content[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
            return memoryview(bytes(content) if copied else content)
        with content, gzip.GzipFile(fileobj=content) as unpacking:
            return _unpacked(unpacking, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataMissingError(f"{path} can't be read: {error}") from error


def _unpacked(file: gzip.GzipFile, path: Path) -> memoryview:
    """Return what a gzipped file holds; of more than an IDX file has by its header no more is read than tells so."""
    content = bytearray(file.read(_MAGIC_BYTES + 4 * 255))
    most = min(_content_bytes(content) or MAX_CONTENT_BYTES, MAX_CONTENT_BYTES)
    while len(content) <= most and (piece := file.read(min(_PIECE_BYTES, most + 1 - len(content)))):
        content += piece
    if len(content) > most:
        raise DataMissingError(f"{path} unpacks to more than the {most} bytes that it may have")
    return memoryview(content).toreadonly()


def _content_bytes(beginning: bytearray) -> int | None:
    """Return how long an IDX file is, by its header; None if there is none."""
    if len(beginning) < _MAGIC_BYTES or beginning[:2] != b"\0\0" or beginning[2] not in _DTYPES:
        return None
    start = _MAGIC_BYTES + 4 * beginning[3]
    sizes = (int.from_bytes(beginning[at : at + 4], "big") for at in range(_MAGIC_BYTES, start, 4))
    return start + math.prod(sizes) * np.dtype(_DTYPES[beginning[2]]).itemsize


def parse(content: memoryview, path: Path) -> Array:
    """Return the array that the bytes of an IDX file hold, as a read-only view of them.

    Args:
        content: The uncompressed bytes.
        path: The file that they come from, for messages.

    Raises:
        DataMissingError: If the header isn't IDX, describes more or fewer bytes than follow it, or no array's shape.
    """
    magic = bytes(content[:_MAGIC_BYTES])
    if len(magic) < _MAGIC_BYTES or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataMissingError(f"{path} is no IDX file: it begins with {magic.hex(' ') or 'nothing'}")
    dtype, num_dimensions = np.dtype(_DTYPES[magic[2]]), magic[3]
    start = _MAGIC_BYTES + 4 * num_dimensions
    if len(content) < start:
        raise DataMissingError(f"{path} ends in its header: {len(content)} of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(content[_MAGIC_BYTES:start], dtype=">u4"))
    size_bytes = math.prod(shape) * dtype.itemsize
    if len(content) - start != size_bytes:
        raise DataMissingError(
            f"{path} has {len(content) - start} bytes of values: shape {shape} of {dtype.name} needs {size_bytes}"
        )
    try:
        return np.frombuffer(content[start:], dtype=dtype).reshape(shape)
    except ValueError as error:  # there are too many dimensions, or beside one of 0 too large ones
        raise DataMissingError(f"{path} says that its shape is {shape}: {error}") from error
