from __future__ import annotations

import numpy as np
import pytest

from tests.celeriac.aggregators.cohorts import aggregate, random_rows, updates_of


def test_of_an_odd_number_it_is_the_middle_one_at_each_place() -> None:
    # Given three clients, each in the middle at another place, one of which weighs more than the others
    updates = updates_of([1, 9, 5], [2, 7, 4], [3, 8, -100], weights=[1.0, 50.0, 1.0])
    # When their median is taken, then weights make no difference
    assert aggregate("median", updates).tolist() == [2.0, 8.0, 4.0]


def test_of_an_even_number_it_is_the_middle_between_the_middle_two() -> None:
    # Given four clients, when their median is taken, then it is (2 + 4) / 2, and (-1 + 0) / 2
    updates = updates_of([1, -1], [2, -7], [4, 0], [1000, 5])
    assert aggregate("median", updates).tolist() == [3.0, -0.5]


@pytest.mark.parametrize("num_updates", [1, 2, 3, 6, 7, 20])
def test_it_is_numpys(num_updates: int) -> None:
    # Given random updates, when their median is taken, then it is the one that NumPy takes
    rows = random_rows(num_updates)
    assert np.array_equal(aggregate("median", updates_of(*rows)), np.median(rows, axis=0))


def test_whole_numbers_are_rounded_halves_to_even_and_large_ones_kept() -> None:
    # Given int64 of which float64 holds the last not exactly, and the two before have 0.5 and 1.5 in the middle
    one, two = [0, 1, 2**62 + 1], [1, 2, 2**62 + 1]
    # When the median of two is taken
    median = aggregate("median", updates_of(one, two, dtype=np.int64))
    # Then halves go to even numbers, and what both agree on is kept
    assert median.dtype == np.int64
    assert median.tolist() == [0, 2, 2**62 + 1]


def test_booleans_are_what_most_say_and_false_where_as_many_say_each() -> None:
    # Given booleans of three clients, and of two
    three = updates_of([True, False], [True, False], [False, True], dtype=np.bool_)
    # When their median is taken, then the majority decides; 0.5 is rounded to 0
    assert aggregate("median", three).tolist() == [True, False]
    assert aggregate("median", three[1:]).tolist() == [False, False]


def test_the_largest_float64_of_both_signs_have_0_in_the_middle() -> None:
    # Given the largest numbers, whose difference no float64 holds, when their median is taken, then it is 0
    assert aggregate("median", updates_of([1.7e308], [-1.7e308])).tolist() == [0.0]
