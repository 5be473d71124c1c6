from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.mixers.bucketing import Bucketing
from tests.celeriac.aggregators.cohorts import random_rows, updates_of
from tests.celeriac.mixers.mixes import matrix_of, mixed


def test_buckets_are_consecutive_in_a_random_permutation() -> None:
    # Given five clients, and the permutation that the generator draws
    order = np.random.default_rng(0).permutation(5).tolist()
    # When they are put into buckets of two
    matrix = matrix_of("bucketing:2", updates_of(*random_rows(5)))
    # Then the first two of it are in the first, the next two in the second, and the last one is alone
    expected = np.zeros((3, 5))
    expected[0, order[:2]] = expected[1, order[2:4]] = 0.5
    expected[2, order[4]] = 1.0
    assert matrix.tolist() == expected.tolist()


def test_a_bucket_is_the_mean_of_what_is_in_it_whatever_it_weighs() -> None:
    # Given four clients, which the generator puts into buckets (2, 0) and (1, 3)
    assert np.random.default_rng(0).permutation(4).tolist() == [2, 0, 1, 3]
    updates = updates_of([1.0, 8.0], [2.0, 4.0], [4.0, 2.0], [8.0, 1.0], weights=[1.0, 9.0, 1.0, 1.0])
    # When buckets of two are made of them
    after = mixed([Bucketing(2)], updates)
    # Then these are (4 + 1) / 2 and (2 + 8) / 2, and the second values likewise
    assert [update.parameters["w"].tolist() for update in after] == [[2.5, 5.0], [5.0, 2.5]]
    assert [update.weight for update in after] == [1.0, 1.0]


@given(num_updates=st.integers(1, 20), size=st.integers(2, 9), seed=st.integers(0, 2**32))
def test_each_update_is_in_one_bucket_and_rows_sum_to_one(num_updates: int, size: int, seed: int) -> None:
    # Given any clients, when they are put into buckets
    matrix = matrix_of(f"bucketing:{size}", updates_of(*random_rows(num_updates, 3)), seed=seed)
    # Then there are ceil(n/s) of them, each the mean of s updates, or of those that are left over
    assert matrix.shape == (-(-num_updates // size), num_updates)
    assert np.all(np.count_nonzero(matrix, axis=0) == 1)
    assert np.count_nonzero(matrix, axis=1).tolist()[:-1] == [size] * (len(matrix) - 1)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


def test_another_seed_throws_others_together_and_the_same_the_same() -> None:
    # Given ten clients, when they are put into buckets by two seeds, one of them twice
    updates = updates_of(*random_rows(10))
    first, again, other = (matrix_of("bucketing", updates, seed=seed) for seed in (1, 1, 2))
    # Then the same seed gives the same buckets, of two, as nothing else is said
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (5, 10)


@pytest.mark.parametrize(("size", "left"), [(2, 1), (3, 0)])
def test_buckets_are_one_mean_where_they_hold_all(size: int, left: int) -> None:
    # Given three updates, when buckets of two or three are made of them, then two are left, or one, the mean of all
    matrix = matrix_of(f"bucketing:{size}", updates_of([1.0], [2.0], [3.0]))
    assert len(matrix) == 1 + left
