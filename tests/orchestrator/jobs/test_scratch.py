from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from orchestrator.jobs.scratch import scratch_arrays
from tasks.arrays import ArraySpec

SPEC = {"bits": ArraySpec("I8", (3,)), "none": ArraySpec("F64", (0, 2)), "w": ArraySpec("F32", (2, 5))}


def test_arrays_are_apart_and_begin_with_zeros(tmp_path: Path) -> None:
    # Given room for three sets of arrays
    sets = scratch_arrays(tmp_path, SPEC, 3)
    # When each is filled with its number
    assert all(not values.any() for arrays in sets for values in arrays.values())
    for number, arrays in enumerate(sets, 1):
        for values in arrays.values():
            values.fill(number)
    # Then all have kept theirs, in their shapes and dtypes
    for number, arrays in enumerate(sets, 1):
        assert {name: (values.shape, values.dtype) for name, values in arrays.items()} == {
            name: (entry.shape, entry.numpy_dtype) for name, entry in SPEC.items()
        }
        assert all(np.all(values == number) for values in arrays.values())


def test_no_file_is_seen_meanwhile_or_after(tmp_path: Path) -> None:
    # Given arrays that are in use, when the folder is looked at, then nothing is there that could stay behind
    sets = scratch_arrays(tmp_path, SPEC, 2)
    sets[1]["w"].fill(7)
    assert list(tmp_path.iterdir()) == []


def test_no_arrays_at_all_are_no_error(tmp_path: Path) -> None:
    assert scratch_arrays(tmp_path, {}, 2) == [{}, {}]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    # Given more than any disk has, when room is wanted for it, then that fails at once
    with pytest.raises(OSError) as raised:
        scratch_arrays(tmp_path, {"w": ArraySpec("F32", (2**54,))}, 1)
    assert raised.value.errno in (errno.ENOSPC, errno.EFBIG)
