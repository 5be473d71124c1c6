"""Nearest-neighbour mixing: each update becomes the mean of its nearest updates.

Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan: Fixing by Mixing: A Recipe for Optimal Byzantine ML under
Heterogeneity, AISTATS 2023 (https://arxiv.org/abs/2302.01772), Algorithm 2: with n updates, f of them possibly hostile,
y_i = 1/(n - f) times the sum of the n - f updates nearest to x_i, itself included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import Floats
from celeriac.aggregators.combining import origin_of
from celeriac.geometry import squared_distances


@needs_updates("nnm", 2, 1)
def mix_nearest(updates: Sequence[WeightedUpdate], context: AggregatorContext, _rng: np.random.Generator) -> Floats:
    """Return the mixing matrix of each update's n - f nearest: shape (n, n), entries 0 and 1 / (n - f).

    Of equally near updates the first are taken. If all f hostile updates are further from the honest ones than these
    are from each other, each honest update becomes the mean of exactly the honest ones.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    num_byzantine = num_to_stand(mix_nearest, len(updates), context)
    distances = squared_distances([update.parameters for update in updates], origin_of(updates, context))
    return nearest_neighbours(distances, len(updates) - num_byzantine)


def nearest_neighbours(distances: Floats, num_nearest: int) -> Floats:
    """Return the mixing matrix of each update's ``num_nearest`` nearest, itself included, from the distances (n, n)."""
    ranked = distances.copy()
    np.fill_diagonal(ranked, -1.0)  # an update is nearest to itself, even if others equal it
    nearest = np.argsort(ranked, axis=1, kind="stable")[:, :num_nearest]
    matrix = np.zeros_like(ranked)
    np.put_along_axis(matrix, nearest, 1.0 / num_nearest, axis=1)
    return matrix
