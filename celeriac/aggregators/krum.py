"""Krum, the update with the nearest neighbours, and Multi-Krum, the mean of several such updates.

Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent, NIPS
2017 (https://papers.nips.cc/paper/6617), section 4: with n updates, f of them hostile, s(i) is the sum of |V_i - V_j|²
over the n - f - 2 updates V_j nearest to V_i. Krum takes the update with the least s, Multi-Krum the mean of the m
updates with the least s; here m = n - f.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.combining import combine, origin_of
from celeriac.geometry import Floats, squared_distances, sums_of_nearest
from tasks.arrays import Array


@needs_updates("krum", 2, 3)
def aggregate_krum(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the update that is nearest to most others.

    With 2f + 3 updates or more, f of them hostile, it is an honest one, or one as near to the honest ones as these are
    to each other. Weights don't count, as in the paper: clients could claim any number of examples. Of equal sums the
    first wins (the paper's smallest identifier), so the order of the updates matters when sums are equal; among two or
    three updates two sums always are. Arrays that aren't trained get the median of all updates: see :func:`combine`.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 3 updates.
    """
    num_byzantine = num_to_stand(aggregate_krum, len(updates), context)
    return _mean_of_nearest(1, updates, context, num_byzantine)


@needs_updates("multi_krum", 2, 3)
def aggregate_multi_krum(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the mean of the n - f updates that are nearest to most others; all else is as with Krum.

    The order of the updates also affects the last bits, because they are summed in order.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 3 updates.
    """
    num_byzantine = num_to_stand(aggregate_multi_krum, len(updates), context)
    return _mean_of_nearest(len(updates) - num_byzantine, updates, context, num_byzantine)


def by_nearness(distances: Floats, num_byzantine: int) -> list[int]:
    """Return the updates' indices by ascending sum of their n - f - 2 smallest squared distances.

    Args:
        distances: Squared distances of every two of the n updates: shape (n, n).
        num_byzantine: f. If n - f - 2 is less than 1, the distance to the nearest counts.
    """
    sums = sums_of_nearest(distances, max(1, len(distances) - num_byzantine - 2))
    return [int(index) for index in np.argsort(sums, kind="stable")]


def _mean_of_nearest(
    num_taken: int, updates: Sequence[WeightedUpdate], context: AggregatorContext, num_byzantine: int
) -> dict[str, Array]:
    parameters = [update.parameters for update in updates]
    distances = squared_distances(parameters, origin_of(updates, context))
    taken = sorted(by_nearness(distances, num_byzantine)[:num_taken])
    return combine([parameters[index] for index in taken], [1.0] * num_taken, updates, context)
