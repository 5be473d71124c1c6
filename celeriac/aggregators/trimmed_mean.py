"""The trimmed mean, coordinate by coordinate: the mean without the largest and the smallest values.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML 2018
(https://arxiv.org/abs/1803.01498), Definition 2 and Algorithm 1 (Option II).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from celeriac.aggregators import AggregatorContext, WeightedUpdate, needs_updates, num_to_stand
from celeriac.aggregators.blocks import Floats, mean_of_rows, reduce_blocks
from tasks.arrays import Array


@needs_updates("trimmed_mean", 2, 1)
def aggregate_trimmed_mean(updates: Sequence[WeightedUpdate], context: AggregatorContext) -> dict[str, Array]:
    """Return at each place the mean of the values without the b largest and the b smallest of them.

    b is :func:`num_cut`. If at most b updates are hostile, the mean is within the honest values. Weights don't count,
    as in the paper: clients could claim any number of examples. The order of the updates makes no difference.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    cut = num_cut(len(updates), context)

    def trimmed(rows: Array) -> Floats:
        kept = np.sort(rows, axis=0)[cut : len(rows) - cut]
        return mean_of_rows(kept, [1.0] * len(kept))

    return reduce_blocks([update.parameters for update in updates], updates[0].parameters, trimmed)


def num_cut(num_updates: int, context: AggregatorContext) -> int:
    """Return how many values are cut off at each end: the share ``trim`` of them, but at least ``num_byzantine``.

    The share is rounded down, taking ``trim`` as the decimal number that it is written as; at least one value is left.

    Raises:
        TooFewUpdatesError: If there are fewer than 2f + 1 updates.
    """
    share = math.floor(Fraction(str(context.trim)) * num_updates)
    if context.num_byzantine is None:
        return share
    return max(share, num_to_stand(aggregate_trimmed_mean, num_updates, context))
