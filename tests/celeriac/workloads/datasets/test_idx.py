from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from celeriac.workloads.datasets.idx import parse, read_content
from tasks.arrays import Array
from tasks.errors import DataMissingError

TWO_BY_THREE = bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])


def read_idx(path: Path) -> Array:
    return parse(read_content(path), path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TWO_BY_THREE, [[1, 2, 3], [4, 5, 6]]),
        (gzip.compress(TWO_BY_THREE, mtime=0), [[1, 2, 3], [4, 5, 6]]),  # known by its content, whatever its name
        (bytes([0, 0, 0x0C, 1, 0, 0, 0, 2, 0, 0, 0, 1, 255, 255, 255, 254]), [1, -2]),  # int32, big-endian
    ],
)
def test_a_file_is_read_as_it_was_written_byte_by_byte(tmp_path: Path, content: bytes, expected: list[object]) -> None:
    # Given a file, when it is read, then shape, dtype, order and values are its own, and can't be changed
    path = tmp_path / "images"
    path.write_bytes(content)
    array = read_idx(path)
    assert array.tolist() == expected
    assert (array.dtype == np.uint8) == (array.ndim == 2)
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file: it begins with nothing"),
        (b"PNG!", "no IDX file: it begins with 50 4e 47 21"),
        (bytes([0, 0, 0x0A, 1, 0, 0, 0, 0]), "no IDX file"),
        (bytes([0, 0, 0x08]), "no IDX file"),
        (TWO_BY_THREE[:10], "ends in its header: 10 of 12 bytes"),
        (TWO_BY_THREE[:-1], r"5 bytes of values: shape \(2, 3\) of uint8 needs 6"),
        (TWO_BY_THREE + b"\0", "7 bytes of values"),
        (bytes([0, 0, 0x08, 65]) + bytes([0, 0, 0, 1]) * 65 + b"x", "its shape is .*: maximum supported dimension"),
        (bytes([0, 0, 0x08, 3]) + b"\xff" * 8 + bytes(4), r"its shape is \(4294967295, 4294967295, 0\): "),
        (gzip.compress(TWO_BY_THREE, mtime=0)[:-5], "can't be read"),
        (gzip.compress(TWO_BY_THREE + b"x" * 2_000, mtime=0), "unpacks to more than the 18 bytes that it may have"),
        (b"\x1f\x8b\x08 and then nonsense", "can't be read"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    # Given a file that is too short, too long, or something else
    path = tmp_path / "images"
    path.write_bytes(content)
    # When it is read, then the message says what is wrong with it
    with pytest.raises(DataMissingError, match=message):
        read_idx(path)


def test_what_unpacks_to_a_thousand_times_its_length_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    # Given 200 kB that unpack to 200 MB, and say that they are six pixels
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(TWO_BY_THREE), *(packer.compress(bytes(10**6)) for _ in range(200)), packer.flush()]
    (tmp_path / "images.gz").write_bytes(b"".join(pieces))
    tracemalloc.start()
    # When it is read, then it is refused, and took next to no memory
    with pytest.raises(DataMissingError, match="unpacks to more than the 18 bytes"):
        read_idx(tmp_path / "images.gz")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    # Given no file, when it is read, then the message has its path
    with pytest.raises(DataMissingError, match="nowhere can't be read"):
        read_idx(tmp_path / "nowhere")
