from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from tasks.arrays import BFLOAT16, Array, Arrays, spec_of
from tasks.errors import ArraysError
from verification.checks import UpdateRejectedError, check_update, is_finite, measure_update, own_length, squared_change

MODEL = {"bias": np.zeros(2, np.float32), "count": np.array(0), "weights": np.zeros((2, 3), np.float64)}
SPEC = spec_of(MODEL)


def changed(**arrays: Array) -> dict[str, Array]:
    return {**MODEL, **arrays}


def test_an_update_like_the_model_passes_whatever_its_order_and_byte_order() -> None:
    # Given an update with the model's names, shapes and dtypes, in another order, one of them big-endian
    update = {"weights": np.ones((2, 3), ">f8"), "count": np.array(-3), "bias": np.array([1, -1], np.float32)}
    # When it is checked, then nothing is raised
    check_update(update, SPEC)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({}, r"missing 'bias', 'count', 'weights'$"),
        ({**MODEL, "more": np.zeros(1)}, r"unknown 'more'$"),
        (
            {"bias": MODEL["bias"], "counts": MODEL["count"], "weights": MODEL["weights"]},
            r"missing 'count', unknown 'counts'$",
        ),
    ],
)
def test_an_update_with_other_names_is_rejected_with_them(update: Arrays, message: str) -> None:
    # Given an update that lacks an array or has one too many, when it is checked, then they are named
    with pytest.raises(UpdateRejectedError, match=f"array names differ from the model's: {message}"):
        check_update(update, SPEC)


def test_three_names_are_enough_for_a_message() -> None:
    # Given an update with a thousand arrays of no use, when it is checked, then the message names the first three
    update = {**MODEL, **{f"x{index:04d}": np.zeros(1) for index in range(1000)}}
    with pytest.raises(UpdateRejectedError, match=r"unknown 'x0000', 'x0001', 'x0002' and 997 more$"):
        check_update(update, SPEC)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("bias", np.zeros(3, np.float32), r"array 'bias' is F32 \(3,\), the model's is F32 \(2,\)"),
        ("bias", np.zeros((1, 2), np.float32), r"array 'bias' is F32 \(1, 2\), the model's is F32 \(2,\)"),
        ("bias", np.zeros(2, np.float64), r"array 'bias' is F64 \(2,\), the model's is F32 \(2,\)"),
        ("count", np.zeros(1, np.int64), r"array 'count' is I64 \(1,\), the model's is I64 \(\)"),
        ("count", np.array(0, np.uint64), r"array 'count' is U64 \(\), the model's is I64 \(\)"),
        ("weights", np.zeros((3, 2)), r"array 'weights' is F64 \(3, 2\), the model's is F64 \(2, 3\)"),
    ],
)
def test_an_array_of_another_shape_or_dtype_is_rejected(name: str, values: Array, message: str) -> None:
    # Given an update with one array that is otherwise, when it is checked, then both are told
    with pytest.raises(UpdateRejectedError, match=message):
        check_update(changed(**{name: values}), SPEC)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 5])
def test_one_value_that_is_no_number_is_enough(bad: float, position: int) -> None:
    # Given an update with a NaN or an infinity at one place
    weights = np.zeros((2, 3))
    weights.flat[position] = bad
    # When it is checked, then the array is named
    with pytest.raises(UpdateRejectedError, match="array 'weights' has values that are NaN or infinite"):
        check_update(changed(weights=weights), SPEC)


def test_an_array_of_text_is_an_arrays_error() -> None:
    # Given an array that no encoding has, when it is checked, then the error is that of arrays
    with pytest.raises(ArraysError, match="array 'bias' has dtype"):
        check_update(changed(bias=np.array(["a", "b"])), SPEC)


@pytest.mark.parametrize("position", [0, 2**18 - 1, 2**18, 2**19 - 1, 2**19, 2**19 + 6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, BFLOAT16])
def test_every_block_of_a_long_array_is_looked_at(position: int, dtype: type) -> None:
    # Given an array of two blocks of 2**18 elements and seven more, with one NaN
    values: Array = np.zeros(2**19 + 7, dtype)
    assert is_finite(values)
    values[position] = np.nan
    # When it is looked at, then the NaN is found
    assert not is_finite(values)


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.array(1.5), np.array([True]), np.array([2**63 - 1])])
def test_empty_arrays_single_numbers_and_whole_numbers_are_finite(values: Array) -> None:
    # Given arrays without a NaN, when they are looked at, then they are finite
    assert is_finite(values)


def test_the_largest_number_is_finite_and_not_contiguous_is_looked_at_too() -> None:
    # Given the largest float32, and every second element of an array
    largest = np.full(4, np.finfo(np.float32).max)
    holes = np.array([0.0, np.nan, 0.0, np.nan])
    # When they are looked at, then only what is in the array counts
    assert is_finite(largest)
    assert is_finite(holes[::2])
    assert not is_finite(holes[1::2])


