from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from celeriac.aggregators import WeightedUpdate, blocks, kernel, mean
from celeriac.aggregators.blocks import rounded
from celeriac.aggregators.mean import BLOCK, GROUP, weighted_mean
from tasks.arrays import Array, map_file, write_file
from tests.celeriac.aggregators.numbers import DTYPES, any_bits, by_definition, each_dtype, unaligned

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-6)
WEIGHTS = st.integers(1, 10**6).map(float)
ROUNDING = Fraction(1, 2**53)
each_whole = pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "iu"], ids=str)


def updates_of(*pairs: tuple[Array, float]) -> list[WeightedUpdate]:
    return [WeightedUpdate({"w": values}, weight) for values, weight in pairs]


def mean_of(*pairs: tuple[Array, float]) -> Array:
    return weighted_mean(updates_of(*pairs))["w"]


def both_means(updates: list[Array], weights: list[float]) -> Array:
    """Return the mean of updates, whether they are large or not."""
    pairs = list(zip(updates, weights, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "LARGE_BYTES", 0)
        large = mean_of(*pairs)
    small = mean_of(*pairs)
    assert (large.dtype, large.shape, large.tobytes()) == (small.dtype, small.shape, small.tobytes())
    return small


def exact_mean(values: Sequence[float], weights: Sequence[float]) -> Fraction:
    total = sum((Fraction(x) * Fraction(n) for x, n in zip(values, weights, strict=True)), Fraction())
    return total / sum((Fraction(n) for n in weights), Fraction())


def to_float32(number: Fraction) -> np.float32:
    """The float32 that is nearest to ``number``, of two that are equally near the one with an even last bit."""
    near = np.float32(float(number))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    return min(candidates, key=lambda x: (abs(Fraction(float(x)) - number), int(x.view(np.uint32)) & 1))


def test_the_mean_of_unequal_clients_is_exact_where_float32_sums_lose_bits() -> None:
    # Given clients with 1, 1 and 2 examples, whose second value is lost when it is added to the first in float32:
    # above 2**24 float32 has even numbers only
    first, second, third = (np.array([x], np.float32) for x in (2**24, 1, 0.5))
    assert (first * 1 + second * 1 + third * 2) / np.float32(4) == 4_194_304.0
    # When they are averaged
    mean = mean_of((first, 1.0), (second, 1.0), (third, 2.0))
    # Then (2**24 * 1 + 1 * 1 + 0.5 * 2) / 4 = 16777218 / 4 = 4194304.5
    assert mean.dtype == np.float32
    assert mean.tolist() == [4_194_304.5]


@pytest.mark.parametrize("num_updates", [GROUP, GROUP + 1, 3 * GROUP + 7])
def test_sums_of_groups_are_added_in_their_order(num_updates: int) -> None:
    # Given as many updates as are one group, and more
    rng = np.random.default_rng(num_updates)
    updates = [rng.standard_normal(1000) for _ in range(num_updates)]
    weights = [float(number + 1) for number in range(num_updates)]
    # When they are averaged
    mean = both_means(updates, weights)
    # Then it is by definition the sum of the sums of 64 each, divided by what they weigh
    sums = np.zeros(1000)
    for start in range(0, num_updates, 64):
        sums += by_definition(np.zeros(1000), updates[start : start + 64], weights[start : start + 64])
    np.testing.assert_array_equal(mean, sums / sum(weights))


def test_the_mean_of_three_clients_is_rounded_once_to_the_nearest_float32() -> None:
    # Given clients with 3, 5 and 11 examples, and the float32 numbers nearest to 0.1, 0.7, -0.3, and 1/3, 0.2, 0.9
    weights = [3.0, 5.0, 11.0]
    columns = [[np.float32(x) for x in column] for column in ([0.1, 0.7, -0.3], [1 / 3, 0.2, 0.9])]
    clients = [np.array(row, np.float32) for row in zip(*columns, strict=True)]
    # When they are averaged
    mean = mean_of(*zip(clients, weights, strict=True))
    # Then each is the float32 nearest to the exact (3 a + 5 b + 11 c) / 19
    expected = [to_float32(exact_mean([float(x) for x in column], weights)) for column in columns]
    assert mean.tolist() == [float(x) for x in expected]
    # And by hand, to six digits: (0.3 + 3.5 - 3.3) / 19 = 0.5 / 19, and (1 + 1 + 9.9) / 19 = 11.9 / 19
    assert mean.tolist() == pytest.approx([0.0263158, 0.6263158], abs=1e-6)


@given(
    data=st.lists(
        st.tuples(st.floats(2.0**-100, 2.0**100, width=32), st.integers(1, 2**29 - 1)), min_size=1, max_size=8
    )
)
def test_float32_is_off_by_no_more_than_one_rounding(data: list[tuple[float, int]]) -> None:
    # Given positive numbers and any examples
    values, weights = [x for x, _ in data], [float(n) for _, n in data]
    # When they are averaged in float32
    mean = mean_of(*((np.array([x], np.float32), n) for x, n in zip(values, weights, strict=True)))
    # Then the error is half a float32 rounding step, and that of K + 1 roundings in float64
    exact = exact_mean(values, weights)
    step = Fraction(1, 2**24) + (len(data) + 2) * ROUNDING
    assert abs(Fraction(float(mean[0])) - exact) <= step * exact


@given(data=st.lists(st.tuples(NUMBERS, WEIGHTS), min_size=1, max_size=8))
def test_float64_is_off_by_no_more_than_its_roundings(data: list[tuple[float, float]]) -> None:
    # Given numbers of both signs
    values, weights = [x for x, _ in data], [n for _, n in data]
    # When they are averaged in float64
    mean = mean_of(*((np.array([x]), n) for x, n in data))
    # Then the error is that of K + 1 roundings of the sum of absolute values
    bound = (len(data) + 2) * ROUNDING * exact_mean([abs(x) for x in values], weights)
    assert abs(Fraction(float(mean[0])) - exact_mean(values, weights)) <= bound


@given(data=st.lists(st.tuples(NUMBERS, WEIGHTS), min_size=1, max_size=8), order=st.randoms(use_true_random=False))
def test_another_order_differs_by_no_more_than_roundings(data: list[tuple[float, float]], order: object) -> None:
    # Given the same updates in another order
    shuffled = list(data)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    # When both are averaged
    one, other = (mean_of(*((np.array([x]), n) for x, n in each)) for each in (data, shuffled))
    # Then the difference is within twice the error of each
    bound = 2 * (len(data) + 2) * ROUNDING * exact_mean([abs(x) for x, _ in data], [n for _, n in data])
    assert abs(Fraction(float(one[0])) - Fraction(float(other[0]))) <= bound


@given(values=st.lists(NUMBERS, min_size=1, max_size=5), weights=st.lists(WEIGHTS, min_size=1, max_size=6))
def test_equal_updates_are_their_own_mean(values: list[float], weights: list[float]) -> None:
    # Given any number of clients with the same parameters
    update = np.array(values, np.float32)
    # When they are averaged, then nothing changes
    assert mean_of(*((update, weight) for weight in weights)).tolist() == update.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.int32, np.uint8, np.uint32, np.bool_])
