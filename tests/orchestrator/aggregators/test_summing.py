from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aggregators import blocks
from orchestrator.aggregators.blocks import Floats
from orchestrator.aggregators.kernel import MeanKernel, mean_kernel
from orchestrator.aggregators.kernel_ir import GROUP, TILE
from orchestrator.aggregators.mean import BLOCK
from orchestrator.aggregators.summing import put_quotients, put_sums
from tasks.arrays import Array

DTYPES = [np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
LENGTHS = st.one_of(st.integers(0, 3 * TILE), st.sampled_from([BLOCK + TILE + 5]))
WEIGHTS = st.one_of(st.integers(1, 2**29 - 1).map(float), st.floats(-(2.0**30), 2.0**30))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def any_bits(dtype: np.dtype[np.generic], length: int, seed: int) -> Array:
    """Numbers of any bits, of which those that are not finite are 1: tiny, huge and subnormal ones among them."""
    values: Array = np.frombuffer(np.random.default_rng(seed).bytes(length * dtype.itemsize), dtype).copy()
    if dtype.kind == "f":
        values[~np.isfinite(values)] = 1
    return values


def kernel_of(dtype: np.dtype[np.generic]) -> MeanKernel:
    found = mean_kernel(dtype)
    assert found is not None
    return found


def sums_of(
    before: Floats | None,
    updates: list[Array],
    weights: list[float],
    kernel: MeanKernel | None = None,
    num_threads: int = 1,
) -> Floats:
    sums = np.full(updates[0].size, np.nan)
    with ThreadPoolExecutor(num_threads) as threads:
        put_sums(sums, before, updates, weights, kernel, threads)
    return sums


def by_definition(before: Floats | None, updates: list[Array], weights: list[float]) -> Floats:
    sums = np.zeros(updates[0].size) if before is None else before.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for values, weight in zip(updates, weights, strict=True):
            sums = sums + values.astype(np.float64) * weight
    return sums


@each_dtype
@given(
    length=LENGTHS,
    weights=st.lists(WEIGHTS, min_size=1, max_size=GROUP + 3),
    is_first=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel_and_numpy_add_in_the_order_of_the_updates(
    dtype: np.dtype[np.generic], length: int, weights: list[float], is_first: bool, seed: int
) -> None:
    # Given updates of any finite numbers, and sums of any, or none yet
    updates = [any_bits(dtype, length, seed + k) for k in range(len(weights))]
    before = None if is_first else any_bits(np.dtype(np.float64), length, seed)
    # When they are added by a kernel and by NumPy, then the bytes are those of adding one after the other
    expected = by_definition(before, updates, weights).tobytes()
    with np.errstate(over="ignore", invalid="ignore"):
        assert sums_of(before, updates, weights).tobytes() == expected
        assert sums_of(before, updates, weights, kernel_of(dtype)).tobytes() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_not_made_finite(dtype: type) -> None:
    # Given infinities and NaNs in updates and in sums, also where opposites meet and where a sum overflows
    updates = [np.array([np.inf, -np.inf, np.nan, 1.0, 1.0, 1.0] * TILE, dtype)]
    before = np.array([-np.inf, -np.inf, 1.0, np.nan, np.inf, np.finfo(np.float64).max] * TILE)
    weights = [1e308]
    # When they are added, then the sums are those of adding one after the other
    expected = by_definition(before, updates, weights)
    np.testing.assert_array_equal(sums_of(before, updates, weights, kernel_of(np.dtype(dtype))), expected)
    np.testing.assert_array_equal(expected[:6], [np.nan, -np.inf, np.nan, np.nan, np.inf, np.inf])


@pytest.mark.parametrize("has_kernel", [True, False])
def test_sums_may_take_the_place_of_those_before(has_kernel: bool) -> None:
    # Given sums
    updates, weights = [any_bits(np.dtype(np.float32), 3 * TILE + 5, seed) for seed in range(2)], [3.0, 0.7]
    sums = np.random.default_rng(0).standard_normal(3 * TILE + 5)
    expected = by_definition(sums, updates, weights)
    # When updates are added in place, then the sums are those that they would be elsewhere
    with ThreadPoolExecutor(1) as threads:
        put_sums(sums, sums, updates, weights, kernel_of(np.dtype(np.float32)) if has_kernel else None, threads)
    assert sums.tobytes() == expected.tobytes()


@pytest.mark.parametrize("has_kernel", [True, False])
def test_the_number_of_threads_makes_no_difference(has_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given arrays of many parts, whose ends are those of no tile
    monkeypatch.setattr(blocks, "PART_BYTES", 1000)
    updates, weights = [any_bits(np.dtype(np.float16), 20_011, seed) for seed in range(3)], [3.0, 7.5, 11.0]
    before = np.random.default_rng(0).standard_normal(20_011)
    kernel = kernel_of(np.dtype(np.float16)) if has_kernel else None
    # When they are added and divided by one thread and by five, then the results are those of one part
    sums, means = by_definition(before, updates, weights), np.empty(20_011, np.float16)
    for num_threads in (1, 5):
        assert sums_of(before, updates, weights, kernel, num_threads).tobytes() == sums.tobytes()
        with ThreadPoolExecutor(num_threads) as threads, np.errstate(over="ignore"):
            put_quotients(means, sums, 21.5, threads)
            assert means.tobytes() == (sums / 21.5).astype(np.float16).tobytes()


@pytest.mark.parametrize(
    ("updates", "weights", "before", "sums"),
    [
        ([np.ones(TILE)], [1.0], np.ones(TILE), np.ones(TILE)),
        ([np.ones(2 * TILE, np.float32)], [1.0], np.ones(TILE), np.ones(TILE)),
        ([np.ones(TILE, np.float32)], [1.0], np.ones(TILE - 1), np.ones(TILE)),
        ([np.ones(TILE, np.float32)], [1.0], np.ones(TILE, np.float32), np.ones(TILE)),
        ([np.ones(TILE, np.float32)], [1.0], None, np.ones(TILE, np.float32)),
        ([np.ones(TILE, np.float32)], [1.0], None, np.ones(2 * TILE)[::2]),
        ([np.ones(TILE, np.float32)], [], None, np.ones(TILE)),
        ([], [], None, np.ones(TILE)),
    ],
)
def test_arrays_that_it_would_read_or_write_beyond_are_refused(
    updates: list[Array], weights: list[float], before: Array | None, sums: Array
) -> None:
    # Given an array of another dtype, size or layout, a weight too few, or no update
    kernel = kernel_of(np.dtype(np.float32))
    # When the kernel is called with it, then it refuses
    with pytest.raises(
        ValueError, match=r"^needed are contiguous float32.* of one shape \(n,\), and a weight for each"
    ):
        kernel.add(updates, weights, before, sums)
