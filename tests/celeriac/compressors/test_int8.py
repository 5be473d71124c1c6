from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from celeriac.compressors.int8 import BLOCK, Int8
from tasks.arrays import Array, Arrays, ArraySpec, encoded_size, spec_of

FLOATS = hnp.arrays(np.float32, st.integers(9, 700), elements=st.floats(-(2.0**100), 2.0**100, width=32))


def roundtrip(values: Array) -> Array:
    arrays = {"w": values}
    [(name, found)] = Int8().decompress(Int8().compress(arrays), spec_of(arrays))
    assert (name, found.shape, found.dtype) == ("w", values.shape, values.dtype)
    return found


@given(FLOATS)
def test_a_value_is_off_by_half_a_scale_at_the_most(values: Array) -> None:
    found = roundtrip(values).astype(np.float64)
    for start in range(0, values.size, BLOCK):
        block = slice(start, start + BLOCK)
        largest = np.abs(values[block].astype(np.float64)).max()
        # A little more, as scales are rounded; below 1e-38 numbers are too coarse for it.
        assert (np.abs(found[block] - values[block]) <= largest / 253.9 + 1e-42).all()


def test_a_block_by_hand() -> None:
    # Given a block whose largest is 127 and one whose largest is 254, so that scales are 1 and 2
    values = np.zeros((2, BLOCK), np.float32)
    values[0, :4] = [-127, 2.4, 2.6, -0.5]
    values[1, :4] = [254, 2.4, 2.6, 1.1]
    # When they are compressed, then to the nearest multiples of these, halves to even
    compressed = Int8().compress({"w": values})
    assert compressed["scales:w"].tolist() == [1.0, 2.0]
    assert compressed["values:w"][:, :4].tolist() == [[-127, 2, 3, 0], [127, 1, 1, 1]]
    assert roundtrip(values)[:, :4].tolist() == [[-127, 2, 3, 0], [254, 2, 2, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_makes_its_block_none_and_no_other(bad: float) -> None:
    # Given two blocks, of which the first has something that is no number
    values = np.ones(2 * BLOCK, np.float32)
    values[3] = bad
    # When they come back, then that can be seen, and the second block is as it was
    found = roundtrip(values)
    assert not np.isfinite(found[:BLOCK]).all()
    assert found[BLOCK:].tolist() == [1.0] * BLOCK


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_all_floats_are_eight_bits_and_a_scale_for_each_block(dtype: type) -> None:
    # Given an array whose last block isn't full
    values: Array = np.linspace(-3, 3, 1000).astype(dtype).reshape(10, 100)
    # When it is compressed, then there are four scales, and it comes back as near as they are fine
    compressed = Int8().compress({"w": values})
    assert spec_of(compressed) == {"scales:w": ArraySpec("F32", (4,)), "values:w": ArraySpec("I8", (10, 100))}
    np.testing.assert_allclose(roundtrip(values), values, atol=3 / 250)


def test_what_would_not_become_shorter_is_kept() -> None:
    # Given arrays of one float32, which would take five bytes, of none, and of whole numbers
    arrays: Arrays = {"one": np.array(0.3, np.float32), "none": np.zeros(0, np.float32), "count": np.arange(5)}
    # When they are compressed, then they are as they were
    compressed = Int8().compress(arrays)
    assert sorted(compressed) == ["kept:count", "kept:none", "kept:one"]
    assert dict(Int8().decompress(compressed, spec_of(arrays))) == {
        name: pytest.approx(values) for name, values in arrays.items()
    }


def test_a_blob_is_a_quarter_as_long_and_the_scales_two_per_cent_of_that() -> None:
    spec = {"w": ArraySpec("F32", (1000, 1000))}
    quarter = encoded_size(spec) / 4
    assert quarter < encoded_size(Int8().spec(spec)) < 1.02 * quarter