@given(weight=st.integers(1, 2**29 - 1))
def test_one_update_is_its_own_mean(dtype: type, weight: int) -> None:
    # Given one client, and every byte as a number
    update: Array = np.arange(256).astype(np.uint8).view(np.int8).astype(dtype)
    # When it is averaged, then nothing changes
    mean = mean_of((update, float(weight)))
    assert (mean.dtype, mean.tolist()) == (update.dtype, update.tolist())


@given(data=st.lists(st.tuples(NUMBERS, WEIGHTS), min_size=1, max_size=6), exponent=st.integers(-20, 20))
def test_weights_times_a_power_of_two_make_no_difference(data: list[tuple[float, float]], exponent: int) -> None:
    # Given weights, and the same times 2**exponent, which rounds nothing
    pairs = [(np.array([x]), n) for x, n in data]
    scaled = [(values, n * 2.0**exponent) for values, n in pairs]
    # When both are averaged, then the results are equal to the last bit
    assert mean_of(*pairs).tobytes() == mean_of(*scaled).tobytes()


def test_updates_are_summed_in_the_order_that_they_are_given() -> None:
    # Given numbers of which the small one is lost beside the large: 2**53 + 1 is 2**53 in float64
    large, small, minus = (np.array([x]) for x in (2.0**53, 1.0, -(2.0**53)))
    # When they are given in two orders
    lost = mean_of((large, 1.0), (small, 1.0), (minus, 1.0))
    kept = mean_of((large, 1.0), (minus, 1.0), (small, 1.0))
    # Then the sums are 0 and 1
    assert (lost.tolist(), kept.tolist()) == ([0.0], [1 / 3])


