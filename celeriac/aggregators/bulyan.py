"""Bulyan: choose updates by Krum; then take at each place the mean of the values nearest to their median.

El Mhamdi, Guerraoui, Rouault: The Hidden Vulnerability of Distributed Learning in Byzantium, ICML 2018
(https://arxiv.org/abs/1802.07927), section 4. Krum alone may choose a hostile update that is far off at one place if it
is near at all others; Bulyan removes the values that are far off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from celeriac.aggregators.combining import origin_of
from celeriac.aggregators.krum import by_nearness
from celeriac.geometry import squared_distances
from tasks.arrays import Array


@needs_updates("bulyan", 4, 3)
def aggregate_bulyan(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return at each place the mean of the theta - 2f values nearest to the median of theta = n - 2f chosen updates.

    The updates are chosen one after the other, each by Krum among the remaining ones (section 4, steps 1 to 3). With
    4f + 3 updates or more, f of them hostile, every value is near honest ones. Up to six updates tolerate no hostile
    one, and the result is their plain mean. Weights don't count, as in the paper: clients could claim any number of
    examples. The order of the updates matters when sums are equal, as with Krum. With f of 1 or 2 this always happens:
    the last updates are chosen by their nearest neighbour alone, and the two nearest have the same distance. Arrays
    that aren't trained don't count in the choice, but are then reduced like all others.

    Raises:
        TooFewUpdatesError: If there are fewer than 4f + 3 updates.
    """
    num_byzantine = num_to_stand(aggregate_bulyan, len(updates), context)
    parameters = [update.parameters for update in updates]
    chosen = _choose(squared_distances(parameters, origin_of(updates, context)), num_byzantine)
    num_kept = len(chosen) - 2 * num_byzantine
    return reduce_blocks(
        [parameters[index] for index in chosen], updates[0].parameters, lambda rows: _mean_near_median(rows, num_kept)
    )


def _choose(distances: Floats, num_byzantine: int) -> list[int]:
    """Return the indices of n - 2f updates in ascending order."""
    left = list(range(len(distances)))
    while len(left) > 2 * num_byzantine:
        among = distances[np.ix_(left, left)]
        left.pop(by_nearness(among, num_byzantine)[0])
    return sorted(set(range(len(distances))) - set(left))


def _mean_near_median(rows: Array, num_kept: int) -> Floats:
    """Return the mean of the ``num_kept`` values of each column nearest to its median.

    For an even number of values the median is the midpoint of the middle two; it minimises the sum of distances like
    either of them. Of two equally near values the smaller is taken.
    """
    ranked = np.sort(rows, axis=0)
    low, high = ranked[(len(rows) - 1) // 2], ranked[len(rows) // 2]
    median = mean_of_rows(np.stack([low, high]), (1.0, 1.0))
    with np.errstate(over="ignore"):  # an infinite distance sorts last
        far = np.abs(ranked - median)
    nearest = np.sort(np.argsort(far, axis=0, kind="stable")[:num_kept], axis=0)
    return mean_of_rows(np.take_along_axis(ranked, nearest, axis=0), [1.0] * num_kept)
