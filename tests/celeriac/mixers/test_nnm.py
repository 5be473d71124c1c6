from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.aggregators import TooFewUpdatesError, WeightedUpdate
from celeriac.mixers.nnm import mix_nearest
from tests.celeriac.aggregators.cohorts import random_rows, updates_of
from tests.celeriac.mixers.mixes import matrix_of, mixed

LINE = ([0.0], [1.0], [2.0], [4.0], [5.0], [100.0])
SEEDS = st.integers(0, 2**32)


def test_each_update_becomes_the_mean_of_its_nearest() -> None:
    # Given six clients on a line, of which two may be hostile, so that the four nearest count
    updates = updates_of(*LINE, weights=[9.0, 1.0, 1.0, 9.0, 1.0, 9.0])
    # When they are mixed
    after = mixed([mix_nearest], updates, num_byzantine=2)
    # Then 0, 1 and 2 become (0 + 1 + 2 + 4) / 4, 4 and 5 become (1 + 2 + 4 + 5) / 4, and 100 (2 + 4 + 5 + 100) / 4
    assert [update.parameters["w"].item() for update in after] == [1.75, 1.75, 1.75, 3.0, 3.0, 27.75]
    # And all weigh the same, whatever the clients claimed
    assert [update.weight for update in after] == [1.0] * 6


def test_the_matrix_says_who_is_near_whom() -> None:
    # Given four clients on a line, of which one may be hostile
    matrix = matrix_of("nnm", updates_of([0.0], [1.0], [3.0], [9.0]), num_byzantine=1)
    # When the nearest three of each are found, then the last has the first not among them
    third = 1 / 3
    assert matrix.tolist() == [[third, third, third, 0]] * 3 + [[0, third, third, third]]


def test_of_two_that_are_equally_near_the_first_is_taken() -> None:
    # Given three clients, the middle one as far from the first as from the last; nearest two count
    matrix = matrix_of("nnm", updates_of([0.0], [1.0], [2.0]), num_byzantine=1)
    # When they are mixed, then it goes with the first
    assert matrix.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]


def test_each_is_among_its_own_nearest_although_others_equal_it() -> None:
    # Given five clients, four of which sent the same
    matrix = matrix_of("nnm", updates_of([1.0], [1.0], [1.0], [1.0], [2.0]), num_byzantine=2)
    # When they are mixed, then each row has its own update
    assert np.all(np.diag(matrix) == 1 / 3)


def test_where_nothing_is_said_it_stands_as_many_as_it_can() -> None:
    # Given seven clients, when nothing is said, then three may be hostile: the nearest four of each count
    assert np.count_nonzero(matrix_of("nnm", updates_of(*random_rows(7))), axis=1).tolist() == [4] * 7


@given(num_updates=st.integers(1, 9), seed=SEEDS)
def test_where_nobody_is_hostile_all_become_the_mean_of_all(num_updates: int, seed: int) -> None:
    # Given any clients, none of them hostile, when they are mixed, then all count for each
    matrix = matrix_of("nnm", updates_of(*random_rows(num_updates, seed=seed)), num_byzantine=0)
    assert np.all(matrix == 1 / num_updates)


@given(num_updates=st.integers(1, 12), seed=SEEDS)
def test_rows_sum_to_one(num_updates: int, seed: int) -> None:
    matrix = matrix_of("nnm", updates_of(*random_rows(num_updates, seed=seed)))
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


@given(data=st.data(), num_updates=st.integers(3, 9), seed=SEEDS)
def test_another_order_of_the_updates_orders_the_mixed_likewise(
    data: st.DataObject, num_updates: int, seed: int
) -> None:
    # Given clients no two of which are equally near to a third, in two orders
    rows = random_rows(num_updates, seed=seed)
    order = data.draw(st.permutations(range(num_updates)))
    # When both are mixed, then who is near whom is the same
    matrix = matrix_of("nnm", updates_of(*rows), num_byzantine=1)
    permuted = matrix_of("nnm", updates_of(*rows[order]), num_byzantine=1)
    assert np.array_equal(permuted, matrix[np.ix_(order, order)])


@pytest.mark.parametrize("far", [1e4, 1e30, 1e300])
@given(num_byzantine=st.integers(1, 4), beside=st.integers(1, 4), seed=SEEDS)
def test_hostile_updates_that_are_far_off_are_mixed_into_no_honest_one(
    far: float, num_byzantine: int, beside: int, seed: int
) -> None:
    # Given f clients that are far off, by themselves or together, among more than 2f
    honest = random_rows(num_byzantine + beside, seed=seed)
    signs = np.where(np.random.default_rng(seed).random((num_byzantine, honest.shape[1])) < 0.5, -far, far)
    # When all are mixed
    matrix = matrix_of("nnm", updates_of(*signs, *honest), num_byzantine=num_byzantine)
    # Then every honest one becomes the mean of the honest, and of nobody else
    assert np.all(matrix[num_byzantine:, :num_byzantine] == 0)
    assert np.all(matrix[num_byzantine:, num_byzantine:] == 1 / len(honest))


def test_counters_are_in_no_distance_and_become_the_median_of_all() -> None:
    # Given four clients with counters, one of them out of bounds, whose owner is else among the nearest of all
    rows, counters = ([0.0], [1.0], [2.0], [9.0]), [4, 2**60, 7, 5]
    updates = [
        WeightedUpdate({"steps": np.array(count), "w": np.array(row)}, 1.0)
        for row, count in zip(rows, counters, strict=True)
    ]
    # When they are mixed
    after = mixed([mix_nearest], updates, num_byzantine=1)
    # Then the first three have 1 and the last 4, and each counter is the middle between 5 and 7
    assert [update.parameters["w"].item() for update in after] == [1.0, 1.0, 1.0, 4.0]
    assert [update.parameters["steps"].item() for update in after] == [6, 6, 6, 6]
    assert [list(update.parameters) for update in after] == [["steps", "w"]] * 4


@pytest.mark.parametrize("num_byzantine", [1, 2, 3])
def test_with_one_update_too_few_it_says_how_many_are_needed(num_byzantine: int) -> None:
    # Given as many updates as are needed, and one fewer, when they are mixed, then the one works and the other is told
    rows = random_rows(2 * num_byzantine + 1, 4)
    assert matrix_of("nnm", updates_of(*rows), num_byzantine=num_byzantine).shape == (len(rows), len(rows))
    message = f"nnm has {2 * num_byzantine} updates of which {num_byzantine} may be hostile (--num-byzantine): at least"
    with pytest.raises(TooFewUpdatesError, match=re.escape(message)):
        matrix_of("nnm", updates_of(*rows[1:]), num_byzantine=num_byzantine)