def test_whole_numbers_are_rounded_to_the_nearest_halves_to_even() -> None:
    # Given two clients that weigh 1 and 3: (a + 3 b) / 4
    one, two = np.array([0, 1, 2, 2, 6, -6, 7]), np.array([1, 1, 1, 2, 4, -4, 7])
    # When int64 arrays are averaged
    mean = mean_of((one, 1.0), (two, 3.0))
    # Then 0.75, 1, 1.25, 2, 4.5, -4.5, 7 are these
    assert mean.dtype == np.int64
    assert mean.tolist() == [1, 1, 1, 2, 4, -4, 7]


@pytest.mark.parametrize("number", [2**62, 2**63 - 1, -(2**63)])
def test_a_large_whole_number_that_all_agree_on_keeps_its_sign(number: int) -> None:
    # Given two clients with the same int64, which float64 holds to 53 bits
    update = np.array([number])
    # When they are averaged, then it is near to what it was
    assert mean_of((update, 3.0), (update, 5.0)).tolist() == pytest.approx([number], rel=2**-53)


def test_the_largest_float64_that_all_agree_on_is_kept() -> None:
    # Given two clients with the same number, near the largest that there is
    update = np.array([1e308])
    # When they are averaged, then it is what it was
    assert mean_of((update, 300.0), (update, 500.0)).tolist() == pytest.approx([1e308])


def test_booleans_are_what_most_examples_say() -> None:
    # Given clients with 2 and 3 examples that disagree
    one, two = np.array([True, False, True]), np.array([False, True, True])
    # When they are averaged, then 0.4, 0.6 and 1 are these
    assert mean_of((one, 2.0), (two, 3.0)).tolist() == [False, True, True]


def test_float16_is_rounded_once_and_float64_stays_itself() -> None:
    # Given float16 numbers whose sum, 131008, float16 doesn't hold
    largest = np.array([65504, 1], np.float16)
    mean = mean_of((largest, 1.0), (largest, 1.0))
    assert (mean.dtype.name, mean.tolist()) == ("float16", [65504.0, 1.0])
    # When float64 is averaged, then it is float64: (1 * 0.1 + 3 * 0.3) / 4
    mean = mean_of((np.array([0.1]), 1.0), (np.array([0.3]), 3.0))
    assert (mean.dtype.name, mean.tolist()) == ("float64", [(0.1 + 3 * 0.3) / 4])


def test_arrays_without_dimensions_and_without_elements_keep_their_shapes() -> None:
    # Given arrays of shapes (), (0, 3) and (2, 1, 2)
    one = {"n": np.array(1.0), "none": np.zeros((0, 3), np.float32), "cube": np.arange(4.0).reshape(2, 1, 2)}
    two = {"n": np.array(4.0), "none": np.zeros((0, 3), np.float32), "cube": 3 * np.arange(4.0).reshape(2, 1, 2)}
    # When they are averaged with weights 1 and 2
    mean = weighted_mean([WeightedUpdate(one, 1.0), WeightedUpdate(two, 2.0)])
    # Then (1 + 2 * 4) / 3 = 3, and (x + 2 * 3 x) / 3 = 7 x / 3
    assert list(mean) == ["n", "none", "cube"]
    assert (mean["n"].shape, mean["n"].item()) == ((), 3.0)
    assert mean["none"].shape == (0, 3)
    assert mean["cube"].tolist() == [[[0.0, 7 / 3]], [[14 / 3, 7.0]]]


def test_matrices_that_are_not_contiguous_are_averaged_all_the_same() -> None:
    # Given a matrix of more than a block, and the same laid out by columns
    matrix = np.arange(300 * 301, dtype=np.float64).reshape(300, 301)
    # When they are averaged, then the layout makes no difference
    assert np.array_equal(mean_of((matrix, 1.0), (np.asfortranarray(matrix), 2.0)), matrix)


