from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.aggregators import WeightedUpdate, blocks, kernel, mean
from orchestrator.aggregators.kernel import mean_kernel
from orchestrator.aggregators.kernel_ir import CHUNK, GROUP, TILE, WHOLE_TILE
from orchestrator.aggregators.mean import weighted_mean
from tasks.arrays import Array, map_file, write_file

DTYPES = [np.dtype(code) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
LENGTHS = st.one_of(st.integers(0, 3 * WHOLE_TILE), st.sampled_from([CHUNK, CHUNK + TILE, 2 * CHUNK + 3 * TILE + 5]))
WHOLE_WEIGHTS = st.one_of(st.integers(1, 1000).map(float), st.integers(1, 2**29 - 1).map(float))
WEIGHTS = st.one_of(WHOLE_WEIGHTS, st.floats(2.0**-30, 2.0**30))
SMALL = [dtype for dtype in DTYPES if dtype.kind in "iub" and dtype.itemsize < 4]
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def mean_of(updates: list[Array], weights: list[float]) -> Array:
    pairs = zip(updates, weights, strict=True)
    return weighted_mean([WeightedUpdate({"w": values}, weight) for values, weight in pairs])["w"]


def by_numpy(updates: list[Array], weights: list[float]) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mean, "mean_kernel", lambda _: None)
        return mean_of(updates, weights)


def by_kernel(updates: list[Array], weights: list[float]) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mean, "LARGE_BYTES", 0)
        return mean_of(updates, weights)


def any_bits(dtype: np.dtype[np.generic], length: int, seed: int) -> Array:
    """Numbers of any bits, of which those that are not finite are 1: tiny, huge and subnormal ones among them."""
    values: Array = np.frombuffer(np.random.default_rng(seed).bytes(length * dtype.itemsize), dtype).copy()
    if dtype.kind == "f":
        values[~np.isfinite(values)] = 1
    return values


def unaligned(values: Array) -> Array:
    """The same values, a byte beyond an address that they would be aligned at."""
    room = np.empty(values.nbytes + 1, np.uint8)
    moved: Array = room[1:].view(values.dtype)
    moved[...] = values
    return moved


@each_dtype
@given(
    length=LENGTHS,
    weights=st.one_of(
        st.lists(WEIGHTS, min_size=1, max_size=2 * GROUP + 3),
        st.lists(WHOLE_WEIGHTS, min_size=1, max_size=2 * GROUP + 3),
        st.lists(st.integers(0, 1000).map(float), min_size=1, max_size=2 * GROUP + 3).filter(any),
    ),
    seed=st.integers(0, 2**32 - 1),
)
@example(length=2 * CHUNK + TILE + 1, weights=[1.0] * (GROUP + 1), seed=0)
def test_kernel_and_numpy_are_equal_to_the_last_bit(
    dtype: np.dtype[np.generic], length: int, weights: list[float], seed: int
) -> None:
    # Given updates of any finite numbers
    updates = [any_bits(dtype, length, seed + k) for k in range(len(weights))]
    # When they are averaged by a kernel and by NumPy
    assert mean_kernel(dtype) is not None
    fast, slow = by_kernel(updates, weights), by_numpy(updates, weights)
    # Then the bytes are equal
    assert fast.dtype == dtype
    assert fast.tobytes() == slow.tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_not_made_finite(dtype: type) -> None:
    # Given updates with infinities and NaNs, each beside a number and beside its opposite
    one = np.array([np.inf, -np.inf, np.nan, np.inf] * TILE, dtype)
    two = np.array([1.0, 1.0, 1.0, -np.inf] * TILE, dtype)
    # When they are averaged, then they stay what they are, and inf - inf is none
    with np.errstate(invalid="ignore"):
        expected = by_numpy([one, two], [1.0, 2.0])
    np.testing.assert_array_equal(by_kernel([one, two], [1.0, 2.0]), expected)
    np.testing.assert_array_equal(expected[:4], np.array([np.inf, -np.inf, np.nan, np.nan], dtype))


