from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import aggregate, random_rows, updates_of


def weiszfeld_by_hand(rows: Array, weights: Array, smoothing: float) -> Array:
    """Pillutla et al. 2022, Algorithm 2, from the mean and to the end."""
    alphas = weights / weights.sum()
    point: Array = alphas @ rows
    for _ in range(3000):
        betas = alphas / np.maximum(smoothing, np.linalg.norm(rows - point, axis=1))
        point = betas @ rows / betas.sum()
    return point


def test_of_a_triangle_it_sees_all_sides_under_120_degrees() -> None:
    # Given the corners of a triangle whose sides are seen from the origin under 120 degrees, at 1, 2 and 10: the unit
    # vectors from there to the corners sum to 0
    corners = [[1.0, 0.0], [-1.0, math.sqrt(3)], [-5.0, -5 * math.sqrt(3)]]
    # When their geometric median is taken, from a model elsewhere, then it is the origin
    point = aggregate("geometric_median", updates_of(*corners), origin={"w": np.array([3.0, 4.0])})
    assert np.allclose(point, 0, atol=1e-6)


def test_on_a_line_it_is_the_weighted_median() -> None:
    # Given clients at 0, 1 and 10 that weigh 1, 1 and 3, when their geometric median is taken, then more than half is
    # at 10; and with equal weights the median is 1
    assert aggregate("geometric_median", updates_of([0.0], [1.0], [10.0], weights=[1.0, 1.0, 3.0]))[0] == (
        pytest.approx(10, abs=1e-4)
    )
    assert aggregate("geometric_median", updates_of([0.0], [1.0], [10.0]))[0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("num_updates", [2, 3, 7, 10])
def test_it_is_the_papers(num_updates: int) -> None:
    # Given random updates of clients with different weights, and a model that isn't 0
    rows, weights = random_rows(num_updates), np.arange(1.0, num_updates + 1)
    origin = random_rows(1, seed=5)[0]
    # When their geometric median is taken
    found = aggregate("geometric_median", updates_of(*rows, weights=weights.tolist()), origin={"w": origin})
    # Then it is where the paper's steps end
    smoothing = 1e-6 * float(np.median(np.linalg.norm(rows - origin, axis=1)))
    expected = weiszfeld_by_hand(rows, weights, smoothing)
    assert np.allclose(found, expected, atol=1e-4), np.abs(found - expected).max()


def test_no_point_nearby_has_a_smaller_sum_of_distances() -> None:
    # Given random updates, when their geometric median is taken
    rows = random_rows(7)
    point = aggregate("geometric_median", updates_of(*rows))

    def objective(at: Array) -> float:
        return float(np.linalg.norm(rows - at, axis=1).sum())

    # Then steps in random directions, and towards the mean, make the sum larger
    rng = np.random.default_rng(1)
    for direction in [rows.mean(axis=0) - point, *rng.standard_normal((20, rows.shape[1]))]:
        assert objective(point + 0.01 * direction) > objective(point)


def test_updates_that_weigh_nothing_have_none() -> None:
    # Given updates that weigh nothing, when their geometric median is taken, then the message says so
    with pytest.raises(ValueError, match=r"^2 updates weigh 0\.0 in sum: more than 0 is needed"):
        aggregate("geometric_median", updates_of([1.0], [2.0], weights=[0.0, 0.0]))


def test_an_update_that_weighs_nothing_counts_for_nothing() -> None:
    # Given one that weighs nothing, when the geometric median is taken, then it is that of the other
    assert aggregate("geometric_median", updates_of([1.0], [2.0], weights=[0.0, 3.0])).tolist() == [2.0]
