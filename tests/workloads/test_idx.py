from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tasks.errors import DataMissingError
from workloads.idx import read_idx

TWO_BY_THREE = bytes([0, 0, 0x08, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])


def test_bytes_of_two_dimensions_are_read(tmp_path: Path) -> None:
    # Given a file written byte by byte
    path = tmp_path / "images"
    path.write_bytes(TWO_BY_THREE)
    # When it is read
    array = read_idx(path)
    # Then shape, dtype and order are those of the file
    assert array.dtype == np.uint8
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_gzipped_files_are_known_by_their_content_whatever_their_name(tmp_path: Path) -> None:
    # Given a gzipped file without .gz
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(TWO_BY_THREE, mtime=0))
    # When it is read, then it is what the plain one is
    assert read_idx(path).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_values_of_several_bytes_are_big_endian(tmp_path: Path) -> None:
    # Given the int32 numbers 1 and -2
    path = tmp_path / "numbers"
    path.write_bytes(bytes([0, 0, 0x0C, 1, 0, 0, 0, 2, 0, 0, 0, 1, 255, 255, 255, 254]))
    # When it is read, then they are these
    assert read_idx(path).tolist() == [1, -2]


def test_what_was_read_can_not_be_changed(tmp_path: Path) -> None:
    # Given a file
    path = tmp_path / "images"
    path.write_bytes(TWO_BY_THREE)
    # When it is read, then the array is a read-only view
    assert not read_idx(path).flags.writeable


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
        (gzip.compress(TWO_BY_THREE, mtime=0)[:-5], "can't be read"),
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    # Given no file, when it is read, then the message has its path
    with pytest.raises(DataMissingError, match="nowhere can't be read"):
        read_idx(tmp_path / "nowhere")