@given(numerators=st.lists(st.integers(-(2**20), 2**20), min_size=2, max_size=9), weight=st.integers(1, 2**6))
@example(numerators=[2049 * 2**9, 2049 * 2**9 + 1], weight=1)
def test_float16_is_the_exact_mean_rounded_once(numerators: list[int], weight: int) -> None:
    # Given numbers n / 2**10 as float16 has them, with weights whose sums float64 holds exactly
    updates = [np.full(TILE, n / 2**10, np.float16) for n in numerators]
    weights = [weight + k for k in range(len(updates))]
    # When they are averaged by the kernel
    averaged = by_kernel(updates, [float(w) for w in weights])
    # Then none of the float16 beside it is nearer to the exact mean, nor as near with an even last bit
    exact = sum(Fraction(float(x[0])) * w for x, w in zip(updates, weights, strict=True)) / sum(weights)
    near = averaged[:1]
    beside = [np.nextafter(near, np.float16(bound)) for bound in (-np.inf, np.inf)]

    def rank(number: Array) -> tuple[Fraction, int]:
        return abs(Fraction(float(number[0])) - exact), int(number.view(np.uint16)[0]) & 1

    assert all(rank(near) < rank(number) for number in beside if np.isfinite(number[0]))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1 + 2.0**-11, 1.0),  # halfway between 1 and the next float16: to even
        (1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-10),  # float would round it to halfway, and half that to 1
        (1 + 3 * 2.0**-11 - 2.0**-40, 1 + 2.0**-10),
        (2.0**-25, 0.0),  # halfway between 0 and the least subnormal number
        (2.0**-25 + 2.0**-60, 2.0**-24),
        (65519.999, 65504.0),  # next to halfway between the largest number and infinity
    ],
)
def test_float16_is_not_rounded_twice(number: float, expected: float) -> None:
    # Given float16 updates of 1 whose sum is divided by what gives the number
    ones = np.ones(TILE, np.float16)
    result = np.empty_like(ones)
    # When the kernel averages them, then the result is that of one rounding, and so for the negative
    found = mean_kernel(ones.dtype)
    assert found is not None
    for sign in (1.0, -1.0):
        assert found([ones], [sign * number], 1.0, result) == TILE
        assert result.tolist() == [sign * expected] * TILE


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "iu"], ids=str)
@given(numbers=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9), weight=st.integers(1, 2**10))
def test_whole_numbers_are_the_exact_mean_halves_to_even(
    dtype: np.dtype[np.generic], numbers: list[int], weight: int
) -> None:
    # Given whole numbers within the dtype's range, with weights whose sums float64 holds exactly
    limits = np.iinfo(dtype)
    within = [max(limits.min, min(number, limits.max)) for number in numbers]
    weights = [weight + k for k in range(len(within))]
    # When they are averaged by the kernel
    averaged = by_kernel([np.full(2 * TILE, number, dtype) for number in within], [float(w) for w in weights])
    # Then it is the exact mean, rounded as Python rounds fractions
    exact = Fraction(sum(number * w for number, w in zip(within, weights, strict=True)), sum(weights))
    assert averaged.tolist() == [round(exact)] * 2 * TILE


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "iu"], ids=str)
def test_whole_numbers_stay_within_their_range(dtype: np.dtype[np.generic]) -> None:
    # Given the largest and the least number that there is: float64 has 2**63 and 2**64 for those of 64 bits
    limits = np.iinfo(dtype)
    ends = np.repeat(np.array([limits.max, limits.min], dtype), WHOLE_TILE)
    # When all agree on them, and when a weight below zero takes the mean, 3 x - 2 y, beyond them
    agreed, beyond = by_kernel([ends, ends], [3.0, 5.0]), by_kernel([ends, ends[::-1]], [3.0, -2.0])
    # Then the mean is they
    assert agreed.tolist() == ends.tolist()
    assert beyond.tolist() == ends.tolist()


@pytest.mark.parametrize("dtype", SMALL, ids=str)
@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize("unit", [1.0, 2.0**-70])
def test_whole_weights_whose_sums_are_the_largest_that_int32_holds(
    dtype: np.dtype[np.generic], excess: int, unit: float
) -> None:
    # Given weights that take the sum of the largest values as far as an int32 goes, or further
    furthest = 1 if dtype.kind == "b" else max(np.iinfo(dtype).max, -int(np.iinfo(dtype).min))
    total = (2**31 - 1) // furthest + excess
    weights = [unit * weight for weight in (1.0, 2.0, total - 3.0)]
    ends = [True, False] if dtype.kind == "b" else [np.iinfo(dtype).min, np.iinfo(dtype).max]
    same, other = np.resize(np.array(ends, dtype), WHOLE_TILE), any_bits(dtype, WHOLE_TILE, 0)
    # When they are averaged, then the mean is that of NumPy
    for updates in ([same, same, same], [other, same, same], [same, other, other]):
        assert by_kernel(updates, weights).tobytes() == by_numpy(updates, weights).tobytes()