def test_updates_are_left_as_they_were_and_may_be_read_only() -> None:
    # Given updates that can't be written to
    one, two = np.array([1.0]), np.array([3.0])
    one.flags.writeable = two.flags.writeable = False
    # When they are averaged
    mean = mean_of((one, 1.0), (two, 1.0))
    # Then the mean is an array of its own
    assert (mean.tolist(), one.tolist(), two.tolist()) == ([2.0], [1.0], [3.0])
    assert mean.flags.writeable


def test_an_update_that_weighs_nothing_counts_for_nothing() -> None:
    # Given a client that weighs 0, when it is averaged with another, then the other is the mean
    assert mean_of((np.array([5.0]), 0.0), (np.array([1.0]), 2.0)).tolist() == [1.0]


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0], [1.0, -1.0], [-1.0], [math.nan]])
def test_updates_that_weigh_nothing_in_sum_have_no_mean(weights: list[float]) -> None:
    # Given no updates, or none that weighs anything, when they are averaged, then the message says so
    with pytest.raises(ValueError, match=f"^{len(weights)} updates weigh .* in sum: more than 0 is needed"):
        weighted_mean(updates_of(*((np.array([1.0]), weight) for weight in weights)))


def test_an_update_without_one_of_the_arrays_has_no_mean() -> None:
    # Given an update that lacks an array of the first, when they are averaged, then its name is told
    with pytest.raises(KeyError, match="w"):
        weighted_mean([*updates_of((np.array([1.0]), 1.0)), WeightedUpdate({"v": np.array([1.0])}, 1.0)])


@each_dtype
@given(
    length=st.integers(0, 200),
    weights=st.lists(st.one_of(WEIGHTS, st.just(0.0), st.floats(2.0**-30, 2.0**30)), min_size=1, max_size=19).filter(
        any
    ),
    seed=st.integers(0, 2**32 - 1),
)
@example(length=2 * BLOCK + 37, weights=[3.0, 0.1], seed=0)
def test_every_dtype_is_summed_in_order_in_float64_and_rounded_once(
    dtype: np.dtype[np.generic], length: int, weights: list[float], seed: int
) -> None:
    # Given updates of any finite numbers
    updates = [any_bits(dtype, length, seed + k) for k in range(len(weights))]
    # When they are averaged, large or not, then the bytes are those of the definition
    total = sum(weights)
    scale = 2.0 ** -math.frexp(total)[1]
    sums = by_definition(np.zeros(length), updates, [weight * scale for weight in weights])
    assert both_means(updates, weights).tobytes() == rounded(sums / (total * scale), dtype).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_not_made_finite(dtype: type) -> None:
    # Given updates with infinities and NaNs, each beside a number and beside its opposite
    one: Array = np.array([np.inf, -np.inf, np.nan, np.inf] * 32, dtype)
    two: Array = np.array([1.0, 1.0, 1.0, -np.inf] * 32, dtype)
    # When they are averaged, then they stay what they are, and inf - inf is none
    with np.errstate(invalid="ignore"):
        found = both_means([one, two], [1.0, 2.0])
    np.testing.assert_array_equal(found, np.array([np.inf, -np.inf, np.nan, np.nan] * 32, dtype))


@given(numerators=st.lists(st.integers(-(2**20), 2**20), min_size=2, max_size=9), weight=st.integers(1, 2**6))
@example(numerators=[2049 * 2**9, 2049 * 2**9 + 1], weight=1)
def test_float16_is_the_exact_mean_rounded_once(numerators: list[int], weight: int) -> None:
    # Given numbers n / 2**10 as float16 has them, with weights whose sums float64 holds exactly
    updates = [np.full(1, n / 2**10, np.float16) for n in numerators]
    weights = [float(weight + k) for k in range(len(updates))]
    # When they are averaged
    near = both_means(updates, weights)
    # Then none of the float16 beside it is nearer to the exact mean, nor as near with an even last bit
    exact = exact_mean([float(x[0]) for x in updates], weights)
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
    # Given means in float64, when they are rounded to float16, then the result is that of one rounding
    assert rounded(np.array([number, -number]), np.dtype(np.float16)).tolist() == [expected, -expected]