@pytest.mark.parametrize(("dtype", "exponent"), [(np.float16, 0x7C00), (BFLOAT16, 0x7F80)])
def test_every_float_of_16_bits_is_told_from_infinities_and_nans(dtype: type, exponent: int) -> None:
    # Given all numbers of 16 bits, when each is looked at, then the exponents of ones alone are not finite
    every = np.arange(2**16, dtype=np.uint16)
    found = [is_finite(number) for number in every.view(dtype)[:, None]]
    assert found == [bits & exponent != exponent for bits in every.tolist()]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_among_numbers_whose_sum_overflows(dtype: str, bad: float) -> None:
    # Given the largest numbers of either sign, unaligned, in either order of bytes
    room = np.empty(100 * np.dtype(dtype).itemsize + 1, np.uint8)
    values = room[1:].view(dtype)
    for largest in (np.finfo(dtype).max, np.finfo(dtype).min):
        values[...] = largest
        assert is_finite(values)
        # When one, or one and its opposite, is no number, then it is found
        values[70] = bad
        assert not is_finite(values)
        values[30] = -bad
        assert not is_finite(values)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_whole_numbers_that_no_mean_holds_are_rejected(dtype: type) -> None:
    # Given a counter at the largest number that a mean in float64 holds, and one beyond it
    spec = spec_of({"count": np.zeros(3, dtype)})
    fit: Array = np.array([0, 1, 2**53], dtype)
    too_large: Array = np.array([0, 1, 2**53 + 1], dtype)
    # When both are checked, then the one passes, and the other is rejected with the number
    check_update({"count": fit}, spec)
    with pytest.raises(UpdateRejectedError, match=r"'count' has a whole number of size 9007199254740993: up to"):
        check_update({"count": too_large}, spec)


def test_whole_numbers_below_zero_are_rejected_likewise() -> None:
    # Given the least number that int64 holds, when it is checked, then it is rejected
    with pytest.raises(UpdateRejectedError, match="of size 9223372036854775808"):
        check_update({"count": np.array(-(2**63))}, spec_of({"count": np.array(0)}))


def test_an_update_is_checked_and_measured_part_by_part() -> None:
    # Given changes of (3, 4) in what is trained, (0, 5, 12) in a variance, 7 in a counter, and a set with both
    model = {"n": np.array(1), "var": np.ones(3, np.float32), "w": np.array([1.0, 2.0])}
    update = {
        "n": np.array(8),
        "var": np.array([1, 6, 13], np.float32),
        "w": np.array([4.0, 6.0]),
        "@c/var": np.array([2, 0, 0], np.float32),
        "@c/w": np.array([6.0, 8.0]),
    }
    # When the update is measured, then sets are as long as they are, and the counter has no length
    found = measure_update(update, spec_of(update), model, {"var"})
    assert found == {"buffers": 13.0, "parameters": 5.0, "@c/buffers": 2.0, "@c": 10.0}
    # And the model itself is √5 long in what is trained, √3 in its variance; sets are compared with these
    assert own_length("parameters", model, {"var"}) == own_length("@c", model, {"var"}) == pytest.approx(5**0.5)
    assert own_length("@results/parameters", model, {"var"}) == own_length("@results/buffers", model, {"var"}) == 0
    assert own_length("buffers", model, {"var"}) == own_length("@c/buffers", model, {"var"}) == pytest.approx(3**0.5)


def test_what_is_measured_is_checked() -> None:
    # Given an update with another shape, and one with an infinity, when they are measured, then they are rejected
    with pytest.raises(UpdateRejectedError, match=r"array 'bias' is F32 \(3,\), the model's is F32 \(2,\)"):
        measure_update(changed(bias=np.zeros(3, np.float32)), SPEC, MODEL, ())
    with pytest.raises(UpdateRejectedError, match="array 'weights' has values that are NaN or infinite"):
        measure_update(changed(weights=np.full((2, 3), np.inf)), SPEC, MODEL, ())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8"])
@pytest.mark.parametrize("size", [0, 1, 2**13 - 1, 2**13, 2**17, 2**17 + 2**13 + 5])
def test_changes_of_any_size_have_their_length(dtype: str, size: int) -> None:
    # Given numbers that differ from the model's by noise
    rng = np.random.default_rng(size)
    start = rng.standard_normal(size).astype(dtype)
    values = (start + rng.standard_normal(size)).astype(dtype)
    # When they are measured, then five digits are those of float64
    exact = np.sum((values.astype(np.float64) - start.astype(np.float64)) ** 2)
    assert squared_change(values, start) == pytest.approx(exact, rel=1e-5)
    assert squared_change(values, None) == pytest.approx(np.sum(values.astype(np.float64) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    ("dtype", "huge", "length"),
    [("f2", 6e4, 1.2e5), ("f4", 1e30, 2e30), ("f4", 3.4e38, 6.8e38), ("f8", 1e100, 2e100), ("f8", 1e300, 2e120)],
)
def test_numbers_whose_squares_overflow_have_a_length(dtype: str, huge: float, length: float) -> None:
    # Given four numbers so large that their squares are beyond their dtype; beyond 1e120 they count as that
    values = np.full(4, huge, dtype)
    # When they are measured, then the length is finite: √4 times each
    for start in (None, np.ones(4, dtype)):
        square = squared_change(values, start)
        assert square is not None
        assert math.sqrt(square) == pytest.approx(length, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_what_is_no_number_has_no_length(dtype: str, bad: float) -> None:
    # Given one value among many that is no number, beside one that is very large
    values = np.zeros(2**17 + 3, dtype)
    values[0], values[-1] = np.finfo(dtype).max, bad
    # When they are measured, then there is no length
    assert squared_change(values, np.zeros_like(values)) is None
    assert squared_change(values, None) is None


def test_numbers_that_started_from_no_number_are_as_long_as_can_be() -> None:
    # Given a model of a user's own that begins with an infinity, when an update of numbers is measured, then it passes
    assert squared_change(np.zeros(2), np.array([np.inf, 0.0])) == 1e240
    assert squared_change(np.zeros(2), np.array([np.nan, 0.0])) == 1e240


def test_lengths_are_the_same_however_many_cores_there_are() -> None:
    # Given processes in which BLAS may use one core and two
    program = (
        "import numpy as np; from verification.checks import squared_change;"
        "print(squared_change(np.random.default_rng(0).standard_normal(2**18 + 9).astype('f4'), None).hex())"
    )
    # When both measure the same numbers, then they agree to the last bit
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(num_threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for num_threads in (1, 2)
    }
    assert len(found) == 1