@pytest.mark.parametrize("dtype", SMALL, ids=str)
@given(weight=st.integers(1, 2**22))
def test_means_halfway_between_two_numbers_are_even(dtype: np.dtype[np.generic], weight: int) -> None:
    # Given many numbers x and the numbers x + 1 beside them, with equal weights
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    lower = np.linspace(limits[0], limits[1] - 1, 4 * WHOLE_TILE).astype(np.int64)
    updates = [lower.astype(dtype), (lower + 1).astype(dtype)]
    # When they are averaged, then each mean is the one of the two that is even
    averaged = by_kernel(updates, [float(weight)] * 2)
    assert averaged.tolist() == (lower + lower % 2).astype(dtype).tolist()


@pytest.mark.parametrize("dtype", SMALL, ids=str)
def test_whole_weights_have_a_way_of_their_own(dtype: np.dtype[np.generic], monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an update that ends amid a tile of int32
    update, result = np.ones(WHOLE_TILE + TILE, dtype), np.zeros(WHOLE_TILE + TILE, dtype)

    def num_done(weights: list[float], total: float) -> int:
        found = mean_kernel(dtype)
        assert found is not None
        return found([update] * len(weights), weights, total, result)

    # When weights are whole in some ratio that is not too large, and total is theirs, then int32 is what sums are in
    assert [num_done(weights, sum(weights)) for weights in ([3.0, 0.0], [0.375, 0.5])] == [WHOLE_TILE] * 2
    # And else float64
    others = [([3.0, -1.0], 2.0), ([0.1, 0.2], 0.1 + 0.2), ([2.0**31], 2.0**31), ([3.0], 2.0), ([0.0], 1.0)]
    assert [num_done(weights, total) for weights, total in others] == [WHOLE_TILE + TILE] * len(others)
    # And on a processor that rounds products before it adds them
    monkeypatch.setattr(kernel, "_has_fused", lambda _: False)
    mean_kernel.cache_clear()
    assert num_done([3.0], 3.0) == WHOLE_TILE + TILE
    mean_kernel.cache_clear()


@given(
    columns=st.lists(
        st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=3).filter(lambda x: sum(map(abs, x)) > 1e-280),
        min_size=1,
        max_size=TILE,
    )
)
def test_float64_is_within_its_roundings_of_an_exact_sum(columns: list[list[float]]) -> None:
    # Given three clients' numbers
    updates = [np.resize(np.array(row), TILE) for row in zip(*columns, strict=True)]
    # When they are averaged with weights 1, 2 and 4 of 8, with one that has zeros
    averaged = by_kernel([*updates, np.zeros(TILE)], [1.0, 2.0, 4.0, 1.0])
    # Then math.fsum, which rounds once, is as near as four roundings let it
    for mean_value, column in zip(averaged.tolist(), columns, strict=False):
        parts = [x * n / 8 for x, n in zip(column, (1, 2, 4), strict=True)]
        assert abs(mean_value - math.fsum(parts)) <= 4 * 2.0**-53 * math.fsum(map(abs, parts))