@each_whole
@given(numbers=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9), weight=st.integers(1, 2**10))
def test_whole_numbers_are_the_exact_mean_halves_to_even(
    dtype: np.dtype[np.integer], numbers: list[int], weight: int
) -> None:
    # Given whole numbers within the dtype's range, with weights whose sums float64 holds exactly
    limits = np.iinfo(dtype)
    within = [max(limits.min, min(number, limits.max)) for number in numbers]
    weights = [float(weight + k) for k in range(len(within))]
    # When they are averaged, then it is the exact mean, rounded as Python rounds fractions
    averaged = both_means([np.full(33, number, dtype) for number in within], weights)
    assert averaged.tolist() == [round(exact_mean(within, weights))] * 33


@each_whole
def test_whole_numbers_stay_within_their_range(dtype: np.dtype[np.integer]) -> None:
    # Given the largest and the least number that there is: float64 has 2**63 and 2**64 for those of 64 bits
    limits = np.iinfo(dtype)
    ends = np.repeat(np.array([limits.max, limits.min], dtype), 64)
    # When all agree on them, and when a weight below zero takes the mean, 3 x - 2 y, beyond them, then the mean is they
    assert both_means([ends, ends], [3.0, 5.0]).tolist() == ends.tolist()
    assert both_means([ends, ends[::-1]], [3.0, -2.0]).tolist() == ends.tolist()


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype.kind in "iub" and dtype.itemsize < 4], ids=str)
@given(weight=st.integers(1, 2**22))
def test_means_halfway_between_two_numbers_are_even(dtype: np.dtype[Any], weight: int) -> None:
    # Given many numbers x and the numbers x + 1 beside them, with equal weights
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    lower = np.linspace(limits[0], limits[1] - 1, 256).astype(np.int64)
    # When they are averaged, then each mean is the one of the two that is even
    averaged = both_means([lower.astype(dtype), (lower + 1).astype(dtype)], [float(weight)] * 2)
    assert averaged.tolist() == (lower + lower % 2).astype(dtype).tolist()


@each_dtype
def test_neither_threads_nor_parts_nor_where_updates_are_make_a_difference(
    dtype: np.dtype[np.generic], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Given updates, and the same in read-only files, in which an array of three bytes comes before the one in question
    updates, weights = [any_bits(dtype, 20_011, seed) for seed in range(3)], [3.0, 7.5, 11.0]
    mapped = []
    for number, values in enumerate(updates):
        write_file(tmp_path / str(number), {"a": np.zeros(3, np.int8), "w": values})
        mapped.append(map_file(tmp_path / str(number))["w"])
    assert not any(values.flags.writeable or (values.flags.aligned and dtype.itemsize > 1) for values in mapped)
    expected = both_means(updates, weights).tobytes()
    # When they are averaged in many parts by one thread and by five, then the results are those of one part
    monkeypatch.setattr(blocks, "PART_BYTES", 1000)
    for num_threads in (1, 5):
        monkeypatch.setattr(mean, "num_cores", lambda number=num_threads: number)
        assert [both_means(each, weights).tobytes() for each in (updates, mapped)] == [expected] * 2


@each_dtype
@given(shift=st.integers(1, 3), step=st.sampled_from([-2, -1, 2, 3]))
def test_views_that_are_not_contiguous_are_averaged(dtype: np.dtype[np.generic], shift: int, step: int) -> None:
    # Given every second or third element, backwards too, a transposed matrix, and unaligned values
    whole = any_bits(dtype, 400, shift)
    views = [whole[::step][shift:][:100], unaligned(whole[:100]), whole.reshape(20, 20).T[:5].reshape(-1)]
    # When they are averaged, then the result is that of copies
    copies = [np.array(view) for view in views]
    assert both_means(views, [1.0, 2.0, 3.0]).tobytes() == both_means(copies, [1.0, 2.0, 3.0]).tobytes()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 32), (7, 5, 3)])
def test_arrays_keep_their_shapes(shape: tuple[int, ...]) -> None:
    # Given an update of any shape, none and one element included, when it is averaged, then the shape is kept
    update = any_bits(np.dtype(np.float32), math.prod(shape), 0).reshape(shape)
    assert both_means([update, update], [1.0, 1.0]).shape == shape
