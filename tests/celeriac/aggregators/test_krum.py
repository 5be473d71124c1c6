from __future__ import annotations

import numpy as np
import pytest

from celeriac.aggregators import WeightedUpdate, load_aggregator
from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import aggregate, context_of, random_rows, updates_of

LINE = ([0, 0], [1, 0], [2, 0], [4, 0], [5, 0], [100, 0])
"""With f = 1 the sums of the three nearest are 21, 11, 9, 14, 26 and 27845, as in the scorer's test."""


def sums_by_hand(rows: Array, num_byzantine: int) -> list[float]:
    """Blanchard et al. 2017, section 4, as it stands there."""
    num = len(rows)
    return [
        sum(sorted(float(np.sum((rows[i] - rows[j]) ** 2)) for j in range(num) if j != i)[: num - num_byzantine - 2])
        for i in range(num)
    ]


def test_krum_takes_the_update_with_the_nearest_neighbours() -> None:
    # Given six clients on a line, when Krum chooses among them, then it is the one with 9, whatever it weighs
    weights = [9.0, 9.0, 1.0, 9.0, 9.0, 9.0]
    assert aggregate("krum", updates_of(*LINE, weights=weights), num_byzantine=1).tolist() == [2.0, 0.0]


def test_multi_krum_takes_the_mean_of_all_but_the_hostile() -> None:
    # Given six clients on a line, when Multi-Krum drops one, then (0 + 1 + 2 + 4 + 5) / 5 = 2.4 are left
    assert aggregate("multi_krum", updates_of(*LINE), num_byzantine=1).tolist() == [2.4, 0.0]


def test_where_nothing_is_said_they_stand_as_many_as_they_can() -> None:
    # Given seven clients, of which two may be hostile: 2 * 2 + 3 = 7
    updates = updates_of([0.0], [1.0], [2.0], [3.0], [4.0], [50.0], [60.0])
    # When Multi-Krum drops them, then the mean of the others is 2
    assert aggregate("multi_krum", updates).tolist() == [2.0]


def test_of_two_and_three_updates_the_first_of_the_nearest_pair_is_taken() -> None:
    # Given two clients, and three of which the last two are nearest to each other
    two, three = updates_of([5.0], [7.0]), updates_of([0.0], [5.0], [7.0])
    # When Krum chooses, then it takes the first of those with the same sum
    assert aggregate("krum", two).tolist() == [5.0]
    assert aggregate("krum", three).tolist() == [5.0]


@pytest.mark.parametrize(("num_updates", "num_byzantine"), [(3, 0), (5, 1), (9, 3), (10, 2), (20, 8)])
def test_they_are_the_papers(num_updates: int, num_byzantine: int) -> None:
    # Given random updates
    rows = random_rows(num_updates)
    updates, order = updates_of(*rows), np.argsort(sums_by_hand(rows, num_byzantine), kind="stable")
    # When both choose, then they take those with the least sums
    assert np.array_equal(aggregate("krum", updates, num_byzantine=num_byzantine), rows[order[0]])
    mean = rows[order[: num_updates - num_byzantine]].mean(axis=0)
    assert np.allclose(aggregate("multi_krum", updates, num_byzantine=num_byzantine), mean, rtol=1e-13)


@pytest.mark.parametrize("name", ["krum", "multi_krum"])
def test_counters_are_the_median_of_all(name: str) -> None:
    # Given the six clients on a line with counters, which are in no distance; the chosen one's is out of bounds
    counters = [4, 5, 2**60, 6, 7, -9]
    updates = [
        WeightedUpdate({"steps": np.array(count), "w": np.array(row, np.float32)}, 1.0)
        for row, count in zip(LINE, counters, strict=True)
    ]
    # When one or five are taken, then the counter is the middle between 5 and 6, rounded to even
    aggregated = load_aggregator(name)(updates, context_of(updates, num_byzantine=1))
    assert list(aggregated) == ["steps", "w"]
    assert aggregated["steps"].item() == 6
