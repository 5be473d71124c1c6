from __future__ import annotations

import numpy as np
import pytest

from celeriac.aggregators.trimmed_mean import num_cut
from tests.celeriac.aggregators.cohorts import aggregate, context_of, random_rows, updates_of


def test_of_five_the_largest_and_the_smallest_are_cut_off_at_each_place() -> None:
    # Given five clients, a fifth of which is one, and one of which weighs more than the others
    updates = updates_of([1, 10], [2, -99], [3, 20], [6, 60], [100, 30], weights=[1.0, 1.0, 9.0, 1.0, 1.0])
    # When their trimmed mean is taken, then it is (2 + 3 + 6) / 3, and (10 + 20 + 30) / 3: weights don't count
    assert aggregate("trimmed_mean", updates, trim=0.2).tolist() == [11 / 3, 20.0]


@pytest.mark.parametrize(
    ("num_updates", "trim", "num_byzantine", "cut"),
    [
        (1, 0.2, None, 0),
        (4, 0.2, None, 0),
        (5, 0.2, None, 1),
        (7, 0.2, None, 1),
        (10, 0.2, None, 2),
        (100, 0.29, None, 29),  # 0.29 * 100 is 28.999999999999996
        (3, 0.49, None, 1),
        (1000, 0.499, None, 499),
        (10, 0.0, None, 0),
        (10, 0.2, 3, 3),
        (10, 0.4, 3, 4),
        (7, 0.0, 3, 3),
    ],
)
def test_cut_off_is_the_share_and_as_many_as_may_be_hostile(
    num_updates: int, trim: float, num_byzantine: int | None, cut: int
) -> None:
    # Given a share, and how many may be hostile, when it is asked how many are cut off, then it is the larger
    context = context_of(updates_of([0.0]), num_byzantine=num_byzantine, trim=trim)
    assert num_cut(num_updates, context) == cut
    assert 2 * cut < num_updates


@pytest.mark.parametrize(("num_updates", "trim", "cut"), [(1, 0.2, 0), (7, 0.2, 1), (10, 0.2, 2), (11, 0.4, 4)])
def test_it_is_the_mean_of_sorted_values_without_the_ends(num_updates: int, trim: float, cut: int) -> None:
    # Given random updates
    rows = random_rows(num_updates)
    # When their trimmed mean is taken, then it is that of Yin et al., Definition 2
    expected = np.sort(rows, axis=0)[cut : num_updates - cut].mean(axis=0)
    assert np.allclose(aggregate("trimmed_mean", updates_of(*rows), trim=trim), expected, rtol=1e-14)


def test_whole_numbers_are_rounded_to_the_nearest() -> None:
    # Given counters of five clients, when they are averaged, then (2 + 3 + 6) / 3 = 3.67 is 4
    updates = updates_of([1], [2], [3], [6], [100], dtype=np.int32)
    mean = aggregate("trimmed_mean", updates)
    assert (mean.dtype.name, mean.tolist()) == ("int32", [4])
