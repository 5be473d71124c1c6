"""Centered clipping: the mean of the updates' changes, each clipped to a radius around the centre.

Karimireddy, He, Jaggi: Learning from History for Byzantine Robust Optimization, ICML 2021
(https://arxiv.org/abs/2012.10333), equation 6 and Algorithm 2: v <- v + 1/n sum_k (x_k - v) min(1, tau / |x_k - v|).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import Floats
from celeriac.aggregators.combining import combine, distances_from, origin_of
from celeriac.geometry import dot_products
from tasks.arrays import Array

NUM_STEPS = 5
"""How often the centre moves (the paper's L)."""


@needs_updates("centered_clipping", 2, 1)
def aggregate_centered_clipping(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the centre after ``NUM_STEPS`` steps from the round's starting model.

    The radius tau of a step is the median distance of the updates from the centre: with 2f + 1 updates or more, f of
    them hostile, it is within the honest distances. So one update moves the centre in a step by at most 1/n of the
    farthest honest distance. Weights don't count, as in the paper: clients could claim any number of examples. The
    order of the updates affects the last bits alone. Arrays that aren't trained get the median of all updates: see
    :func:`combine`.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    num_to_stand(aggregate_centered_clipping, len(updates), context)
    parameters = [update.parameters for update in updates]
    origin = origin_of(updates, context)
    share_of_origin, shares = _clipped(dot_products(parameters, origin))
    return combine([origin, *parameters], [share_of_origin, *shares.tolist()], updates, context)


def _clipped(dots: Floats) -> tuple[float, Floats]:
    """Return the coefficients of the origin and of each update in the centre; they sum to 1, and none is negative."""
    share_of_origin, shares = 1.0, np.zeros(len(dots))
    for _ in range(NUM_STEPS):
        distances = distances_from(shares, dots)
        radius = np.median(distances)
        within = distances <= radius
        clipping = np.where(within, 1.0, radius / np.where(within, 1.0, distances)) / len(dots)
        kept = max(0.0, 1.0 - float(clipping.sum()))
        share_of_origin, shares = kept * share_of_origin, kept * shares + clipping
    return share_of_origin, shares
