"""The geometric median: the point with the least sum of distances to all updates, by the smoothed Weiszfeld algorithm.

Pillutla, Kakade, Harchaoui: Robust Aggregation for Federated Learning, IEEE Transactions on Signal Processing 2022
(https://arxiv.org/abs/1912.13445), RFA: equation 5 and Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import Floats
from celeriac.aggregators.combining import combine, distances_from, origin_of
from celeriac.geometry import dot_products
from tasks.arrays import Array

SMOOTHING = 1e-6
"""Least distance, relative to the deltas' median length (the paper's nu, which is 1e-6 in absolute terms)."""
_TOLERANCE = 1e-7
_MOST_STEPS = 1000
_LEAST = 1e-300


@needs_updates("geometric_median", 2, 1)
def aggregate_geometric_median(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return the v with the least sum_k alpha_k |v - x_k|, where alpha_k is an update's share of the weights.

    Weights count, as in the paper: it tolerates hostile updates that weigh less than half of all. So use it only if you
    trust clients' numbers of examples. The order of the updates affects the last bits alone. Arrays that aren't trained
    get the median of all updates: see :func:`combine`.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
        ValueError: If the weights don't sum to more than zero.
    """
    num_to_stand(aggregate_geometric_median, len(updates), context)
    parameters = [update.parameters for update in updates]
    weights = np.array([update.weight for update in updates])
    if not weights.sum() > 0:
        raise ValueError(f"{len(updates)} updates weigh {weights.sum()} in sum: more than 0 is needed")
    shares = _weiszfeld(dot_products(parameters, origin_of(updates, context)), weights / weights.sum())
    return combine(parameters, shares.tolist(), updates, context)


def _weiszfeld(dots: Floats, alphas: Floats) -> Floats:
    """Return the coefficients of the geometric median, which sum to 1, from the deltas' dot products.

    It starts at the model that the round started from, on which hostile updates have no influence. A step is
    v <- sum_k beta_k x_k / sum_k beta_k with beta_k = alpha_k / max(nu, |v - x_k|).
    """
    coefficients = np.zeros(len(alphas))
    smoothing = max(_LEAST, SMOOTHING * float(np.median(np.sqrt(np.diag(dots)))))
    for _ in range(_MOST_STEPS):
        distances = np.maximum(distances_from(coefficients, dots), smoothing)
        betas = alphas / distances
        step = betas / betas.sum() - coefficients
        coefficients = coefficients + step
        # The median distance: hostile updates could make the mean distance arbitrarily large.
        if np.sqrt(max(0.0, float(step @ dots @ step))) <= _TOLERANCE * np.median(distances):
            break
    return coefficients
