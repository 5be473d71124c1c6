"""The trimmed mean, coordinate by coordinate: of what is left when the largest and the smallest values are cut off.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018
(https://arxiv.org/abs/1803.01498), Definition 2 and Algorithm 1 (Option II).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from orchestrator.aggregators.aggregator import AggregatorContext, WeightedUpdate, num_to_stand
from orchestrator.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from tasks.arrays import Array


def aggregate_trimmed_mean(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return at each place the mean of the values without the b largest and the b smallest of them.

    b is :func:`num_cut`. Where no more than b updates are hostile it is within the honest values. Weights don't count,
    as in the paper: how many examples a client has is its own claim. The order of the updates makes no difference.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    cut = num_cut(len(updates), context)

    def trimmed(rows: Array) -> Floats:
        kept = np.sort(rows, axis=0)[cut : len(rows) - cut]
        return mean_of_rows(kept, [1.0] * len(kept))

    return reduce_blocks([update.parameters for update in updates], updates[0].parameters, trimmed)


def num_cut(num_updates: int, context: AggregatorContext) -> int:
    """Return how many values are cut off at each end: the share ``trim`` of them, and no fewer than may be hostile.

    The share is rounded down, ``trim`` being the decimal number that it's written as; at least one value is left.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    share = math.floor(Fraction(str(context.trim)) * num_updates)
    if context.num_hostile is None:
        return share
    return max(share, num_to_stand("trimmed_mean", num_updates, context))