@each_dtype
@pytest.mark.parametrize("has_kernel", [True, False])
def test_the_number_of_threads_makes_no_difference(
    dtype: np.dtype[np.generic], has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given arrays of many parts, whose ends are those of no tile
    monkeypatch.setattr(blocks, "PART_BYTES", 1000)
    updates, weights = [any_bits(dtype, 20_011, seed) for seed in range(3)], [3.0, 7.5, 11.0]
    average = by_kernel if has_kernel else by_numpy
    # When they are averaged by one thread and by five
    results = []
    for num_threads in (1, 5):
        monkeypatch.setattr(mean, "num_cores", lambda number=num_threads: number)
        results.append(average(updates, weights).tobytes())
    # Then the results are equal, and those of one part
    monkeypatch.undo()
    assert results == [average(updates, weights).tobytes()] * 2


@each_dtype
def test_memory_maps_at_any_address_are_averaged(dtype: np.dtype[np.generic], tmp_path: Path) -> None:
    # Given updates in files, in which an array of three bytes comes before the one in question
    arrays = [any_bits(dtype, 5 * TILE + 3, seed) for seed in range(2)]
    updates = []
    for number, values in enumerate(arrays):
        write_file(tmp_path / str(number), {"a": np.zeros(3, np.int8), "w": values})
        updates.append(map_file(tmp_path / str(number))["w"])
    assert not any(values.flags.writeable for values in updates)
    assert dtype.itemsize == 1 or not any(values.flags.aligned for values in updates)
    # When their memory maps are averaged, then the result is that of arrays in memory
    assert by_kernel(updates, [1.0, 2.0]).tobytes() == by_numpy(arrays, [1.0, 2.0]).tobytes()


@each_dtype
@given(shift=st.integers(1, 3), step=st.sampled_from([-2, -1, 2, 3]))
def test_views_that_are_not_contiguous_are_averaged(dtype: np.dtype[np.generic], shift: int, step: int) -> None:
    # Given every second or third element, backwards too, a transposed matrix, and unaligned values
    whole = any_bits(dtype, 400, shift)
    views = [whole[::step][shift:][:100], unaligned(whole[:100]), whole.reshape(20, 20).T[:5].reshape(-1)]
    # When they are averaged by the kernel, then the result is that of copies
    copies = [np.array(view) for view in views]
    assert by_kernel(views, [1.0, 2.0, 3.0]).tobytes() == by_numpy(copies, [1.0, 2.0, 3.0]).tobytes()


@each_dtype
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, TILE), (7, 5, 3)])
def test_arrays_keep_their_shapes(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    # Given two updates of any shape, none and one element included
    updates = [any_bits(dtype, math.prod(shape), seed).reshape(shape) for seed in range(2)]
    # When they are averaged, then the shape is kept
    averaged = by_kernel(updates, [1.0, 1.0])
    assert (averaged.shape, averaged.tobytes()) == (shape, by_numpy(updates, [1.0, 1.0]).tobytes())


def test_the_last_elements_are_left_to_the_caller() -> None:
    # Given a result of two tiles and five elements
    update, result = np.ones(2 * TILE + 5), np.zeros(2 * TILE + 5)
    found = mean_kernel(update.dtype)
    assert found is not None
    # When the kernel is called, then it does the tiles, and leaves what is beyond them alone
    assert found([update], [1.0], 1.0, result) == 2 * TILE
    assert result.tolist() == [1.0] * 2 * TILE + [0.0] * 5
    assert found([update[: TILE - 1]], [1.0], 1.0, result[: TILE - 1]) == 0


@pytest.mark.parametrize(
    ("updates", "weights"),
    [
        ([np.ones(TILE, np.float32), np.ones(TILE)], [1.0, 1.0]),
        ([np.ones(TILE, np.float32), np.ones(TILE - 1, np.float32)], [1.0, 1.0]),
        ([np.ones((2, TILE // 2), np.float32)], [1.0]),
        ([np.ones(2 * TILE, np.float32)[::2]], [1.0]),
        ([np.ones(TILE, np.float32)], []),
    ],
)
def test_arrays_that_it_would_read_beyond_are_refused(updates: list[Array], weights: list[float]) -> None:
    # Given an array of another dtype, size or layout, or a weight too few
    found = mean_kernel(np.dtype(np.float32))
    assert found is not None
    # When the kernel is called with it, then it refuses
    with pytest.raises(ValueError, match=r"^needed are contiguous float32 of one shape"):
        found(updates, weights, 1.0, np.empty(TILE, np.float32))


@pytest.mark.parametrize("dtype", [">f4", "g", "F", "U3"])
def test_there_is_no_kernel_for_other_dtypes(dtype: npt.DTypeLike) -> None:
    # Given bytes in the other order, long doubles, complex numbers or text, when asked for, then there is none
    assert mean_kernel(np.dtype(dtype)) is None


@pytest.fixture
def _forgotten() -> Iterator[None]:
    mean_kernel.cache_clear()
    yield
    mean_kernel.cache_clear()


@pytest.mark.usefixtures("_forgotten")
def test_without_llvm_numpy_averages_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a machine without llvmlite
    updates = [any_bits(np.dtype(np.float32), 100, seed) for seed in range(2)]
    expected = by_numpy(updates, [1.0, 2.0])
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    # When large updates are averaged, twice
    with caplog.at_level(logging.WARNING):
        results = [by_kernel(updates, [1.0, 2.0]).tobytes() for _ in range(2)]
    # Then the result is the same, and it is told once
    assert results == [expected.tobytes()] * 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "NumPy averages float32, which takes several times as long as machine code"
    ]


@pytest.mark.usefixtures("_forgotten")
def test_float16_has_no_kernel_on_a_processor_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a processor that doesn't convert float16
    monkeypatch.setattr(kernel, "_has_half", lambda _: False)
    # When kernels are asked for, then there is none for float16 alone
    assert [mean_kernel(dtype) is None for dtype in DTYPES] == [dtype == np.float16 for dtype in DTYPES]


def test_llvm_is_loaded_for_large_updates_alone() -> None:
    # Given a fresh process in which LARGE_BYTES is small
    program = """
import sys, numpy
from orchestrator.aggregators import WeightedUpdate, mean
mean.LARGE_BYTES = 800
for size in (99, 100):
    mean.weighted_mean([WeightedUpdate({"w": numpy.ones(size, numpy.float32)}, 1.0)] * 2)
    print("llvmlite" in sys.modules)
"""
    # When updates of 792 bytes and of 800 are averaged
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # Then LLVM is loaded for the second
    assert done.stdout.split() == ["False", "True"]
