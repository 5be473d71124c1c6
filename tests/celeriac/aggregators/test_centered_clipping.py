from __future__ import annotations

import numpy as np
import pytest

from celeriac.aggregators.centered_clipping import NUM_STEPS
from tasks.arrays import Array
from tests.celeriac.aggregators.cohorts import aggregate, random_rows, updates_of


def clipped_by_hand(rows: Array, centre: Array) -> Array:
    """Karimireddy et al. 2021, Algorithm 2, with the median distance as radius."""
    for _ in range(NUM_STEPS):
        distances = np.linalg.norm(rows - centre, axis=1)
        radius = np.median(distances)
        factors = [1.0 if distance <= radius else radius / distance for distance in distances]
        centre = centre + sum((row - centre) * factor for row, factor in zip(rows, factors, strict=True)) / len(rows)
    return centre


def test_a_far_update_moves_the_centre_no_more_than_the_median_distance() -> None:
    # Given a model at 0, and clients at 3, 3 and -3000, one of which weighs more than the others
    updates = updates_of([3.0], [3.0], [-3000.0], weights=[1.0, 1.0, 100.0])
    # When they are clipped, then a step moves the centre by (d + d - d) / 3, d being 3 less the centre: after n steps
    # it lacks 3 (2/3)**n
    assert aggregate("centered_clipping", updates)[0] == pytest.approx(3 - 3 * (2 / 3) ** NUM_STEPS)


def test_where_updates_agree_in_length_it_is_the_mean() -> None:
    # Given clients that are equally far from the model, at a right angle
    updates = updates_of([4.0, 1.0], [1.0, 4.0])
    # When they are clipped, then nothing is, and the centre stays at their middle
    assert np.allclose(aggregate("centered_clipping", updates, origin={"w": np.ones(2)}), [2.5, 2.5], rtol=1e-14)


@pytest.mark.parametrize("num_updates", [1, 2, 3, 7, 10])
def test_it_is_the_papers(num_updates: int) -> None:
    # Given random updates of different lengths, and a model that isn't 0
    rows = random_rows(num_updates) * np.linspace(0.5, 2, num_updates)[:, None]
    origin = random_rows(1, seed=5)[0]
    # When they are clipped, then the centre is where the paper's steps end
    centre = aggregate("centered_clipping", updates_of(*rows), origin={"w": origin})
    assert np.allclose(centre, clipped_by_hand(rows, origin), rtol=1e-9, atol=1e-9)
