from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks import results
from tasks.arrays import Array
from tasks.errors import ConfigurationError
from tasks.results import Result

OF_CLIENTS = [np.array([1.0, -2.0]), np.array([3.0, 4.0]), np.array([5.0, 0.0])]
WEIGHTS = [1.0, 1.0, 2.0]


@pytest.mark.parametrize(("reduction", "expected"), [("sum", [9.0, 2.0]), ("mean", [3.5, 0.5]), ("max", [5.0, 4.0])])
def test_of_all_clients_arrays_there_is_one(reduction: Any, expected: list[float]) -> None:
    # Given three clients' arrays and what they weigh, when they are reduced, then it is as by hand
    found = Result(reduction, shape=(2,)).reduce(OF_CLIENTS, WEIGHTS)
    assert found.dtype == np.float64
    assert found.tolist() == expected


def test_arrays_of_any_length_come_one_after_the_other() -> None:
    # Given rows of two clients, of which one has none
    declared = Result("concat", shape=(None, 2), dtype="int32")
    rows = [np.array([[1, 2]], np.int32), np.zeros((0, 2), np.int32), np.array([[3, 4], [5, 6]], np.int32)]
    # When they are reduced, then all rows are there, in the clients' order
    assert declared.reduce(rows, [1, 1, 1]).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_whole_numbers_are_added_up_exactly() -> None:
    # Given counts that no float64 holds the sum of
    counts = [np.array([2**53]), np.array([1])]
    # When they are added up, then the sum is right to the last digit
    assert Result("sum", shape=(1,), dtype="int64").reduce(counts, [1, 1]).tolist() == [2**53 + 1]


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("float64", [1e308, 1e308], 1.7976931348623157e308),
        ("float32", [3e38, 3e38], 3.4028234663852886e38),
        ("float16", [-65504, -65504], -65504.0),
        ("uint8", [200, 100], 255),
    ],
)
def test_a_sum_beyond_the_range_is_at_its_end(dtype: str, values: list[float], expected: float) -> None:
    # Given values of hostile clients, which are too large together
    of_clients = [np.array(value, dtype) for value in values]
    # When they are added up, then the sum is the last number there is, and no infinity that would fail the round
    found = Result("sum", dtype=dtype).reduce(of_clients, [1, 1])
    assert (found.dtype, float(found)) == (np.dtype(dtype), expected)


def test_a_sum_of_more_clients_than_int64_holds_is_at_its_end() -> None:
    # Given the largest numbers of so many clients that their sum is beyond int64, one of which takes 1 from it
    of_clients = [np.array([2**53, -(2**53)])] * 1025 + [np.array([-1, 1])]
    # When they are added up, then the sum hasn't gone round to the other sign
    found = Result("sum", shape=(2,), dtype="int64").reduce(of_clients, [1] * 1026)
    assert found.tolist() == [2**63 - 2, -(2**63) + 1]


def test_a_mean_of_what_weighs_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 updates weigh 0.0 in sum: more than 0 is needed"):
        Result("mean").reduce([np.array(1.0), np.array(2.0)], [0, 0])


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (np.zeros((2, 3)), ""),
        (np.zeros((9, 3)), ""),
        (np.zeros((2, 3), np.float32), "is float32 (2, 3): float64 (any, 3) is declared"),
        (np.zeros((2, 4)), "is float64 (2, 4): float64 (any, 3) is declared"),
        (np.zeros(3), "is float64 (3,): float64 (any, 3) is declared"),
        (np.zeros((10, 3)), "has 240 bytes: 216 are allowed (max_bytes)"),
        (np.full((1, 3), np.nan), "has values that are NaN or infinite"),
    ],
)
def test_what_isnt_as_declared_is_said(values: Array, wrong: str) -> None:
    # Given a result of up to nine rows of three numbers, when values are looked at, then what is wrong is said
    assert Result("concat", shape=(None, 3), max_bytes=216).wrong_with(values) == wrong


def test_whole_numbers_that_cant_be_added_up_are_said() -> None:
    # Given a number of which a thousand would leave int64
    counts = np.array([1, -(2**53) - 1])
    # When it is looked at, then a sum refuses it, and a maximum doesn't
    wrong = "has a whole number over 9007199254740992 (2**53), which can't be added up"
    assert Result("sum", shape=(2,), dtype="int64").wrong_with(counts) == wrong
    assert Result("max", shape=(2,), dtype="int64").wrong_with(counts) == ""


def test_names_that_are_too_many_or_too_few_are_said() -> None:
    declared = {"deaths": Result("sum"), "at_risk": Result("sum")}
    one = {"deaths": np.array(1.0)}
    assert results.difference({**one, "at_risk": np.array(2.0)}, declared) == ""
    assert results.difference(one, declared) == "result 'at_risk' is missing"
    assert results.difference({**one, "x": one["deaths"]}, declared) == (
        "result 'x' isn't declared: deaths, at_risk are"
    )
    assert results.difference(one, {}) == "result 'deaths' isn't declared: none is"
    assert results.difference({**one, "at_risk": np.zeros(2)}, declared) == (
        "result 'at_risk' is float64 (2,): float64 () is declared"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reduction": "median"}, "reduction='median'): one of sum, mean, max, concat is allowed"),
        (
            {"reduction": "sum", "dtype": "complex64"},
            "dtype='complex64'): a dtype of numbers, like float64 or uint8 is",
        ),
        ({"reduction": "sum", "dtype": "floaty"}, "dtype='floaty'): a dtype of numbers, like float64 or uint8 is"),
        ({"reduction": "sum", "shape": (None,)}, "'sum', shape=(None,)): a tuple of sizes from 1 is allowed"),
        ({"reduction": "sum", "shape": 3}, "'sum', shape=3): a tuple of sizes from 1 is allowed"),
        ({"reduction": "sum", "shape": (2, -1)}, "'sum', shape=(2, -1)): a tuple of sizes from 1 is allowed"),
        ({"reduction": "sum", "shape": ("2",)}, "'sum', shape=('2',)): a tuple of sizes from 1 is allowed"),
        ({"reduction": "concat"}, "'concat', shape=()): (None, …), None standing for any size, is allowed"),
        ({"reduction": "concat", "shape": (2, None)}, "'concat', shape=(2, None)): (None, …), None standing"),
        ({"reduction": "concat", "shape": (None, 0)}, "'concat', shape=(None, 0)): (None, …), None standing"),
        ({"reduction": "concat", "shape": (None,), "max_bytes": 0}, "max_bytes=0): a whole number from 1 is allowed"),
        ({"reduction": "mean", "dtype": "int64"}, "'mean', dtype='int64'): a dtype that has such values is"),
        ({"reduction": "sum", "dtype": "bool"}, "'sum', dtype='bool'): a dtype that has such values is allowed"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Result(**given)
    assert str(refused.value).startswith(f"Result({message}")


@pytest.mark.parametrize("dtype", ["float32", "f4", ">f4", np.float32, np.dtype("float32")])
def test_a_dtype_may_be_given_as_numpy_takes_it(dtype: Any) -> None:
    # Given a dtype in one of its forms, and sizes as a list, when a result is declared, then it is by name, as a tuple
    declared = Result("sum", shape=[2], dtype=dtype)  # type: ignore[arg-type]
    assert declared == Result("sum", shape=(2,), dtype="float32")
    assert declared.wrong_with(np.zeros(2, np.float32)) == ""
